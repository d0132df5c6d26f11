"""`mlops keys`: API keys of the prediction service."""

import json
import secrets
import shlex
from datetime import UTC, datetime
from typing import Annotated

import typer

from mlops_assets.cli.arguments import environment
from mlops_assets.foundation.terminal import moment
from mlops_assets.serving.http.api_keys import ApiKeys
from mlops_assets.use_cases import USE_CASES

TOKEN_BYTES = 32
app = typer.Typer(no_args_is_help=True, help="Manage the API keys of the prediction service.")
Name = Annotated[str, typer.Argument(help="The key's owner, such as shop-backend; shown in logs and metrics.")]


@app.command()
def add(name: Name) -> None:
    """Create a key and show its token, once."""
    settings = environment()
    keys = ApiKeys(settings.home.keys)
    is_first = not keys.entries()
    token = keys.add(name, datetime.now(UTC), lambda: secrets.token_urlsafe(TOKEN_BYTES))
    curl = ["curl", "-s", f"{settings.service_url}/predict", "-H", f"Authorization: Bearer {token}"]
    command = shlex.join([*curl, "-d", json.dumps(_example_request(settings.use_case))])
    typer.echo(f"Created key {name!r}. Its token is not stored and is shown only now:\n\n  {token}\n")
    typer.echo(f"Try it:\n\n  {command}\n")
    if is_first:
        typer.echo("This is the first key: within about a second, servers of this home refuse /predict without a key.")
        typer.echo("/plan, /metrics and the health checks need no key.")


@app.command("list")
def list_keys() -> None:
    """List all keys, including revoked ones."""
    settings = environment()
    entries = ApiKeys(settings.home.keys).entries()
    if not entries:
        effect = "refused" if settings.name == "production" else "served without a key"
        typer.echo(f"No keys. With MLOPS_ENV={settings.name} every /predict is {effect}. Create one: `mlops keys add NAME`.")
    for key in entries:
        status = f"revoked {moment(key.revoked_at)}" if key.revoked_at else "active"
        typer.echo(f"{key.name:<24} created {moment(key.made_at)} · {status} · SHA-256 {key.sha256[:8]}…")


@app.command()
def revoke(name: Name) -> None:
    """Make servers refuse a key, within about a second."""
    keys = ApiKeys(environment().home.keys)
    keys.revoke(name, datetime.now(UTC))
    active = ", ".join((keys.active() or {}).values()) or "none, so every /predict is refused"
    typer.echo(f"Revoked key {name!r}: servers refuse it within about a second. Active keys: {active}.")


def _example_request(name: str) -> dict[str, list[dict[str, str | int | float | None]]]:
    """An empty row for a use case that is not declared, which the service reports."""
    row: dict[str, str | int | float | None] = {}
    for use_case in (use_case for use_case in USE_CASES if use_case.name == name):
        contract = use_case.contract(use_case.features.request_table)
        row = {column: contract.column(column).example for column in use_case.features.request}
    return {"rows": [row]}
