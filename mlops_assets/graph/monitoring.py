"""Monitors of what is served, as assets with checks."""

import dagster as dg

from mlops_assets.graph.monitors.drift import build_drift
from mlops_assets.graph.monitors.own import build_own
from mlops_assets.graph.monitors.performance import build_performance
from mlops_assets.graph.monitors.skew import build_skew
from mlops_assets.spec.monitor import Drift, Monitor, OwnMonitor, Performance, Skew
from mlops_assets.spec.use_case import UseCase


def build_monitoring(use_case: UseCase) -> list[dg.AssetsDefinition]:
    return [_monitor(use_case, stage, monitor) for stage, monitor in use_case.monitor_stages.items()]


def _monitor(use_case: UseCase, stage: str, monitor: Monitor) -> dg.AssetsDefinition:
    match monitor:
        case Drift():
            return build_drift(use_case, stage, monitor)
        case Performance():
            return build_performance(use_case, stage, monitor)
        case Skew():
            return build_skew(use_case, stage, monitor)
        case OwnMonitor():
            return build_own(use_case, stage, monitor)
