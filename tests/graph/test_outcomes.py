"""Outcomes wait for a label that has no value yet, and use the newest of a corrected one, as training does."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from mlops_assets.features.featurize import label_rows
from mlops_assets.foundation import names
from mlops_assets.foundation.calendars import DAY, UTC_DAYS
from mlops_assets.foundation.delta_tables import DeltaTables
from mlops_assets.graph.kernel.tables import PARTITION_COLUMN, build_io_managers, partitions_of
from mlops_assets.graph.serving import build_serving
from mlops_assets.resources import WarehouseResource
from mlops_assets.use_cases.flight_delay import USE_CASE

NOON = datetime(2013, 1, 1, 12, tzinfo=UTC)
FLIGHTS = pl.DataFrame(
    {
        "carrier": "UA",
        "flight": [1, 2, 3, 4],
        "origin": "EWR",
        "sched_dep": NOON,
        "tailnum": "N1",
        "dest": "IAH",
        "prediction_id": ["a", "b", "c", "d"],
        "answered_at": NOON,
        "event_timestamp": NOON,
    },
    schema_overrides=dict.fromkeys(("sched_dep", "answered_at", "event_timestamp"), pl.Datetime("us", "UTC")),
)


def rate_late(rows: pl.LazyFrame) -> pl.LazyFrame:
    """A label as a float: NaN for flight 2."""
    return rows.select("carrier", "flight", "origin", "sched_dep", late="rate", known_at="arr_time")


def test_outcomes_and_training_use_the_same_labels(tmp_path: Path) -> None:
    use_case = USE_CASE.but(task=USE_CASE.task.but(label=USE_CASE.label.but(transform=rate_late)))
    truths = FLIGHTS.with_columns(
        rate=pl.Series([1.0, float("nan"), None, 0.0]), arr_time="sched_dep", day=pl.col("sched_dep").dt.date()
    )
    corrected = truths.tail(1).with_columns(rate=pl.lit(1.0), day=pl.col("day").dt.offset_by("1d"))
    truths = pl.concat([corrected, truths])
    result = _outcomes(use_case, truths, tmp_path)
    trained = label_rows(use_case, FLIGHTS.drop("event_timestamp").lazy(), truths.lazy()).collect().sort("flight")
    for rows in (result, trained):
        assert rows.select("flight", "late").rows() == [(1, 1.0), (4, 1.0)], "one row each, with the newest label"


def _outcomes(use_case: Any, truths: pl.DataFrame, folder: Path) -> pl.DataFrame:
    tables = DeltaTables(folder / "tables")
    served, validated = names.stage(use_case.name, "predictions"), names.validated(use_case.name, use_case.label.table)
    for path, rows in ((served, FLIGHTS), (validated, truths)):
        tables.path(path).parent.mkdir(parents=True, exist_ok=True)
        rows.write_delta(tables.path(path))
    key = dg.AssetKey(names.stage(use_case.name, "outcomes"))
    outcomes = next(one for one in build_serving(use_case) if isinstance(one, dg.AssetsDefinition) and one.key == key)
    read = [
        dg.AssetSpec(served).with_io_manager_key("tables"),
        dg.AssetSpec(
            validated, partitions_def=partitions_of(use_case, UTC_DAYS), metadata={PARTITION_COLUMN: DAY}
        ).with_io_manager_key("tables"),
    ]
    warehouse = {"warehouse": WarehouseResource(folder=str(folder / "tables"))}
    resources = build_io_managers(str(folder / "tables"), str(folder / "values")) | warehouse
    with dg.DagsterInstance.ephemeral(tempdir=str(folder)) as instance:
        result = dg.materialize([*read, outcomes], selection=[outcomes], instance=instance, resources=resources)
    waiting = result.asset_materializations_for_node(outcomes.op.name)[0].metadata["waiting"].value
    assert waiting == 2
    return tables.scan(key.path).collect().sort("flight")
