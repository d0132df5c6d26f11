"""`mlops train`: one training, on the running platform or in this process."""

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from mlops_assets.cli.arguments import By, Name, declared, environment, open_resources, printable

if TYPE_CHECKING:
    from mlops_assets.graph.training_requests import ManualTraining, Outcome


def train(
    use_case: Name,
    *,
    because: Annotated[str, typer.Option(help="The reason, for the run and the model.", callback=printable)],
    by: By,
    wait: Annotated[bool, typer.Option(help="Wait for the end; without a running platform, there is no other way.")] = True,
) -> None:
    """Train a model now, also after a failure, evaluate it and bless it if it passes its gates.

    Exit code 0: blessed; 3: refused by its gates; 1: it failed, or nothing was trained.
    """
    from mlops_assets.graph.compile import build_training_job
    from mlops_assets.graph.landing import describe_unread
    from mlops_assets.graph.operations import describe_daemon
    from mlops_assets.graph.training_requests import CannotTrain, ManualTraining
    from mlops_assets.local.platform import opened_event_log

    declaration, resources, now = declared(use_case), open_resources(), datetime.now(UTC)
    with opened_event_log(environment()) as (instance, is_alone):
        ledger, warehouse = resources["ledger"], resources["warehouse"]
        training = ManualTraining(declaration, instance, ledger, warehouse, by, because, typer.echo)
        training.require_possible(now)
        for line in describe_unread(declaration, instance, resources["landing"].open(), warehouse.open()):
            typer.echo(f"{use_case}: not part of this training: {line}", err=True)
        if is_alone and not wait:
            raise CannotTrain(f"{use_case} · --no-wait without a running platform; legal: with one. Start it with `mlops up`.")
        if is_alone:
            typer.echo(f"{use_case}: no platform runs on this home; the training runs in this process.")
            return _conclude(use_case, training.run_here(build_training_job(declaration, environment())))
        if silent := "".join(describe_daemon(instance, now)):
            raise CannotTrain(f"{use_case} · another process writes to this home, and nothing would start the training. {silent}")
        at = training.submit()
        typer.echo(f"{use_case}: a training is requested; the running platform starts it within seconds.")
        return _follow(training, at) if wait else None


def _follow(training: "ManualTraining", at: str) -> None:
    name = training.use_case.name
    try:
        outcome = training.follow(at, time.sleep)
    except KeyboardInterrupt:
        typer.echo(f"The training goes on; `mlops status {name}` shows how it ends.", err=True)
        raise
    _conclude(name, outcome)


def _conclude(use_case: str, outcome: "Outcome") -> None:
    typer.echo(f"{use_case}: {outcome.message}", err=bool(outcome.exit_code))
    raise typer.Exit(outcome.exit_code)
