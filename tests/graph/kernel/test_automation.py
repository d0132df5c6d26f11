"""The runs that an automation sensor requests: of one use case each, and of checks alone."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from mlops_assets.graph.kernel.automation import build_automation
from mlops_assets.graph.kernel.conditions import EVERY_PARENT, build_cascade
from mlops_assets.graph.kernel.dagster_internals import DATA_VERSION


class Always(dg.AutomationCondition[dg.AssetCheckKey]):
    @property
    def name(self) -> str:
        return "always"

    def evaluate(self, context: dg.AutomationContext[dg.AssetCheckKey]) -> dg.AutomationResult[dg.AssetCheckKey]:
        return dg.AutomationResult(context, context.candidate_subset)


@pytest.fixture
def instance(tmp_path: Any) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


def tick(instance: dg.DagsterInstance, **definitions: Any) -> Any:
    sensor = build_automation("one", dg.AssetSelection.all())
    repository = dg.Definitions(**definitions, sensors=[sensor]).get_repository_def()
    with dg.build_sensor_context(instance, repository_def=repository, sensor_name="one") as context:
        return sensor.evaluate_tick(context)


def test_each_use_case_has_a_run_of_its_own(instance: dg.DagsterInstance) -> None:
    def use_case(name: str) -> list[Any]:
        files = dg.AssetSpec([name, "files"])

        @dg.asset(key=[name, "rows"], deps=[files], automation_condition=build_cascade(EVERY_PARENT))
        def rows() -> None: ...

        return [files, rows]

    for name in "ab":
        instance.report_runless_asset_event(dg.AssetMaterialization([name, "files"], tags={DATA_VERSION: "1"}))
    requests = tick(instance, assets=[*use_case("a"), *use_case("b")]).run_requests
    assert [request.asset_selection for request in requests] == [[dg.AssetKey(["a", "rows"])], [dg.AssetKey(["b", "rows"])]]


def test_a_check_that_is_requested_without_its_asset_runs(instance: dg.DagsterInstance) -> None:
    @dg.asset
    def rows() -> None: ...

    @dg.asset_check(asset=rows, automation_condition=Always())
    def fine() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=True)

    (request,) = tick(instance, assets=[rows], asset_checks=[fine]).run_requests
    assert (request.asset_selection, request.asset_check_keys) == ([], [dg.AssetCheckKey(rows.key, "fine")])


def test_a_tick_that_requests_nothing_has_a_reason(instance: dg.DagsterInstance) -> None:
    assert "up to date" in tick(instance, assets=[dg.AssetSpec("files")]).skip_message
