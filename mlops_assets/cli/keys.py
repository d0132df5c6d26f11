"""`mlops keys`: API keys of the prediction service."""

import json
import secrets
import shlex
from datetime import UTC, datetime
from typing import Annotated

import typer

from mlops_assets.cli.arguments import environment
from mlops_assets.foundation.home import Environment
from mlops_assets.serving.http.api_keys import ApiKey, ApiKeys
from mlops_assets.use_cases import USE_CASES

TOKEN_BYTES = 32
HASH_SHOWN = 8
app = typer.Typer(no_args_is_help=True, help="Manage the API keys of the prediction service.")
Name = Annotated[str, typer.Argument(help="The key's owner, such as shop-backend; shown in logs and metrics.")]


@app.command()
def add(name: Name) -> None:
    """Create a key and show its token, once."""
    chosen = environment()
    keys = ApiKeys(chosen.home.keys)
    is_first = not keys.entries()
    token = keys.add(name, datetime.now(UTC), lambda: secrets.token_urlsafe(TOKEN_BYTES))
    typer.echo(f"Created key {name!r}. Its token is not stored and is shown only now:\n\n  {token}\n")
    typer.echo(f"Try it:\n\n  {_curl(chosen, token)}\n")
    if is_first:
        typer.echo("This is the first key: within about a second, servers of this home refuse /predict without a key.")
        typer.echo("/plan, /metrics and the health checks need no key.")


@app.command("list")
def list_keys() -> None:
    """List all keys, including revoked ones."""
    chosen = environment()
    entries = ApiKeys(chosen.home.keys).entries()
    if not entries:
        effect = "refused" if chosen.name == "production" else "served without a key"
        typer.echo(f"No keys. With MLOPS_ENV={chosen.name} every /predict is {effect}. Create one: `mlops keys add NAME`.")
    for key in entries:
        typer.echo(_line(key))


@app.command()
def revoke(name: Name) -> None:
    """Make servers refuse a key, within about a second."""
    keys = ApiKeys(environment().home.keys)
    keys.revoke(name, datetime.now(UTC))
    active = ", ".join((keys.active() or {}).values()) or "none, so every /predict is refused"
    typer.echo(f"Revoked key {name!r}: servers refuse it within about a second. Active keys: {active}.")


def _curl(environment: Environment, token: str) -> str:
    command = ["curl", "-s", f"{environment.service_url}/predict", "-H", f"Authorization: Bearer {token}"]
    return shlex.join([*command, "-d", json.dumps({"rows": [_example_row(environment.use_case)]})])


def _example_row(name: str) -> dict[str, str | int | float | None]:
    """One request row; empty for a use case that is not declared, which the service reports."""
    for use_case in USE_CASES:
        if use_case.name == name:
            contract = use_case.contract(use_case.features.request_table)
            return {name: contract.column(name).example for name in use_case.features.request}
    return {}


def _line(key: ApiKey) -> str:
    until = f"revoked {_moment(key.revoked_at)}" if key.revoked_at else "active"
    return f"{key.name:<24} created {_moment(key.made_at)} · {until} · SHA-256 {key.sha256[:HASH_SHOWN]}…"


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
