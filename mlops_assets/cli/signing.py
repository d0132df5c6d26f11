"""`mlops signing`: the keys that sign blessings."""

from typing import Annotated

import typer

from mlops_assets.cli.arguments import environment
from mlops_assets.promotion.signing_keys import SigningKeys

app = typer.Typer(no_args_is_help=True, help="Manage the keys that sign blessings.")


@app.command("list")
def list_keys() -> None:
    """List the keys whose signatures are valid, and mark the one that signs."""
    current = _keys().current()
    lines = [f"{key_id}  signs now" if key_id == current else key_id for key_id in _keys().public()]
    typer.echo("\n".join(lines) or "No keys yet; the first blessing creates one.")


@app.command()
def rotate() -> None:
    """Sign with a new key from now on; older blessings stay valid until their key is withdrawn."""
    typer.echo(f"Blessings are signed with {_keys().rotate()} now. Servers need its file in keys/public before they load one.")


@app.command()
def withdraw(key_id: Annotated[str, typer.Argument(help="As shown by `mlops signing list`.")]) -> None:
    """Make all signatures of a key invalid."""
    _keys().withdraw(key_id)
    typer.echo(f"Withdrew {key_id}: servers refuse what it signed at the next load. Bless those versions again.")


def _keys() -> SigningKeys:
    settings = environment()
    return SigningKeys(settings.home.keys, settings.signing_key)
