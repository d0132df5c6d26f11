"""`mlops alerts`: try the addresses to which alerts go."""

from datetime import UTC, datetime

import typer

from mlops_assets.cli.arguments import open_resources
from mlops_assets.foundation.moments import to_second


def alerts() -> None:
    """Send a test message to every address of MLOPS_ALERTS; exit code 1 where one does not take it."""
    from mlops_assets.foundation.channels import LEGAL, LOG, Message, send

    channels = open_resources()["channels"].open()
    message = Message("mlops-assets: a test", "This is what an alarm would look like. Nothing is wrong.")
    channels.write(message, to_second(datetime.now(UTC)))
    typer.echo(f"logs/{LOG} of the home: written")
    if not channels.addresses:
        typer.echo(f"MLOPS_ALERTS is not set, so alarms are only in that log; legal: {LEGAL}.")
    taken = {address: send(target, message) for address, target in channels.targets().items()}
    for address, is_taken in taken.items():
        typer.echo(f"{address}: {'taken' if is_taken else 'NOT taken; look at the address, and whether the server answers'}")
    if not all(taken.values()):
        raise typer.Exit(1)
