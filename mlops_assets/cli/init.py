"""`mlops init`: a project of one's own."""

from pathlib import Path
from typing import Annotated

import typer


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of the project, new or with other files.")],
    package: Annotated[str | None, typer.Option(help="The name of its Python package; by default that of the folder.")] = None,
) -> None:
    """Write a small project with a use case of its own, which depends on this package as it is installed."""
    from mlops_assets.local.new_project import write_project

    for path in write_project(folder, package):
        typer.echo(f"  {path.relative_to(folder.resolve())}")
    typer.echo(f"A project of its own in {folder}: its README has the next commands.")
