"""Canary: the parts of Dagster outside its public API that graph/kernel/dagster_internals.py and dagster_runs.py use still behave
as assumed.

A failure after an upgrade: look for the new name or a public replacement in Dagster's changelog, change these two files alone, and run tests/graph/kernel/test_conditions.py, which covers what is built on it.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from mlops_assets.graph.kernel import dagster_internals as internals
from mlops_assets.graph.kernel import dagster_runs as runs

MADE, PLANNED = dg.DagsterEventType.ASSET_MATERIALIZATION, dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED
DAYS = dg.DailyPartitionsDefinition("2013-01-01", end_date="2013-01-04")
RANGE = {internals.RANGE_START: "2013-01-01", internals.RANGE_END: "2013-01-02"}
FILES = dg.AssetKey("files")


@dg.asset(partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run())
def rows(context: dg.AssetExecutionContext) -> None:
    context.log.info(", ".join(context.partition_keys))


@dg.asset(check_specs=[dg.AssetCheckSpec("fine", asset="total")], automation_condition=dg.AutomationCondition.on_missing())
def total() -> dg.MaterializeResult:
    return dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=True, check_name="fine")])


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def test_a_run_over_a_range_of_days_writes_a_planned_event_and_a_materialization_per_day(instance: dg.DagsterInstance) -> None:
    run = dg.materialize([rows], instance=instance, tags=RANGE)
    made, planned = (internals.newest_events(instance, rows.key, kind, partitioned=True) for kind in (MADE, PLANNED))
    assert sorted(made) == sorted(planned) == ["2013-01-01", "2013-01-02"]
    assert max(planned.values()) < min(made.values()), "planned before the run reads anything"
    assert set(runs.runs_of(instance, rows.key, made.values()).values()) == {run.run_id}


def test_each_partition_has_the_moment_of_its_first_materialization(instance: dg.DagsterInstance) -> None:
    before = datetime.now(UTC)
    dg.materialize([rows], instance=instance, tags=RANGE)
    first = internals.first_made(instance, rows.key)
    dg.materialize([rows], instance=instance, tags=RANGE)
    assert internals.first_made(instance, rows.key) == first
    assert sorted(first) == ["2013-01-01", "2013-01-02"] and all(before < at < datetime.now(UTC) for at in first.values())


def test_an_asset_without_partitions_has_one_newest_event_and_check(instance: dg.DagsterInstance) -> None:
    check = dg.AssetCheckKey(total.key, "fine")
    assert internals.newest_events(instance, total.key, MADE, partitioned=False) == {}
    assert internals.newest_check(instance, check) is None
    dg.materialize([total], instance=instance)
    assert list(internals.newest_events(instance, total.key, MADE, partitioned=False)) == [None]
    assert internals.newest_check(instance, check).event.asset_check_evaluation.passed


def test_the_newest_events_of_all_assets_without_partitions_are_read_together(instance: dg.DagsterInstance) -> None:
    """Of an asset that was made by one run and planned by a later one, which did not make it."""

    @dg.asset(name="total")
    def broken() -> None:
        raise ValueError("broken")

    dg.materialize([total], instance=instance)
    for again in range(2):
        newest = internals.newest_unpartitioned(instance, [total.key, FILES])
        for kind in (MADE, PLANNED):
            assert newest[total.key, kind] == internals.newest_events(instance, total.key, kind, partitioned=False)
        assert (newest[total.key, PLANNED][None] > newest[total.key, MADE][None]) is bool(again)
        assert (FILES, MADE) not in newest
        run = dg.materialize([broken], instance=instance, raise_on_error=False).run_id
    failed = runs.failed_runs(instance, total.key, [run, "another"])
    assert [*failed] == [run] and failed[run].end > 0
    assert runs.failing_since(instance, total.key, None, newest[total.key, MADE][None] or 0) <= failed[run].end


def test_the_newest_data_version_is_read_back_by_partition(instance: dg.DagsterInstance) -> None:
    for version in ("a", "b"):
        event = dg.AssetMaterialization(FILES, partition="2013-01-01", tags={internals.DATA_VERSION: version})
        instance.report_runless_asset_event(event)
    assert internals.data_versions(instance, FILES, partitioned=True) == {"2013-01-01": "b"}


def test_the_run_requests_of_an_automation_tick_can_be_replaced(instance: dg.DagsterInstance) -> None:
    sensor = dg.AutomationConditionSensorDefinition("tick", target="*", use_user_code_server=True)
    repository = dg.Definitions([total], sensors=[sensor]).get_repository_def()
    evaluated = sensor.evaluate_tick(dg.build_sensor_context(instance, repository_def=repository, sensor_name="tick"))
    (request,) = [dg.RunRequest(asset_selection=[total.key])]
    replaced = internals.with_run_requests(evaluated, [request])
    assert (replaced.run_requests, replaced.cursor) == ([request], evaluated.cursor)
    assert internals.requested_subset(request) is None


def test_of_the_runs_of_an_asset_only_those_of_its_last_events_are_kept(instance: dg.DagsterInstance) -> None:
    for _ in range(3):
        run = dg.materialize([rows], instance=instance, tags=RANGE)
        newest = internals.newest_events(instance, rows.key, MADE, partitioned=True)
        assert set(runs.runs_of(instance, rows.key, newest.values()).values()) == {run.run_id}
    kept = runs._RUN_OF[instance.root_directory, rows.key, MADE]  # pyright: ignore[reportPrivateUsage]
    assert sorted(kept) == sorted(newest.values())


def test_the_code_of_what_a_run_has_made_is_in_its_events_and_what_no_run_has_made_has_none(instance: dg.DagsterInstance) -> None:
    @dg.asset(name="rows", code_version="2", partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run())
    def newer() -> None: ...

    by_run = {dg.materialize([one], instance=instance, tags=RANGE).run_id: code for one, code in ((rows, None), (newer, "2"))}
    instance.report_runless_asset_event(dg.AssetMaterialization(rows.key, partition="2013-01-03"))
    made = instance.fetch_materializations(rows.key, limit=9).records
    codes = runs.codes_of(instance, rows.key, {one.storage_id: one.run_id for one in made})
    (of_none,) = codes.keys() - by_run.keys()
    assert codes == {run: code or run for run, code in by_run.items()} | {of_none: None}
    assert not runs.is_made_by_other_code(instance, rows.key, "a-3", partitioned=True), "these are of another release"


def test_a_run_begins_with_the_first_event_that_plans_an_asset(instance: dg.DagsterInstance) -> None:
    first, second = (dg.materialize([rows], instance=instance, tags=RANGE).run_id for _ in range(2))
    planned = internals.newest_events(instance, rows.key, PLANNED, partitioned=True)
    begins = runs.begins_of(instance, rows.key, [first, second, ""])
    assert begins.keys() == {first, second} and begins[first] < begins[second] == min(planned.values())


def test_the_run_of_a_whole_job_makes_what_it_has_planned(instance: dg.DagsterInstance) -> None:
    job = dg.Definitions([rows, total], jobs=[dg.define_asset_job("both")]).resolve_job_def("both")
    unfinished = instance.create_run_for_job(job)
    assert not unfinished.asset_selection
    selected = dg.DagsterRun("by_hand", asset_selection=frozenset([FILES]))
    assert runs.assets_of(instance, [unfinished, selected]) == {rows.key, total.key, FILES}


def test_the_newest_events_of_several_assets_are_those_of_each_and_none_of_a_wiped_one(instance: dg.DagsterInstance) -> None:
    for key in (FILES, rows.key):
        for day in ("2013-01-01", "2013-01-02", "2013-01-01"):
            instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=day))
    both = [FILES, rows.key]
    one_by_one = {(key, MADE): internals.newest_events(instance, key, MADE, partitioned=True) for key in both}
    assert internals.newest_partitioned(instance, both) == one_by_one
    instance.wipe_assets([FILES])
    assert internals.newest_partitioned(instance, both) == {(rows.key, MADE): one_by_one[rows.key, MADE]}
    instance.report_runless_asset_event(dg.AssetMaterialization(FILES, partition="2013-01-03"))
    assert internals.newest_partitioned(instance, both)[FILES, MADE].keys() == {"2013-01-03"}


def test_an_event_is_of_its_asset_and_one_without_an_asset_of_those_of_its_run(instance: dg.DagsterInstance) -> None:
    before = internals.newest_event_id(instance) or 0
    run = dg.materialize([rows], instance=instance, tags=RANGE)
    newest = internals.newest_event_id(instance)
    assert max(internals.newest_by_asset(instance, before), key=lambda one: one[1]) == (rows.key, newest), run.run_id
    assert not [*internals.newest_by_asset(instance, newest or 0)]
    instance.report_runless_asset_event(dg.AssetCheckEvaluation(rows.key, "fine", passed=True))
    assert [*internals.newest_by_asset(instance, newest or 0)] == [(rows.key, internals.newest_event_id(instance))]


def test_the_cursor_of_a_context_can_be_set_for_one_sensor_after_the_other(instance: dg.DagsterInstance) -> None:
    with dg.build_sensor_context(instance, "first") as context:
        context.update_cursor("changed")
        internals.set_cursor(context, "second")
        assert (context.cursor, context.cursor_updated) == ("second", False)


def test_the_next_time_of_a_schedule_is_after_now_also_at_one_of_its_times() -> None:
    at = datetime(2026, 6, 1, 6, tzinfo=UTC)  # a Monday
    assert internals.next_cron_time("0 6 * * 1", at) == at + timedelta(days=7)
    assert internals.next_cron_time("0 6 * * 1", at - timedelta(seconds=1)) == at


def test_the_newest_results_of_many_checks_are_those_of_each(instance: dg.DagsterInstance) -> None:
    key = dg.AssetCheckKey(total.key, "fine")
    dg.materialize([total], instance=instance)
    assert internals.newest_checks(instance, [key])[key].id == internals.newest_check(instance, key).id


def test_a_check_that_runs_or_has_crashed_keeps_its_last_result(instance: dg.DagsterInstance) -> None:
    crashes = False

    @dg.asset_check(asset="table", name="fine")
    def fine() -> dg.AssetCheckResult:
        if crashes:
            raise SystemExit(1)
        return dg.AssetCheckResult(passed=True)

    table, key = dg.AssetKey("table"), dg.AssetCheckKey(dg.AssetKey("table"), "fine")
    job = dg.Definitions([dg.AssetSpec(table)], asset_checks=[fine]).resolve_implicit_global_asset_job_def()
    job.execute_in_process(instance=instance)
    before = internals.newest_check(instance, key)
    crashes = True
    with pytest.raises(SystemExit):
        job.execute_in_process(instance=instance)
    log = instance.event_log_storage
    assert log.get_latest_asset_check_execution_by_key([key])[key].id != before.id, "the crashed one is newer"
    assert internals.newest_check(instance, key).id == before.id
