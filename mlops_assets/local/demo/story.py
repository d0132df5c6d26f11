"""The steps of the demo: land files, wait for the platform, send requests, land more, and print what the platform did."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

import dagster as dg
import polars as pl
import typer

from mlops_assets.features.request_features import entity_rows
from mlops_assets.foundation import names
from mlops_assets.foundation.delta_tables import DeltaTables
from mlops_assets.foundation.home import Environment
from mlops_assets.foundation.terminal import show, table
from mlops_assets.ingestion.delivery import complete
from mlops_assets.ingestion.landing import Landing
from mlops_assets.local.demo.watching import Watcher
from mlops_assets.local.platform import running_platform
from mlops_assets.promotion.deployment import Deployment
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.serving.client import LiveService
from mlops_assets.spec.use_case import UseCase
from mlops_assets.use_cases.flight_delay import USE_CASE
from mlops_assets.use_cases.flight_delay.airline import deliveries, package_folder

FIRST, SPRING = date(2013, 1, 1), date(2013, 4, 30)
# In the last 30 days of the first part the first model's AUC is 0.715, below its bound. In the second part 11 of 29 inputs have
# drifted from the second model's training, after ten days as after thirty. Each landed day is 45 events in Dagster's log.
SUMMER = ((date(2013, 5, 1), date(2013, 6, 30)), (date(2013, 7, 1), date(2013, 7, 15)))
ROWS_PER_REQUEST = 5000
STEP_S = 8.0  # the daemon evaluates the rollout every five


def run_demo(environment: Environment) -> None:
    """Starts daemon and service, runs the steps, stops both. Raises AlreadyRunning, ProcessFailed, StillWaiting."""
    home, use_case = environment.home, USE_CASE
    environment = replace(environment, use_cases=(use_case.name,))
    typer.echo(f"{use_case.question} Everything is stored under {home.root}.")
    landing = Landing(home.landing)
    with (
        running_platform(environment, everything=False, prepare=lambda: _land(landing, FIRST, SPRING)) as addresses,
        dg.DagsterInstance.from_config(str(home.dagster)) as instance,
        LiveService(addresses["service"], environment.api_key, use_case.name) as live,
    ):
        deployment, ledger = Deployment(home.deployments, use_case.name), Ledger(environment.ledger_url)
        watcher = Watcher(use_case, instance, DeltaTables(home.tables), deployment, ledger)
        Story(use_case, landing, live, watcher).run()


def _land(landing: Landing, first: date, last: date) -> None:
    delivered = [*deliveries(package_folder(), first, last)]
    landed = sum(landing.put(USE_CASE.name, file.table, day=file.partition, rows=file.rows) for file in delivered)
    complete(landing.root, USE_CASE.name)
    typer.echo(f"{first} to {last}: {landed} files landed" if landed else f"{first} to {last}: landed before")


@dataclass(frozen=True)
class Story:
    """The demo on one running platform. Running it a second time changes nothing."""

    use_case: UseCase
    landing: Landing
    live: LiveService
    watcher: Watcher

    def run(self) -> None:
        self._spring()
        for first, last in SUMMER:
            self._summer(first, last)
        heads = ("month", "rows", "served by", "AUC served", "AUC first model")
        show("", table(heads, self.watcher.months(), numbers=("rows", "AUC served", "AUC first model")))
        typer.echo("\nNext:     `make up` starts the web UI, the service and MLflow on this data and prints their addresses.")
        typer.echo(f"Go back:  `mlops rollback {self.use_case.name}` serves the previous champion again.")

    def _spring(self) -> None:
        self.watcher.wait_until("features until spring", lambda: self.watcher.features_reach(SPRING))
        tables = [contract.table for contract in self.use_case.contracts]
        paths = [[kind(self.use_case.name, name) for kind in (names.validated, names.quarantine)] for name in tables]
        rows = ((name, *map(self.watcher.count_rows, path)) for name, path in zip(tables, paths, strict=True))
        show(table(("table", "accepted", "quarantined"), rows, numbers=("accepted", "quarantined")))
        self.watcher.wait_until("a first champion", lambda: not self.watcher.is_running() and bool(self.watcher.trainings()))
        self._print_evaluation()
        plan, name = self.watcher.deployment.plan, self.use_case.name
        if plan() is None:
            raise SystemExit("The first candidate failed its gates, which are listed above, so nothing is served.")
        self.watcher.wait_until("a server with the first champion", lambda: self.live.follows(name, plan, 0).in_force)
        day = SPRING + timedelta(days=1)  # flights whose prediction moment is after everything that has landed
        self._print_live_predictions(next(self._requests(day, day)).head(3).to_dicts())

    def _summer(self, first: date, last: date) -> None:
        trained = len(self.watcher.trainings())
        _land(self.landing, first, last)
        self.watcher.wait_until(f"features until {last}", lambda: self.watcher.features_reach(last))
        if self.watcher.predicted_until() < last:
            self._send_requests(first, last)
        self.watcher.wait_until("the monitors' result", lambda: self.watcher.monitors_reach(last))
        for monitor, verdict in self.watcher.verdicts().items():
            typer.echo(f"  {monitor}: {verdict}")
        recent = [record.dagster_run for record in self.watcher.trainings()[trained:]]
        for run in recent:
            result = "blessed" if run.status is dg.DagsterRunStatus.SUCCESS else "refused"
            typer.echo(f"  retrained ({result}) because of {run.tags.get('mlops/reason', '')}")
        if recent:
            self._print_evaluation()

    def _send_requests(self, first: date, last: date) -> None:
        typer.echo(f"  requesting a live prediction for every flight of {first} to {last}")
        predicted = 0
        for rows in self._requests(first, last):
            predicted += len(self.live.predict(rows.to_dicts()))
            if self.watcher.state().challenger_version is not None:
                self._wait_for_rollout_step()
        typer.echo(f"  {predicted:,} requests answered")

    def _wait_for_rollout_step(self) -> None:
        """Weeks of traffic take seconds here: the rollout gets time to evaluate what has been logged."""
        before, deadline = self.watcher.state().head, time.monotonic() + STEP_S
        while time.monotonic() < deadline and self.watcher.state().head == before:
            time.sleep(0.2)
        for record in self.watcher.ledger.records(self.use_case.name, after=before):
            if "reason" in record.body:
                typer.echo(f"  {record.kind} of version {record.body['version']}: {record.body['reason']}")

    def _requests(self, first: date, last: date) -> Iterator[pl.DataFrame]:
        """The scheduled flights whose prediction moment is on these days, in batches of ROWS_PER_REQUEST."""
        features = self.use_case.features
        flights = self.watcher.tables.scan(names.validated(self.use_case.name, features.request_table))
        flights = flights.filter(pl.col("day").is_between(first, last + timedelta(days=1))).select(*features.request).collect()
        moments = entity_rows(features, flights.lazy()).collect()[names.EVENT_TIMESTAMP]
        yield from flights.filter(moments.dt.date().is_between(first, last)).sort("sched_dep").iter_slices(ROWS_PER_REQUEST)

    def _print_evaluation(self) -> None:
        metadata = self.watcher.metadata("evaluation")
        typer.echo(f"  test AUC  {self.use_case.trainer.kind:<24} {metadata.get('test_auc', 'none')}")
        if reference := self.use_case.reference:
            typer.echo(f"            {reference.kind:<24} {metadata.get('reference_auc', 'none')}")
        for gate in getattr(metadata.get("gates"), "records", ()):
            typer.echo(f"    {gate.data['result']:<7} {gate.data['message']}")
        plan = self.watcher.deployment.plan()
        rollout = f", {plan.rollout}" if plan and plan.rollout else ""
        typer.echo(f"  champion: version {plan.champion}{rollout} ({plan.reason})" if plan else "  champion: none")

    def _print_live_predictions(self, flights: list[dict[str, Any]]) -> None:
        """Of the platform's client, and one of Bento's own, which reads the API from the service's /schema.json."""
        import bentoml

        typer.echo("  live predictions")
        # It connects in seconds, in which the platform would report the others, and monitor them, by themselves.
        with bentoml.SyncHTTPClient(self.live.url, token=self.live.api_key) as client:
            numbers = [f"{flight['carrier']}{flight['flight']}" for flight in flights]
            for number, flight in zip(numbers, flights, strict=True):
                self._print_live_prediction(number, flight)
            row = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in flights[0].items()}
            (answer,) = client.predict_flight_delay(rows=[row])["predictions"]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType, reportUnknownMemberType]
        first = numbers[0]
        typer.echo(f"  bentoml.SyncHTTPClient: {first} late with {answer['probability']:.1%} · version {answer['model_version']}")

    def _print_live_prediction(self, number: str, flight: dict[str, Any]) -> None:
        began = time.perf_counter()
        (prediction,) = self.live.predict([flight])
        ms = (time.perf_counter() - began) * 1000
        typer.echo(
            f"    {number} {flight['origin']}-{flight['dest']} {flight['sched_dep']:%d %b %H:%M} UTC"
            f" · late with {prediction['probability']:.1%} → {'late' if prediction['decision'] else 'on time'}"
            f" · version {prediction['model_version']} · features {prediction['features_from']} · {ms:.1f} ms"
        )
