"""`mlops export, import`: a blessed version from one environment to the next."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from mlops_assets.cli.arguments import By, Name, environment, open_resources
from mlops_assets.cli.promotion import open_promotions
from mlops_assets.foundation.atomic_file import replace_file
from mlops_assets.promotion.promotion_state import how_to_train


def export(
    use_case: Name,
    file: Annotated[Path, typer.Argument(dir_okay=False, help="The file to write.")],
    *,
    version: Annotated[int | None, typer.Option(help="A blessed version; the champion when left out.")] = None,
) -> None:
    """Write a blessed version, with its evidence, as one signed file for `mlops import` of another environment."""
    from mlops_assets.promotion.transfer import export as exported

    promotions, resources = open_promotions(use_case), open_resources()
    state = promotions.state()
    number = version or (state.plan.champion if state.plan else None)
    if number is None:
        raise typer.BadParameter(f"{use_case} has no champion. {how_to_train(use_case)}, or name a --version.")
    keys = promotions.keys
    content = exported(promotions, resources["registry"].open(), number, environment=environment().name).to_bytes(keys.private())
    replace_file(file, content)
    key = environment().home.keys / "public" / f"{keys.current()}.pem"
    typer.echo(f"{use_case}: version {number} was written to {file} ({len(content):,} bytes).")
    typer.echo(f"`mlops import` also needs the public key {key}. Send it separately.")


def import_(
    use_case: Name,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A file of `mlops export`.")],
    *,
    key: Annotated[Path, typer.Option(dir_okay=False, help="The public key of the environment that wrote it.")],
    by: By,
) -> None:
    """Take over a blessed version of another environment. Its rollout starts automatically; at high risk, once approved."""
    from mlops_assets.promotion.signing_keys import read_public
    from mlops_assets.promotion.transfer import Export, take_over

    exported = Export.from_bytes(file.read_bytes(), read_public(key))
    promotions = open_promotions(use_case, creates_home=True)
    registry = open_resources(creates_home=True)["registry"].open()
    version = take_over(exported, promotions, registry, by=by, at=datetime.now(UTC))
    origin = f"version {exported.manifest['version']} of {exported.manifest['environment']}"
    approval = f" It waits for `mlops approve {use_case} {version} --why …`." if promotions.use_case.risk == "high" else ""
    typer.echo(f"{use_case}: {origin} is blessed here as version {version}.{approval}")
