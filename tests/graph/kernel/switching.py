"""Stops and starts a sensor in the storage of an instance, as the web UI and `dagster sensor stop` do, and records its ticks."""

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import InProcessCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    SensorInstigatorData,
    TickData,
    TickStatus,
)  # fmt: skip
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin


def switch(instance: dg.DagsterInstance, name: str, *, on: bool) -> InstigatorState:
    location = InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="mlops_assets.definitions"))
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(location, "__repository__"), name)
    status = InstigatorStatus.RUNNING if on else InstigatorStatus.STOPPED
    state = InstigatorState(origin, InstigatorType.SENSOR, status, SensorInstigatorData(min_interval=30))
    known = instance.get_instigator_state(state.instigator_origin_id, state.selector_id)
    (instance.update_instigator_state if known else instance.add_instigator_state)(state)
    return state


def tick(instance: dg.DagsterInstance, name: str, at: float, status: str) -> None:
    """Of a running sensor, as the daemon records it."""
    state = switch(instance, name, on=True)
    own = TickData(state.instigator_origin_id, name, InstigatorType.SENSOR, TickStatus(status), at, selector_id=state.selector_id)
    instance.create_tick(own)
