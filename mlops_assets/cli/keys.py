"""`mlops keys`: API keys of the prediction service. `mlops signing`: the keys that sign blessings."""

import secrets
from datetime import UTC, datetime
from typing import Annotated

import typer

from mlops_assets.cli.arguments import By, declared, environment, open_resources, selected
from mlops_assets.cli.promotion import open_placed_versions
from mlops_assets.foundation.home import urls_of
from mlops_assets.foundation.moments import to_second
from mlops_assets.promotion.blessing import UnblessedModel
from mlops_assets.promotion.signing_keys import UnusableKey
from mlops_assets.serving.http.api_keys import ApiKeys

TOKEN_BYTES = 32
app = typer.Typer(no_args_is_help=True, help="Manage the API keys of the prediction service.")
signing = typer.Typer(no_args_is_help=True, help="Manage the keys that sign blessings.")
KeyId = Annotated[str, typer.Argument(help="As shown by `mlops signing list`.")]
Name = Annotated[str, typer.Argument(help="The key's owner, such as shop-backend; shown in logs and metrics.")]


@app.command()
def add(
    name: Name,
    use_cases: Annotated[
        list[str] | None, typer.Option("--use-case", help="A use case it is valid for; may be repeated. Without one: all.")
    ] = None,
) -> None:
    """Create a key and show its token, once."""
    from mlops_assets.serving.request_rows import curl_line

    settings = environment(creates_home=True)
    keys, scope = ApiKeys(settings.home.keys), [declared(one) for one in use_cases or selected()]
    if not scope:
        raise typer.BadParameter("no use case loads, so no request is answered. `mlops check` names what to correct first.")
    use_case = scope[0]
    contract, is_first = use_case.contract(use_case.features.request_table), not keys.entries()
    row = {column: contract.column(column).sample for column in use_case.features.request}
    names = tuple(dict.fromkeys(one.name for one in scope)) if use_cases else None
    token = keys.add(name, datetime.now(UTC), lambda: secrets.token_urlsafe(TOKEN_BYTES), use_cases=names)
    url = next(iter(urls_of(settings.service_urls, use_case.name)), settings.service_url)
    validity = f"valid for {', '.join(names)}" if names else "valid for all use cases, unless --use-case names some"
    typer.echo(f"Created key {name!r}, {validity}. Its token is not stored and is shown only now:\n\n  {token}\n")
    typer.echo(f"Try it:\n\n  {curl_line(url, use_case.name, [row], key=token)}\n")
    if is_first:
        typer.echo("This is the first key: within about a second, servers of this home refuse /predict without a key.")
        typer.echo("A server that cannot read the key file admits no request at all; its /readyz and /plan say so.")
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
        status = f"revoked {to_second(key.revoked_at)}" if key.revoked_at else "active"
        typer.echo(f"{key.name:<24} created {to_second(key.made_at)} · {status} · {key.scope} · SHA-256 {key.sha256[:8]}…")


@app.command()
def revoke(name: Name) -> None:
    """Make servers refuse a key, within about a second."""
    keys = ApiKeys(environment().home.keys)
    keys.revoke(name, datetime.now(UTC))
    active = ", ".join(key.name for key in (keys.active() or {}).values()) or "none, so every /predict is refused"
    typer.echo(f"Revoked key {name!r}: servers refuse it within about a second. Active keys: {active}.")


@signing.command("list")
def list_signing_keys() -> None:
    """List the keys whose signatures are valid, and mark the one that signs."""
    keys = open_resources()["signing_keys"].open()
    current = keys.current()
    lines = [f"{key_id}  signs now" if key_id == current else key_id for key_id in keys.public()]
    typer.echo("\n".join(lines) or "No keys yet; the first blessing creates one.")


@signing.command()
def rotate() -> None:
    """Sign with a new key from now on; older blessings stay valid until their key is withdrawn."""
    key_id = open_resources()["signing_keys"].open().rotate()
    typer.echo(f"Blessings are signed with {key_id} now. Servers need its file in keys/public before they load one.")


@signing.command()
def reissue(key_id: KeyId, *, by: By) -> None:
    """Sign the blessings that a key signed with the present key, so that the other one can be withdrawn."""
    if key_id == open_resources()["signing_keys"].open().current():
        raise UnusableKey(f"signing keys · {key_id} signs new blessings. Run `mlops signing rotate` first.")
    signed = [(placed, version) for placed in map(open_placed_versions, _recorded()) for version in placed.signed_with(key_id)]
    is_failed = False
    for placed, version in signed:
        try:
            record = placed.reissue(version, by=by, at=datetime.now(UTC))
            typer.echo(f"{placed.use_case}: version {version} is {record.body['reason']} (record {record.number}).")
        except UnblessedModel as error:
            is_failed = True
            typer.echo(f"Not signed again: {error}", err=True)
    if not signed:
        typer.echo(f"No placed version has a blessing that {key_id!r} signed.")
    raise typer.Exit(int(is_failed))


@signing.command()
def withdraw(key_id: KeyId) -> None:
    """Make all signatures of a key invalid, once no version needs them."""
    needed_by = [f"{name} version {version}" for name in _recorded() for version in open_placed_versions(name).needing(key_id)]
    open_resources()["signing_keys"].open().withdraw(key_id, needed_by=needed_by)
    remedy = f"`mlops signing reissue {key_id}` signs its other versions again"
    typer.echo(f"Withdrew {key_id}: servers refuse what it signed at the next load. {remedy}.")


def _recorded() -> list[str]:
    """Every use case on record, as a key signs for those of other code locations too."""
    return open_resources()["ledger"].open().use_cases()
