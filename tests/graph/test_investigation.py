"""From an alarm of a real line to its cause: in the asset, in `mlops status` and in the alert."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest

from mlops_assets.features.request_features import entity_rows
from mlops_assets.foundation import names
from mlops_assets.graph.alerts import build_alerts
from mlops_assets.graph.kernel.check_verdict import check_keys
from mlops_assets.graph.operations import describe_monitors
from mlops_assets.graph.overview import read_overview
from mlops_assets.resources import ChannelsResource, build_resources
from mlops_assets.serving.log.prediction_log import PredictionLog
from mlops_assets.spec.monitor import DataAge, Drift
from mlops_assets.spec.use_case import UseCase
from tests.cli.loans import LOANS, REPO, VIEW
from tests.graph.line import environment_of, failure
from tests.graph.loan_line import LoanLine, applications, moment, payments
from tests.promotion.model_line import ModelLine

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]
DAY = dt.timedelta(days=1)
TRAINED, LAST, A_DAY = 10, 19, 60  # days; loans of one
CUSTOMERS = 7
LINE: UseCase = LOANS.but(
    last_day=None,
    # Seven payments a day are other ones in every window.
    monitors=(
        Drift(window=10 * DAY, min_rows=200, max_psi=2.0, max_ks=0.5, max_new_share=0.3),
        DataAge(window=10 * DAY, max_age=2 * DAY, min_share=0.9, min_rows=200),
    ),
)
STAGE = names.stage(LINE.name, "investigation")


def loans(day: int, factor: float) -> pl.DataFrame:
    rng = np.random.default_rng(day)
    rows = [(1000 * (day + 1) + number, float(rng.lognormal(5, 1)) * factor, int(rng.integers(0, 2))) for number in range(A_DAY)]
    spread = pl.duration(minutes=pl.int_range(A_DAY) * 4)
    return applications(*rows, day=day).with_columns(
        customer=pl.format("c{}", pl.col("number") % CUSTOMERS), purpose=pl.Series(rng.choice(["car", "home"], A_DAY)),
        applied_at=pl.lit(moment(day, 18)) + spread,
    )  # fmt: skip


class Watched(LoanLine):
    """A champion that was trained on the first ten days, and its answers of later days."""

    def live(self, days: range, *, factor: float = 1.0, paying: range = range(LAST + 1)) -> None:
        for day in days:
            self.land("applications", day, loans(day, factor))
            if day in paying:
                paid = np.random.default_rng(100 + day).uniform(5, 50, CUSTOMERS)
                self.land("payments", day, payments(day, *((f"c{number}", float(euros)) for number, euros in enumerate(paid))))
        self.report_landed()
        for table, last in (("applications", days[-1]), ("payments", min(days[-1], paying[-1]))):
            assert self.ingest(table, first=days[0], last=last).success if last >= days[0] else True
        if (last := min(days[-1], paying[-1])) >= days[0]:
            self.fill(days[0], last)

    def train(self) -> None:
        stages = [names.stage(LINE.name, stage) for stage in ("training_set", "candidate")]
        result = self.run(*stages, first=0)
        assert result.success, failure(result)
        models = ModelLine(self.home, name=LINE.name)
        models.bless(1)
        models.promote(1)

    def answer(self, days: range) -> None:
        """Logs the answers that the service would have given in the evening of each day."""
        sent = self.validated("applications").filter(pl.col("applied_at").is_between(moment(days[0], 0), moment(days[-1] + 1, 0)))
        request = entity_rows(LINE.features, sent.lazy().select(*LINE.features.request)).collect()
        looked_up = self.store().historical(request)
        paid_at = self.validated("payments").select("customer", at="paid_at").sort("at")
        at = looked_up.sort("event_timestamp").join_asof(
            paid_at, left_on="event_timestamp", right_on="at", by="customer", check_sortedness=False
        )
        age = (pl.col("event_timestamp") - pl.col("at")).dt.total_seconds().cast(pl.Float64())
        log = PredictionLog(self.environment.home.prediction_log, LINE)
        logged = at.with_columns(
            prediction_id=pl.format("p{}", "number"), answered_at="event_timestamp", features_from=pl.lit("online"),
            feature_age_s=pl.struct(age.alias(VIEW.name)), model_version=pl.lit(1), probability=pl.int_range(pl.len()) / pl.len(),
        )  # fmt: skip
        log.append([dict.fromkeys(log.schema) | row for row in logged.to_dicts()])

    def watch(self, day: int) -> dict[str, Any]:
        """The metadata of the investigation after the monitors have looked on the evening of a day."""
        keys = [dg.AssetKey(names.stage(LINE.name, stage)) for stage in ("predictions", *LINE.monitor_stages)] + [
            dg.AssetKey(STAGE)
        ]
        tags = {"mlops/as_of": moment(day + 1, 0).isoformat()}
        result = self.job.execute_in_process(asset_selection=keys, instance=self.instance, tags=tags, raise_on_error=False)
        assert result.success, failure(result)
        (made,) = result.asset_materializations_for_node(f"{LINE.name}__investigation")
        return {name: entry.value for name, entry in made.metadata.items()}

    def alert(self) -> str:
        folder = self.home / "alerts"
        channels = ChannelsResource(addresses="", folder=str(folder), dagster_url=None, status_url=None)
        resources = {"channels": channels, "ledger": build_resources(self.environment)["ledger"]}
        with dg.build_sensor_context(instance=self.instance, resources=resources) as context:
            build_alerts(LINE, [*check_keys(LINE).values()]).evaluate_tick(context)
        return (folder / "alerts.log").read_text()

    def problems(self) -> list[str]:
        (own,) = read_overview(
            [LINE], self.environment.home, build_resources(self.environment), not_loaded=[], now=moment(LAST + 1, 0)
        ).use_cases
        return [*own.problems]


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Watched]:
    environment = environment_of(tmp_path, {"loans": REPO})
    folder = environment.home.dagster
    folder.mkdir(parents=True)
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        line = Watched(environment, LINE, instance)
        line.live(range(TRAINED))
        line.train()
        yield line


def test_amounts_in_cents_are_named_in_the_asset_the_status_and_the_alert(line: Watched) -> None:
    line.live(range(TRAINED, 15))
    line.answer(range(TRAINED, 15))
    assert line.watch(14) == {"verdict": "Nothing to investigate: no monitor is in alarm."}
    line.live(range(15, LAST + 1), factor=100.0)
    line.answer(range(15, LAST + 1))
    metadata = line.watch(LAST)
    assert metadata["verdict"].startswith(
        "Very likely: schema or unit change in predictions.amount, since 2024-03-16 18:00 UTC. "
    )
    assert "100 times the earlier ones: hundreds, such as cents" in metadata["verdict"] and "amount" in metadata["pictures"]
    (first, *_) = (record.data for record in metadata["causes"].records)
    assert (first["cause"], first["where"]) == ("schema or unit change", "predictions.amount")
    brief = "Cause, very likely: schema or unit change in predictions.amount, since 2024-03-16 18:00 UTC."
    assert brief in line.alert()
    assert any(problem.startswith("Monitor drift: ") and brief in problem for problem in line.problems())
    assert any(brief in one for one in describe_monitors(LINE, line.instance, moment(LAST + 1, 0)) if one.startswith("drift"))


def test_files_that_do_not_come_are_the_cause_of_old_answers(line: Watched) -> None:
    line.live(range(TRAINED, LAST + 1), paying=range(15))
    line.answer(range(TRAINED, LAST + 1))
    metadata = line.watch(LAST)
    assert metadata["monitors"] == ["data_age"]
    assert metadata["verdict"].startswith("Very likely: broken or late partition in landed_payments 2024-03-16, since 2024-03-16")
    assert "mlops waive loans payments 2024-03-16" in metadata["verdict"]


def test_another_transform_is_the_cause_of_drift_in_what_it_computes(line: Watched) -> None:
    line.live(range(TRAINED, 13))
    line.answer(range(TRAINED, 13))
    line.declare(LINE.but(features=LINE.features.but(views=(VIEW.but(transform=in_cents),))))
    line.live(range(13, LAST + 1))
    line.answer(range(13, LAST + 1))
    metadata = line.watch(LAST)
    assert metadata["monitors"] == ["drift"]
    assert metadata["verdict"].startswith("Very likely: changed transform in features_last_payment, since ")
    assert "last_paid (100%)" in metadata["verdict"]


def in_cents(tables: Any, start: dt.datetime, end: dt.datetime) -> pl.LazyFrame:
    return VIEW.transform(tables, start, end).with_columns(last_paid=pl.col("last_paid") * 100)
