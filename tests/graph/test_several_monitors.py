"""Several monitors of one kind: assets, checks, tables, reports and triggers of their own."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mlops_assets.foundation import names
from mlops_assets.graph.compile import build_use_case
from mlops_assets.graph.training_triggers import Request
from mlops_assets.serving.log.prediction_log import PredictionLog
from mlops_assets.spec.monitor import Drift, Monitor, Performance, Skew, stage_names
from mlops_assets.spec.trigger import OnDrift, OnPerformance
from mlops_assets.spec.use_case import UseCase
from tests.cli.loans import LOANS
from tests.graph.line import Line, failure, running_line
from tests.graph.training_line import TrainingLine

WEEK, MONTH = timedelta(days=7), timedelta(days=30)
LINE = LOANS.but(
    monitors=(
        Drift(), Drift(suffix="week", window=WEEK, min_rows=20_000),
        Performance(window=WEEK), Performance(),
        Skew(suffix="tight", relative=1e-9), Skew(),
    ),
    triggers=(
        OnDrift(monitor="drift_week"),
        OnPerformance(metric="auc", bound=0.7, monitor="performance_window_7_days"),
        OnPerformance(metric="brier", bound=0.2),
    ),
)  # fmt: skip
STAGES = {"drift", "drift_week", "performance", "performance_window_7_days", "skew", "skew_tight"}


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    with running_line(tmp_path, LINE) as line:
        log = PredictionLog(line.environment.home.prediction_log, LINE)
        log.append([dict.fromkeys(log.schema) | {"prediction_id": f"p{number}"} for number in range(30)])
        yield line


def assets_of(use_case: UseCase) -> dict[str, dg.AssetSpec]:
    assets: Any = build_use_case(use_case).assets
    specs = [spec for asset in assets for spec in ([asset] if isinstance(asset, dg.AssetSpec) else asset.specs)]
    return {spec.key.path[-1]: spec for spec in specs}


@pytest.mark.parametrize(
    ("monitors", "expected"),
    [
        ((Drift(window=WEEK),), ["drift"]),
        ((Drift(window=WEEK), Performance(), Skew()), ["drift", "performance", "skew"]),
        ((Drift(window=WEEK), Drift(window=MONTH, max_psi=0.1)), ["drift_window_7_days", "drift_max_psi_0_1"]),
        ((Drift(max_psi=0.1), Drift(window=WEEK), Drift()), ["drift_max_psi_0_1", "drift_window_7_days", "drift"]),
        ((Drift(suffix="week", window=WEEK), Drift(window=timedelta(days=60))), ["drift_week", "drift"]),
        ((Drift(window=timedelta(hours=6)), Drift()), ["drift_window_0_25_days", "drift"]),
    ],
)
def test_a_name_comes_from_the_declared_values_and_not_from_the_order(monitors: tuple[Monitor, ...], expected: list[str]) -> None:
    assert stage_names(monitors) == expected
    assert stage_names(monitors[::-1]) == expected[::-1]


def test_each_monitor_is_an_asset_with_its_window_in_its_description() -> None:
    assets = assets_of(LINE)
    assert {*assets} >= STAGES
    groups = {assets[stage].group_name for stage in STAGES}
    assert groups == {"loans_monitoring"}
    assert "7 days" in (assets["drift_week"].description or "") and "30 days" in (assets["drift"].description or "")
    assert {*assets_of(LINE.but(monitors=LINE.monitors[::-1]))} == {*assets}


def test_each_monitor_measures_with_its_own_values(line: Line) -> None:
    result = line.run(*(names.stage(LINE.name, stage) for stage in ("predictions", "drift", "drift_week")))
    assert result.success, failure(result)
    needed = {check.asset_key.path[-1]: check.description or "" for check in result.get_asset_check_evaluations()}
    assert "a verdict needs 1,000" in needed["drift"] and "a verdict needs 20,000" in needed["drift_week"]


def test_a_trigger_watches_its_monitor_or_every_one_of_its_kind() -> None:
    assert {stage for stage in STAGES if LINE.triggers_of(stage)} == {"drift_week", "performance", "performance_window_7_days"}
    checks = performance_checks()
    assert checks["performance"] == repr(LINE.triggers[2])
    assert checks["performance_window_7_days"] == f"{LINE.triggers[1]!r}; {LINE.triggers[2]!r}"


def performance_checks() -> dict[str, str | None]:
    assets = [asset for asset in build_use_case(LINE).assets or () if isinstance(asset, dg.AssetsDefinition)]
    specs = [spec for asset in assets for spec in asset.check_specs if spec.name == Performance.CHECK]
    return {spec.asset_key.path[-1]: spec.description for spec in specs}


@pytest.mark.parametrize(
    ("failed", "importance", "is_due"),
    [("drift_week", 0.5, True), ("drift_week", 0.3, True), ("drift_week", 0.29, False), ("drift", 1.0, False)],
)
def test_only_enough_drift_of_the_trigger_s_own_monitor_trains(line: Line, failed: str, importance: float, is_due: bool) -> None:
    metadata = {"verdict": "alarm", "reason_to_train": importance}
    trainings = TrainingLine(line.environment.home, line.instance, LINE)
    trainings.judge(failed, "Drifted.", **metadata)
    assert isinstance(trainings.next(), Request) is is_due
