"""The sensor of a use case that does nothing but stop what runs by itself for it."""

from collections.abc import Collection

import dagster as dg

from mlops_assets.foundation import names

NEVER_S = 10 * 365 * 24 * 3600


def switch_of(use_case: str) -> str:
    """The name of the sensor that stops all others of a use case."""
    return names.job(use_case, "automation")


def why_stopped(use_case: str, stopped: Collection[str]) -> str:
    """Empty where the switch of the use case is on."""
    name = switch_of(use_case)
    return f"Nothing runs by itself for {use_case}, as the sensor {name} is stopped: start it." if name in stopped else ""


def _is_on(_context: dg.SensorEvaluationContext) -> dg.SkipReason:
    return dg.SkipReason("Stop this sensor to stop what runs by itself for this use case.")


def build_switch(use_case: str) -> dg.SensorDefinition:
    return dg.SensorDefinition(
        name=switch_of(use_case),
        evaluation_fn=_is_on,
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=NEVER_S,
        description=f"While this sensor is stopped, nothing runs by itself for {use_case}: no file is reported, no asset made,"
        " no model trained, no rollout advances or is rolled back. Once it is started again, all of it follows.",
    )
