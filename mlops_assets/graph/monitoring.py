"""Monitors of what is served, as assets with checks, and the investigation of their alarms."""

import dagster as dg

from mlops_assets.graph.monitors.drift import build_drift
from mlops_assets.graph.monitors.estimation import build_estimation
from mlops_assets.graph.monitors.investigation import build_investigation
from mlops_assets.graph.monitors.operations import build_operations, build_operations_sensor
from mlops_assets.graph.monitors.own import build_own
from mlops_assets.graph.monitors.performance import build_performance
from mlops_assets.graph.monitors.skew import build_skew
from mlops_assets.spec.monitor import Drift, Estimation, JudgedByRows, Monitor, Operations, OwnMonitor, Performance, Skew
from mlops_assets.spec.use_case import UseCase


def build_monitoring(use_case: UseCase) -> list[dg.AssetsDefinition]:
    monitors = [_monitor(use_case, stage, monitor) for stage, monitor in use_case.monitor_stages.items()]
    has_rows = any(isinstance(one, JudgedByRows) for one in use_case.monitors)
    return [*monitors, *([build_investigation(use_case)] if has_rows else [])]


def build_monitoring_sensors(use_case: UseCase) -> list[dg.SensorDefinition]:
    monitors = use_case.monitor_stages.items()
    return [build_operations_sensor(use_case, stage, one) for stage, one in monitors if isinstance(one, Operations)]


def _monitor(use_case: UseCase, stage: str, monitor: Monitor) -> dg.AssetsDefinition:
    match monitor:
        case Drift():
            return build_drift(use_case, stage, monitor)
        case Performance():
            return build_performance(use_case, stage, monitor)
        case Estimation():
            return build_estimation(use_case, stage, monitor)
        case Skew():
            return build_skew(use_case, stage, monitor)
        case Operations():
            return build_operations(use_case, stage, monitor)
        case OwnMonitor():
            return build_own(use_case, stage, monitor)
