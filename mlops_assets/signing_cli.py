"""`mlops signing`: the keys that blessings are signed with.

Belongs here: arguments and what is said about their effect. Not here: the keys (ports/signing_keys.py).
"""

from typing import Annotated

import typer

from mlops_assets.cli_arguments import environment, told_plainly
from mlops_assets.ports.signing_keys import ExternalKey, KeyInUse, SigningKeys, UnknownKey, UnreadableKey

app = typer.Typer(no_args_is_help=True, help="The keys that blessings are signed with.")


@app.command("list")
def show() -> None:
    """Every key whose blessings count, and which of them signs."""
    with told_plainly(UnreadableKey):
        known, current = _keys().public(), _keys().current()
    for key_id in known:
        typer.echo(f"{key_id}  signs now" if key_id == current else key_id)
    if not known:
        typer.echo("No key's blessings count yet; the first blessing brings its key.")


@app.command()
def rotate() -> None:
    """Sign with a new key from now on; older blessings stay valid until their key is withdrawn."""
    with told_plainly(ExternalKey, UnreadableKey):
        typer.echo(
            f"Blessings are signed with {_keys().rotate()} now. Servers need its file in keys/public before they load one."
        )


@app.command()
def withdraw(key_id: Annotated[str, typer.Argument(help="As `mlops signing list` shows it.")]) -> None:
    """Let nothing count any more that this key has signed."""
    with told_plainly(UnknownKey, KeyInUse, UnreadableKey):
        _keys().withdraw(key_id)
    typer.echo(f"{key_id} is withdrawn: servers refuse what it signed at the next load; bless those versions again.")


def _keys() -> SigningKeys:
    asked = environment()
    return SigningKeys(asked.home.keys, asked.signing_key)
