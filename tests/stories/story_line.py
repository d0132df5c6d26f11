"""One line of a story: what happens to it, what was accepted, and a brute-force recomputation of what it must hold.

Real files, Delta tables, Feast, MLflow, ledger and keys; Dagster and the service run in this process.
"""

import datetime as dt
from typing import Any

import dagster as dg
import polars as pl
import pytest
from typer.testing import CliRunner

import mlops_assets.cli.arguments
from mlops_assets.cli.app import app
from mlops_assets.features.feast.feature_store import FeatureStore
from mlops_assets.features.migration import LosesValues, apply_changes, find_changes
from mlops_assets.foundation import names
from mlops_assets.foundation.home import Environment
from mlops_assets.promotion.deployment import Deployment
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.promotion.placed_versions import PlacedVersions
from mlops_assets.promotion.promotions import Cause, Promotions
from mlops_assets.promotion.signing_keys import SigningKeys
from tests.graph.line import Line, failed_checks, failure
from tests.stories.declarations import (
    BAD,
    BOUND,
    CUSTOMERS,
    DAY,
    DAYS,
    LOOKBACK,
    Declared,
    Row,
    delivered_file,
    feature_repo,
    midnight,
    use_case,
)  # fmt: skip
from tests.stories.server import Server

NO_SERVER = "http://127.0.0.1:9"
AFTER = dt.datetime(2024, 4, 1, tzinfo=dt.UTC)
Delivered = dict[tuple[str, dt.date], list[Row]]


class StoryLine(Line):
    """`delivered`: the rows of each day's newest readable file; `in_use`: those of the newest one within the bound."""

    def __init__(self, environment: Environment, name: str, instance: dg.DagsterInstance) -> None:
        self.name, self.declared, self.variables = name, Declared(), {"MLOPS_SERVICE_URL": NO_SERVER}
        self.variables |= {"MLOPS_ENV": "test", "MLOPS_HOME": str(environment.home.root)}
        self.delivered, self.in_use = Delivered(), Delivered()
        self.waived: set[tuple[str, dt.date]] = set()
        self.trained: list[Row] | None = None
        self.answered: list[str] = []
        super().__init__(environment, use_case(name, self.declared), instance)
        home = environment.home
        self.deployment, self.keys = Deployment(home.deployments, name), SigningKeys(home.keys)
        self.ledger = Ledger(environment.ledger_url, home.deployments)
        self.placed = PlacedVersions(name, self.ledger, self.deployment, self.keys)
        self.server: Server | None = None
        self.open_store()

    # --- events -----------------------------------------------------------------------------------------------------------

    @property
    def promotions(self) -> Promotions:
        return Promotions(self.use_case, self.ledger, self.deployment, self.keys)

    def open_store(self) -> None:
        self.store = FeatureStore(self.environment.home, service=self.use_case.features.service)
        self.store.apply(self.home.parent / "feature_repo")

    def change(self, declared: Declared) -> bool:
        """Declares it, migrates the tables where that loses nothing, and fills new views. False: it would lose something."""
        new = use_case(self.name, declared)
        try:
            apply_changes(find_changes(new, self.tables), self.tables)
        except LosesValues:
            return False
        assert not find_changes(new, self.tables)
        has_new_view, self.declared = declared.has_total and not self.declared.has_total, declared
        self.declare(new)
        file = self.home.parent / "feature_repo" / f"{self.name}_objects.py"
        if file.read_text() != (text := feature_repo(self.name, declared)):
            file.write_text(text)
            self.open_store()
        if has_new_view and any(table == "payments" for table, _ in self.in_use):
            self.fill(DAYS[0], DAYS[-1])
        return True

    def deliver(self, table: str, days: dict[dt.date, list[Row]], seed: int) -> None:
        """Lands the rows as the files of these days and brings them as far as the online store, in one run."""
        for day, rows in days.items():
            file, stored = delivered_file(table, rows, day, self.declared, seed)
            self.landing.put(self.name, table, day=day, rows=file)
            self.delivered[table, day] = stored
            self.waived.discard((table, day))
            if sum(map(is_bad, stored)) <= BOUND * len(stored):
                self.in_use[table, day] = stored
        self.bring(table, min(days), max(days))

    def bring(self, table: str, first: dt.date, last: dt.date) -> None:
        result = self.ingest(table, first, last)
        assert result.success, failure(result)
        if table == "payments":
            self.fill(first, last)

    def fill(self, first: dt.date, last: dt.date) -> None:
        """The days that look back on these, too, as the automation does."""
        for view in self.use_case.features.views:
            paths = names.feature(self.name, view.name), names.online(self.name, view.name)
            result = self.run(*paths, first=first, last=min(last + 2 * DAY, DAYS[-1]) if view.lookback else last)
            assert result.success, failure(result)

    def break_file(self, table: str, day: dt.date) -> None:
        """A file without the contract's columns is a day that is refused."""
        path = self.landing.path(self.name, table, day)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("wrong,columns\n1,2\n")
        self.delivered[table, day] = [{"number": BAD}]
        self.waived.discard((table, day))
        self.bring(table, day, day)

    def can_waive(self) -> list[tuple[str, dt.date]]:
        """Refused days; not those whose file lacks a column that has been declared since."""
        since = self.declared.branch_since if self.declared.has("branch") else None
        return [
            (table, day)
            for table, day in sorted(self.refused_days())
            if table == "payments"
            or since is None
            or day < since
            or "branch" in self.landing.path(self.name, table, day).read_text()
        ]

    def waive(self, table: str, day: dt.date) -> None:
        is_broken = self.delivered[table, day] == [{"number": BAD}]
        output = self.command("waive", self.name, table, day.isoformat(), "--why", "a story", exit_code=int(is_broken))
        if is_broken:
            assert "Correct the file and land it again" in output
            return
        assert f"{table} {day} will be used" in output
        self.waived.add((table, day))
        self.in_use[table, day] = self.delivered[table, day]
        self.bring(table, day, day)

    def train(self) -> None:
        """Runs the line from the training set to a serving version."""
        stages = ("training_set", "candidate", "evaluation", "blessing", "rollout")
        result = self.run(*(names.stage(self.name, stage) for stage in stages))
        assert result.success, f"every part has rows of both classes: {failure(result)}"
        self.trained = self.training_rows()

    def join_answers(self) -> None:
        """Every answer is in the table of predictions once."""
        before = [*self.answered]
        result = self.run(names.stage(self.name, "predictions"), names.stage(self.name, "outcomes"))
        assert result.success and not failed_checks(result), failed_checks(result) or failure(result)
        logged = [row for (row,) in self.columns(names.stage(self.name, "predictions"), "prediction_id")]
        assert len(logged) == len({*logged}) and {*before} <= {*logged}

    def roll_back(self) -> None:
        self.promotions.roll_back(**cause())

    def try_beside(self, version: int) -> None:
        self.promotions.route(challenger=version, share=0.5, **cause())

    def command(self, *arguments: str, exit_code: int = 0) -> str:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(mlops_assets.cli.arguments, "USE_CASES", (self.use_case,))
            for name, value in self.variables.items():
                patch.setenv(name, value)
            patch.setenv("COLUMNS", "300")
            result = CliRunner().invoke(app, [*arguments])
        assert result.exit_code == exit_code, result.output
        return result.output

    def serve(self) -> None:
        """Starts a server of the present declaration; one that runs already is stopped when its requests are answered."""
        before, self.server = self.server, Server(self.variables, self.use_case, self.answered)
        if before:
            before.stop()

    # --- what must be there -------------------------------------------------------------------------------------------------

    def accepted(self, table: str) -> list[Row]:
        """The good rows of each day's newest delivery within the bound, with their day."""
        days = {day: rows for (of, day), rows in self.in_use.items() if of == table}
        return [row | {"day": day} for day, rows in sorted(days.items()) for row in rows if not is_bad(row)]

    def stored(self, table: str) -> list[tuple[Any, ...]]:
        columns = [name if name != self.declared.paid else "paid" for name in self.declared.columns[table]]
        return sorted(tuple(row.get(name) for name in (*columns, "day")) for row in self.accepted(table))

    def refused_days(self) -> set[tuple[str, dt.date]]:
        return {place for place, rows in self.delivered.items() if self.in_use.get(place) is not rows}

    def refused(self, table: str) -> int:
        """The rows delivered last that are not in use: bad ones, or all of a day that is beyond the bound."""
        refused = self.refused_days()
        days = {place: rows for place, rows in self.delivered.items() if place[0] == table}
        return sum(len(rows) if place in refused else sum(map(is_bad, rows)) for place, rows in days.items())

    def paid(self, customer: str, at: dt.datetime) -> dict[str, float | None]:
        """The features of a customer."""
        known = [row for row in self.accepted("payments") if row["customer"] == customer and row["paid_at"] <= at]
        newest = max(known, key=lambda row: row["paid_at"], default=None)
        if newest is None:
            return dict.fromkeys(self.declared.features)
        lately = [row["paid"] for row in known if row["paid_at"] > newest["paid_at"] - LOOKBACK]
        both = {"last_paid": newest["paid"], "lately_paid": sum(lately)}
        return {name: both[name] for name in self.declared.features}

    def training_rows(self) -> list[Row]:
        """The requests of each part of the declared split, as known when they were made, with the labels known when it ended."""
        versions = self.accepted("applications")
        if not versions:
            return []
        end = midnight(max(row["day"] for row in versions)) + DAY
        rows: list[Row] = []
        for part, start, stop, known_before in (
            ("test", end - DAY, end, None),
            ("validation", end - 2 * DAY, end - DAY, end - DAY),
            ("train", None, end - 2 * DAY, end - 2 * DAY),
        ):
            for number in {row["number"] for row in versions}:
                of_one = [row for row in versions if row["number"] == number]
                # Every version is of a day after its request, so that the first one is the request as it was made.
                request = min(of_one, key=lambda row: row["day"])
                truth = known_at(of_one, known_before or end)
                at = request["applied_at"]
                if (start is None or at >= start) and at < stop and (known_before is None or truth["ended_at"] < known_before):
                    inputs = {name: request.get(name) for name in ("number", "amount", "purpose", *sorted(self.declared.inputs))}
                    rows.append(inputs | {"defaulted": truth["defaulted"], "split": part} | self.paid(request["customer"], at))
        return sorted(rows, key=lambda row: row["number"])

    def can_train(self) -> bool:
        labels = {(row["split"], row["defaulted"]) for row in self.training_rows()}
        return labels >= {(part, label) for part in ("train", "validation", "test") for label in (0, 1)}

    # --- what is there --------------------------------------------------------------------------------------------------------

    def columns(self, path: names.AssetPath, *columns: str) -> list[tuple[Any, ...]]:
        """Of the stored rows; null for a column that has come and that no day has brought yet."""
        rows = self.rows(path)
        if rows.is_empty():
            return []
        there = [pl.col(name) if name in rows.columns else pl.lit(None).alias(name) for name in columns]
        return rows.select(there).rows()

    def online(self) -> list[dict[str, float | None]]:
        features = self.store.look_up(entities().to_dict(as_series=False)).features
        return [
            {name: value if (value := features[name][row]) == value else None for name in self.declared.features}
            for row in range(len(CUSTOMERS))
        ]

    def offline(self) -> list[dict[str, float | None]]:
        return self.store.historical(entities()).select(self.declared.features).to_dicts()

    def check_what_serves(self) -> None:
        state = self.promotions.state()
        assert not self.placed.faults() and not self.promotions.difference()
        if state.plan is None:
            return
        if self.server is None:
            self.serve()
        assert self.server
        self.server.check(state.plan.versions)
        assert not self.server.failures, self.server.failures

    def missing_days(self) -> set[dt.date]:
        """Without a file, between days of the same table that have one."""
        landed = [{day for table, day in self.delivered if table == source.table} for source in self.use_case.sources]
        return {day for days in landed if days for day in days_between(min(days), max(days)) - days}

    def check_status(self) -> None:
        output = self.command("status", self.name)
        plan = self.promotions.state().plan
        assert (f"serving: version {plan.champion}" if plan else "nothing serves yet") in output, output
        lines = [line for line in output.splitlines() if line.startswith("data: ")]
        missing = [line for line in lines if "no file has landed for" in line]
        expected = {f"data: {table} {day} " for table, day in self.refused_days() | self.waived}
        assert {line.split("failed.")[0] for line in lines if line not in missing} == expected, output
        assert all(f" {day}" in " ".join(missing).replace(",", "") for day in self.missing_days()), output
        assert bool(missing) == bool(self.missing_days()), output
        assert "disagree" not in output and "not loaded" not in output, output


def days_between(first: dt.date, last: dt.date) -> set[dt.date]:
    return {first + dt.timedelta(days=number) for number in range((last - first).days)}


def cause() -> Cause:
    return Cause(reason="a story", by="ada", at=dt.datetime.now(dt.UTC))


def known_at(versions: list[Row], moment: dt.datetime) -> Row:
    """The newest version of the days before `moment`, else the first one."""
    before = [row for row in versions if midnight(row["day"]) < moment]
    return max(before, key=lambda row: row["day"]) if before else min(versions, key=lambda row: row["day"])


def is_bad(row: Row) -> bool:
    return BAD in (row.get("amount"), row.get("paid"), row.get("number"))


def entities() -> pl.DataFrame:
    return pl.DataFrame({"customer": CUSTOMERS}).with_columns(event_timestamp=pl.lit(AFTER).cast(pl.Datetime("us", "UTC")))
