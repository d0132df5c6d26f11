"""`mlops keys`: who may ask the prediction service.

Belongs here: arguments and what is said about their effect. Not here: the keys (ports/api_keys.py).
"""

import json
import os
import secrets
import shlex
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from mlops_assets.ports.api_keys import ApiKey, ApiKeys, RefusedName, UnknownKey, UnreadableApiKeys
from mlops_assets.ports.home import Environment, IllegalEnvironment, read_environment
from mlops_assets.use_cases import USE_CASES

PROJECT = Path(__file__).resolve().parent.parent
TOKEN_BYTES = 32
HASH_SHOWN = 8
app = typer.Typer(no_args_is_help=True, help="API keys of the prediction service.")
Name = Annotated[str, typer.Argument(help="Who the key is for, such as shop-backend; it stands in logs and metrics.")]


@app.command()
def add(name: Name) -> None:
    """Make a key; its token is shown once."""
    with _told_plainly() as environment:
        keys = ApiKeys(environment.home.keys)
        is_first = not keys.entries()
        token = keys.add(name, datetime.now(UTC), lambda: secrets.token_urlsafe(TOKEN_BYTES))
        typer.echo(f"Key {name!r} is made. Its token is shown now and never again; only a hash is kept:\n\n  {token}\n")
        typer.echo(f"Try it:\n\n  {_curl(environment, token)}\n")
        if is_first:
            typer.echo("It is the first key: within about a second no server of this home answers without one.")


@app.command("list")
def list_keys() -> None:
    """Every key that was ever made, by name."""
    with _told_plainly() as environment:
        entries = ApiKeys(environment.home.keys).entries()
        if not entries:
            meaning = "nobody is answered" if environment.name == "production" else "everybody is answered"
            typer.echo(f"No key was ever made: with MLOPS_ENV={environment.name} {meaning}. `mlops keys add NAME` makes one.")
        for each in entries:
            typer.echo(_line(each))


@app.command()
def revoke(name: Name) -> None:
    """Let a key answer no more, within about a second."""
    with _told_plainly() as environment:
        keys = ApiKeys(environment.home.keys)
        keys.revoke(name, datetime.now(UTC))
        left = ", ".join((keys.active() or {}).values()) or "none, so that nobody is answered; `mlops keys add NAME` makes one"
        typer.echo(f"Key {name!r} is revoked: servers refuse it within about a second. Active keys: {left}.")


@contextmanager
def _told_plainly() -> Generator[Environment]:
    """Errors with a remedy reach people as one message, without a traceback."""
    try:
        yield read_environment(os.environ, PROJECT)
    except (RefusedName, UnknownKey, UnreadableApiKeys, IllegalEnvironment, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None


def _curl(environment: Environment, token: str) -> str:
    said = ["curl", "-s", f"{environment.service_url}/predict", "-H", f"Authorization: Bearer {token}"]
    return shlex.join([*said, "-d", json.dumps({"rows": [_example_row(environment.use_case)]})])


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
