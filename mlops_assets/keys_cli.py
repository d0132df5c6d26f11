"""`mlops keys`: who may ask the prediction service.

Belongs here: arguments and what is said about their effect. Not here: the keys (ports/api_keys.py).
"""

import json
import secrets
import shlex
from datetime import UTC, datetime
from typing import Annotated

import typer

from mlops_assets.cli_arguments import environment, told_plainly
from mlops_assets.ports.api_keys import ApiKey, ApiKeys, RefusedName, UnknownKey, UnreadableApiKeys
from mlops_assets.ports.home import Environment
from mlops_assets.use_cases import USE_CASES

TOKEN_BYTES = 32
HASH_SHOWN = 8
TOLD = (RefusedName, UnknownKey, UnreadableApiKeys, OSError)
app = typer.Typer(no_args_is_help=True, help="API keys of the prediction service.")
Name = Annotated[str, typer.Argument(help="Who the key is for, such as shop-backend; it stands in logs and metrics.")]


@app.command()
def add(name: Name) -> None:
    """Make a key; its token is shown once."""
    asked = environment()
    with told_plainly(*TOLD):
        keys = ApiKeys(asked.home.keys)
        is_first = not keys.entries()
        token = keys.add(name, datetime.now(UTC), lambda: secrets.token_urlsafe(TOKEN_BYTES))
        typer.echo(f"Key {name!r} is made. Its token is shown now and never again; only a hash is kept:\n\n  {token}\n")
        typer.echo(f"Try it:\n\n  {_curl(asked, token)}\n")
        if is_first:
            typer.echo("It is the first key: within about a second no server of this home answers without one.")


@app.command("list")
def list_keys() -> None:
    """Every key that was ever made, by name."""
    asked = environment()
    with told_plainly(*TOLD):
        entries = ApiKeys(asked.home.keys).entries()
        if not entries:
            meaning = "nobody is answered" if asked.name == "production" else "everybody is answered"
            typer.echo(f"No key was ever made: with MLOPS_ENV={asked.name} {meaning}. `mlops keys add NAME` makes one.")
        for each in entries:
            typer.echo(_line(each))


@app.command()
def revoke(name: Name) -> None:
    """Let a key answer no more, within about a second."""
    asked = environment()
    with told_plainly(*TOLD):
        keys = ApiKeys(asked.home.keys)
        keys.revoke(name, datetime.now(UTC))
        left = ", ".join((keys.active() or {}).values()) or "none, so that nobody is answered; `mlops keys add NAME` makes one"
        typer.echo(f"Key {name!r} is revoked: servers refuse it within about a second. Active keys: {left}.")


def _curl(asked: Environment, token: str) -> str:
    said = ["curl", "-s", f"{asked.service_url}/predict", "-H", f"Authorization: Bearer {token}"]
    return shlex.join([*said, "-d", json.dumps({"rows": [_example_row(asked.use_case)]})])


def _example_row(name: str) -> dict[str, str | int | float | None]:
    """One request for that use case; empty where it is not declared, which the service itself would say."""
    for use_case in USE_CASES:
        if use_case.name == name:
            contract = use_case.contract(use_case.features.request_table)
            return {name: contract.column(name).example for name in use_case.features.request}
    return {}


def _line(key: ApiKey) -> str:
    until = f"revoked {_moment(key.revoked_at)}" if key.revoked_at else "active"
    return f"{key.name:<24} made {_moment(key.made_at)} · {until} · SHA-256 {key.sha256[:HASH_SHOWN]}…"


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
