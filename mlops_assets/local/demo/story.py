"""The steps of the demo: land files, wait for the platform, send requests, land more, and report what the platform did."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import dagster as dg
import polars as pl

from mlops_assets.foundation import names
from mlops_assets.foundation.delta_tables import DeltaTables
from mlops_assets.foundation.home import Environment
from mlops_assets.ingestion.landing import Landing
from mlops_assets.local.demo.report import Report
from mlops_assets.local.demo.watching import PATIENCE_S, Watcher
from mlops_assets.local.platform import running_platform
from mlops_assets.promotion.deployment import Deployment
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.serving.client import LiveService
from mlops_assets.spec.use_case import UseCase
from mlops_assets.use_cases.flight_delay.airline import deliveries, package_folder

FIRST, SPRING = date(2013, 1, 1), date(2013, 4, 30)
# Each landed day is 45 events of 8 ms in Dagster's log: a further month costs 11 s.
SUMMER = ((date(2013, 5, 1), date(2013, 6, 30)), (date(2013, 7, 1), date(2013, 7, 31)))
ROWS_PER_REQUEST = 5000
STEP_S = 8.0  # the daemon evaluates the rollout every five


def run_demo(environment: Environment, use_case: UseCase, *, say: Callable[[str], None]) -> None:
    """Starts daemon and service, runs the steps, stops both. Raises AlreadyRunning, ProcessFailed, StillWaiting."""
    home = environment.home
    say(f"{use_case.question} Everything is stored under {home.root}.")
    with (
        running_platform(environment, everything=False) as addresses,
        dg.DagsterInstance.from_config(str(home.dagster)) as instance,
        LiveService(addresses["service"], environment.api_key) as live,
    ):
        deployment, ledger = Deployment(home.deployments, use_case.name), Ledger(environment.ledger_url)
        watcher = Watcher(use_case, instance, DeltaTables(home.tables), deployment, ledger, say)
        Story(use_case, Landing(home.landing), live, watcher, Report(use_case, watcher, say)).run()


@dataclass(frozen=True)
class Story:
    """The demo on one running platform. Running it a second time changes nothing."""

    use_case: UseCase
    landing: Landing
    live: LiveService
    watcher: Watcher
    report: Report

    def run(self) -> None:
        self._spring()
        for first, last in SUMMER:
            self._summer(first, last)
        self.report.months()
        self.report.what_next()

    def _spring(self) -> None:
        self._land(FIRST, SPRING)
        self.watcher.wait_until("features until spring", lambda: self.watcher.features_reach(SPRING))
        self.report.rows()
        self.watcher.wait_until("a first champion", lambda: not self.watcher.is_running() and bool(self.watcher.trainings()))
        self.report.evaluation()
        plan = self.watcher.deployment.plan()
        if plan is None:
            raise SystemExit("The first candidate failed its gates, which are listed above, so nothing is served.")
        self.live.wait_until_serving(plan.champion, PATIENCE_S)
        day = SPRING + timedelta(days=1)  # flights whose prediction moment is after everything that has landed
        flights = next(self._requests(day, day)).head(3).to_dicts()
        self.report.live_predictions(self.live, flights)
        self.report.through_bento(self.live.url, self.live.api_key, flights[0])

    def _summer(self, first: date, last: date) -> None:
        trained = len(self.watcher.trainings())
        self._land(first, last)
        self.watcher.wait_until(f"features until {last}", lambda: self.watcher.features_reach(last))
        if self.watcher.predicted_until() < last:
            self._send_requests(first, last)
        self.watcher.wait_until("the monitors' result", lambda: self.watcher.monitors_reach(last))
        self.report.monitors()
        self.report.trainings(after=trained)

    def _land(self, first: date, last: date) -> None:
        delivered = [*deliveries(package_folder(), first, last)]
        landed = sum(self.landing.put(self.use_case.name, file.table, day=file.day, rows=file.rows) for file in delivered)
        self.report.say(f"{first} to {last}: {landed} files landed" if landed else f"{first} to {last}: landed before")

    def _send_requests(self, first: date, last: date) -> None:
        self.report.say(f"  requesting a live prediction for every flight of {first} to {last}")
        predicted = 0
        for rows in self._requests(first, last):
            predicted += len(self.live.predict(rows.to_dicts()))
            if self.watcher.state().challenger_version is not None:
                self._wait_for_rollout_step()
        self.report.say(f"  {predicted:,} requests answered")

    def _wait_for_rollout_step(self) -> None:
        """Two months of traffic take a minute here: the rollout gets time to evaluate what has been logged."""
        before, deadline = self.watcher.state(), time.monotonic() + STEP_S
        while time.monotonic() < deadline and self.watcher.state().head == before.head:
            time.sleep(0.2)
        for line in self.watcher.changes(after=before.head):
            self.report.say(f"  {line}")

    def _requests(self, first: date, last: date) -> Iterator[pl.DataFrame]:
        """The scheduled flights whose prediction moment is on these days, in batches of ROWS_PER_REQUEST."""
        features = self.use_case.features
        flights = self.watcher.tables.scan(names.validated(self.use_case.name, features.request_table))
        flights = flights.filter(pl.col("day").is_between(first, last + timedelta(days=1))).select(*features.request).collect()
        moments = features.entity_rows(flights.lazy()).collect()["event_timestamp"]
        yield from flights.filter(moments.dt.date().is_between(first, last)).sort("sched_dep").iter_slices(ROWS_PER_REQUEST)
