"""`mlops migrate`: convert stored tables to the declared columns."""

from contextlib import nullcontext
from typing import Annotated

import typer

from mlops_assets.cli.arguments import Name, declared, environment, open_resources
from mlops_assets.foundation.home_lock import reserved_home


def migrate(
    use_case: Name, *, apply: Annotated[bool, typer.Option("--apply", help="Do it. Without this, only print it.")] = False
) -> None:
    """Convert stored tables to the declared names and types of their columns; exit code 1 if that would lose a value."""
    with reserved_home(environment().home.root) if apply else nullcontext():
        _migrate(use_case, apply=apply)


def _migrate(use_case: str, *, apply: bool) -> None:
    from mlops_assets.features.migration import apply_changes, find_changes, require_lossless

    tables = open_resources()["warehouse"].open()
    changes = find_changes(declared(use_case), tables)
    for change in changes:
        typer.echo(f"  {change}")
    if not changes:
        return typer.echo("Every stored table has the declared columns.")
    if apply:
        apply_changes(changes, tables)
        return typer.echo(f"{len(changes)} columns were converted.")
    require_lossless(changes)
    typer.echo(f"{len(changes)} columns would be converted. Nothing was changed: repeat with --apply, while no platform runs.")
