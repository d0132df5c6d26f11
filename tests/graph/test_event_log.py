"""Events stored as a batch read back as events stored one by one, and the platform's instance really stores them so."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.graph.event_log import BatchedEventLog
from mlops_assets.platform import EVENT_LOG

TAG = "dagster/data_version"
DAYS = dg.DailyPartitionsDefinition("2013-01-01", end_date="2013-01-20")


@contextmanager
def instance_with(log: str, folder: Path) -> Iterator[dg.DagsterInstance]:
    folder.mkdir()
    (folder / "dagster.yaml").write_text(log.format(folder=folder) + "telemetry: {enabled: false}\n")
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        yield instance


@dg.asset(
    partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run(), check_specs=[dg.AssetCheckSpec("fine", asset="rows")]
)
def rows(context: dg.AssetExecutionContext) -> Iterator[object]:
    for day in context.partition_keys:
        context.add_asset_metadata({"day": day}, partition_key=day)
    yield dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=True, check_name="fine")])


def told(instance: dg.DagsterInstance, spans: list[tuple[int, int]]) -> dict[str, object]:
    """What the log says of the asset after a run over each span of days."""
    days = DAYS.get_partition_keys()
    for first, last in spans:
        tags = {"dagster/asset_partition_range_start": days[first], "dagster/asset_partition_range_end": days[last]}
        job = dg.Definitions(assets=[rows]).resolve_implicit_global_asset_job_def()
        assert job.execute_in_process(instance=instance, tags=tags).success
    log, made = instance.event_log_storage, dg.DagsterEventType.ASSET_MATERIALIZATION
    found = log.get_event_records(dg.EventRecordsFilter(made, rows.key), ascending=True)
    planned = log.get_event_records(
        dg.EventRecordsFilter(dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED, rows.key), ascending=True
    )
    materializations = [record.asset_materialization for record in found]
    newest = log.get_latest_materialization_events([rows.key])[rows.key]
    return {
        "made": [(each.partition, each.metadata["day"].value) for each in materializations if each],
        "in order": [record.storage_id for record in found] == sorted({record.storage_id for record in found}),
        "planned": [record.partition_key for record in planned],
        "days": instance.get_materialized_partitions(rows.key),
        "newest": newest.asset_materialization.partition if newest and newest.asset_materialization else None,
        "versions": {day: TAG in tags for day, tags in log.get_latest_tags_by_partition(rows.key, made, [TAG]).items()},
        "by run": sorted(len(instance.all_logs(run.run_id, of_type=made)) for run in instance.get_runs()),
    }


span = st.tuples(st.integers(0, 18), st.integers(0, 18)).map(lambda pair: (min(pair), max(pair)))


@settings(max_examples=5, deadline=None)
@given(spans=st.lists(span, min_size=1, max_size=2), size=st.integers(2, 25))
def test_a_batch_reads_back_as_events_stored_one_by_one(
    spans: list[tuple[int, int]], size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("logs")
    with pytest.MonkeyPatch.context() as patch:
        with instance_with("", folder / "one_by_one") as instance:
            expected = told(instance, spans)
        patch.setenv("DAGSTER_EVENT_BATCH_SIZE", str(size))
        with instance_with(EVENT_LOG, folder / "batched") as instance:
            assert isinstance(instance.event_log_storage, BatchedEventLog)
            assert told(instance, spans) == expected
