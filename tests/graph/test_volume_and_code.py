"""Triggers that compare what there is now with what the champion was trained on and by: rows and code."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from deltalake import write_deltalake

from mlops_assets.foundation import names
from mlops_assets.foundation.delta_tables import DeltaTables
from mlops_assets.foundation.grains import calendar_of
from mlops_assets.foundation.home import Home
from mlops_assets.graph.kernel.tables import partitions_of
from mlops_assets.graph.training_triggers import Request
from mlops_assets.spec.code_version import validated_code
from mlops_assets.spec.monitor import Drift, Performance
from mlops_assets.spec.spec import IllegalDeclaration
from mlops_assets.spec.training import HistGradientBoosting
from mlops_assets.spec.trigger import OnCode, OnDrift, OnPerformance, OnVolume
from mlops_assets.training.training_record import record_code
from tests.graph.test_first_model import PLAIN, TABLE, applications
from tests.graph.training_line import TrainingLine

HOLDS = PLAIN.but(
    monitors=(Drift(), Performance()), triggers=(OnDrift(unless_performance_holds=True), OnPerformance(metric="auc", bound=0.7))
)


@pytest.fixture
def line(tmp_path: Path) -> Iterator[TrainingLine]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield TrainingLine(Home(tmp_path / "home"), instance, PLAIN.but(triggers=(OnVolume(rows=4),)))


def write(line: TrainingLine, rows: pl.DataFrame) -> int:
    """The version of the table."""
    write_deltalake(line.home.tables / names.table_path(TABLE), rows.to_arrow(), mode="append")
    line.land()
    return DeltaTables(line.home.tables).version(TABLE)


def promote(line: TrainingLine, version: int, **training: str) -> None:
    """A version with this record of its training serves."""
    line.models.bless(version, training=training)
    line.models.promote(version)
    line.versions = version


def test_each_number_of_new_labelled_rows_trains_once(line: TrainingLine) -> None:
    at = write(line, applications(1, 2))
    promote(line, 2, **{names.table_tag(TABLE): str(at)})
    write(line, applications(3))
    assert "on_volume: 2 of 4 labelled rows are new since version 2 was trained." in line.why_not()
    write(line, applications(4).with_columns(pl.lit(None, pl.Int64()).alias("defaulted")))
    assert "on_volume: 2 of 4" in line.why_not(), "a row without its label is no labelled one"
    write(line, applications(5))
    assert line.train(refused=True).reason.startswith("volume: 4 labelled rows are new since version 2 was trained; 4 are")
    write(line, applications(6))
    assert "6 labelled rows are new since version 2 was trained; 4 are enough. A training since" in line.why_not()
    at = write(line, applications(7))
    assert line.train().reason.startswith("volume: 8 labelled rows")
    promote(line, 4, **{names.table_tag(TABLE): str(at)})
    assert "on_volume: 0 of 4 labelled rows are new since version 4 was trained." in line.why_not()


def test_where_the_tables_of_the_training_are_gone_its_number_of_rows_counts(line: TrainingLine) -> None:
    write(line, applications(1, 2))
    promote(line, 2, **{names.table_tag(TABLE): "77"}, rows="3")
    assert "on_volume: 1 of 4" in line.why_not()
    promote(line, 3, window="all")
    assert "on_volume: the record of version 3 does not tell how many rows it was trained on." in line.why_not()


def test_a_change_of_the_code_trains_once_and_says_what_changed(line: TrainingLine) -> None:
    line.use_case = PLAIN.but(triggers=(OnCode(),))
    promote(line, 2, **record_code(PLAIN, PLAIN.trainer))
    assert "on_code: version 2 is made by the present code." in line.why_not()
    line.use_case = line.use_case.but(trainer=HistGradientBoosting(max_iter=4))
    assert line.train(refused=True).reason == "code: trainer or search changed since version 2 was trained"
    line.land()
    assert "code: trainer or search changed since version 2 was trained. A training since" in line.why_not()
    line.use_case = line.use_case.but(trainer=HistGradientBoosting(max_iter=5))
    assert isinstance(line.next(), Request)


def test_a_change_of_the_code_trains_once_the_tables_are_made_by_it(line: TrainingLine) -> None:
    def made_by(code: str) -> None:
        days = partitions_of(PLAIN, calendar_of(source.grain))
        made = dg.asset(key=TABLE, code_version=code, partitions_def=days)(lambda: None)
        assert dg.materialize([made], instance=line.instance, partition_key=PLAIN.first_day.isoformat()).success

    promote(line, 2, **record_code(PLAIN, PLAIN.trainer))
    line.use_case = PLAIN.but(triggers=(OnCode(),), trainer=HistGradientBoosting(max_iter=4))
    source = PLAIN.source("applications")
    made_by(validated_code(source, PLAIN.contract(source.table).but(max_bad_share=0.5)))
    assert "Their code has changed, and they are made again first: validated_" in line.why_not()
    made_by(validated_code(source, PLAIN.contract(source.table)))
    assert isinstance(line.next(), Request)


def test_a_code_version_that_an_earlier_release_did_not_record_is_no_change(line: TrainingLine) -> None:
    line.use_case = PLAIN.but(triggers=(OnCode(),))
    assert "on_code: version 1 is made by the present code." in line.why_not()


def test_drift_trains_nothing_while_the_performance_holds(line: TrainingLine) -> None:
    line.use_case = HOLDS
    line.judge("drift", "3 of 9 inputs have drifted.")
    line.judge("performance", "auc 0.8 is within its bound.", passed=True)
    reason = "drift: 3 of 9 inputs have drifted. The performance holds, so nothing is trained: performance: auc 0.8 is within"
    assert f"on_drift: {reason} its bound." in line.why_not()
    line.judge("performance", "12 outcomes; a verdict needs 1000.", passed=True, verdict="not enough data")
    assert line.train().reason == "drift: 3 of 9 inputs have drifted"


def test_a_performance_without_a_bound_holds_nothing() -> None:
    for fields in ({"monitors": (Drift(),)}, {}):
        with pytest.raises(
            IllegalDeclaration, match=r"triggers\[0\] · unless_performance_holds reads the verdict of an Estimation"
        ):
            HOLDS.but(triggers=HOLDS.triggers[:1], **fields)
