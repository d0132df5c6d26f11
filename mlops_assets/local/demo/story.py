"""The demo's course: land, wait for the platform, ask, land more, and tell what the platform did about it.

Belongs here: the order of events. Not here: how things are seen (watching.py) and said (report.py).
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from mlops_assets.foundation import names
from mlops_assets.ingestion.landing import Landing
from mlops_assets.local.demo.report import Report
from mlops_assets.local.demo.watching import Say, Watcher
from mlops_assets.serving.client import LiveService
from mlops_assets.spec.use_case import UseCase
from mlops_assets.use_cases.flight_delay.airline import deliveries, package_folder

FIRST, SPRING = date(2013, 1, 1), date(2013, 4, 30)
SUMMER = ((date(2013, 5, 1), date(2013, 6, 30)), (date(2013, 7, 1), date(2013, 8, 31)))
ROWS_A_REQUEST = 5000
PATIENCE_S = 600
STEP_S = 8.0  # the daemon looks every five


@dataclass(frozen=True)
class Story:
    """The demo on one running platform. Everything it does twice changes nothing the second time."""

    use_case: UseCase
    landing: Landing
    live: LiveService
    watcher: Watcher
    report: Report
    say: Say

    def run(self) -> None:
        self._spring()
        for first, last in SUMMER:
            self._summer(first, last)
        self.report.months()
        self.report.what_next()

    def _spring(self) -> None:
        self._land(FIRST, SPRING)
        self.watcher.wait_until("features until spring", lambda: self.watcher.features_reach(SPRING), timeout_s=PATIENCE_S)
        self.report.rows()
        self.watcher.wait_until("a first champion", self._first_model_judged, timeout_s=PATIENCE_S)
        self.report.judgement()
        plan = self.watcher.plan()
        if plan is None:
            raise SystemExit("The first candidate was refused; the gates above say why. Nothing serves.")
        self.live.wait_until_serving(plan.champion, PATIENCE_S)
        day = SPRING + timedelta(days=1)
        self.report.answers(self._ask(day, limit=3))
        self.report.through_bento(self.live.url, self.live.api_key, next(self._requests(day, day)).row(0, named=True))

    def _summer(self, first: date, last: date) -> None:
        trained = len(self.watcher.trainings())
        self._land(first, last)
        self.watcher.wait_until(f"features until {last}", lambda: self.watcher.features_reach(last), timeout_s=PATIENCE_S)
        if self.watcher.answered_until() < last:
            self.say(f"  asking the live service about every flight of {first} to {last}")
            answered = 0
            for rows in self._requests(first, last):
                answered += len(self.live.predict(rows.to_dicts()))
                if self.watcher.on_trial() is not None:
                    self._let_it_step()
            self.say(f"  {answered:,} requests answered")
        self.watcher.wait_until("the monitors' verdict", lambda: self.watcher.monitors_saw(last), timeout_s=PATIENCE_S)
        self.report.monitors()
        self.report.trainings(after=trained)

    def _let_it_step(self) -> None:
        """A year's traffic comes in a minute here: the rollout gets the time to look at what it has been asked."""
        before = self.watcher.state()
        deadline = time.monotonic() + STEP_S
        while time.monotonic() < deadline and self.watcher.state().head == before.head:
            time.sleep(0.2)
        for line in self.watcher.changes(after=before.head):
            self.say(f"  {line}")

    def _land(self, first: date, last: date) -> None:
        delivered = [*deliveries(package_folder(), first, last)]
        landed = sum(self.landing.put(self.use_case.name, each.table, day=each.day, rows=each.rows) for each in delivered)
        self.say(f"{first} to {last}: {landed} files landed" if landed else f"{first} to {last}: landed before")

    def _first_model_judged(self) -> bool:
        return not self.watcher.running() and bool(self.watcher.trainings())

    def _ask(self, day: date, *, limit: int) -> list[dict[str, object]]:
        """The next flights whose prediction moment lies after everything that has landed."""
        return [self.report.timed(self.live, row) for row in next(self._requests(day, day)).head(limit).to_dicts()]

    def _requests(self, first: date, last: date) -> Iterator[pl.DataFrame]:
        """What clients would ask on these days, in whole batches: the scheduled flights, at their prediction moments."""
        features = self.use_case.features
        flights = self.watcher.tables.scan(names.validated(self.use_case.name, features.request_table))
        flights = flights.filter(pl.col("day").is_between(first, last + timedelta(days=1))).select(*features.request).collect()
        moments = features.entity_rows(flights.lazy()).collect()["event_timestamp"]
        asked = flights.filter(moments.dt.date().is_between(first, last)).sort("sched_dep")
        yield from asked.iter_slices(ROWS_A_REQUEST)
