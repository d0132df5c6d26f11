"""The small line with a rollout in steps, as a code location for the real daemon: `dagster-daemon run -m <this module>`."""

import os
from datetime import timedelta

import dagster as dg

from mlops_assets.foundation.home import read_environment
from mlops_assets.graph.compile import build_use_case
from mlops_assets.graph.kernel.tables import build_io_managers
from mlops_assets.resources import build_resources
from mlops_assets.spec.rollout import Canary
from tests.integration.small_line import SMALL

STEP_FOR = timedelta(seconds=8)
STEPPED = SMALL.but(rollout=Canary(shadow_rows=300, steps=(0.3, 1.0), step_rows=300, step_for=STEP_FOR))


@dg.definitions
def defs() -> dg.Definitions:
    environment = read_environment(os.environ)
    between = build_io_managers(str(environment.home.tables), str(environment.home.root / "values"))
    shared = dg.Definitions(resources={**build_resources(environment), **between}, executor=dg.in_process_executor)
    return dg.Definitions.merge(shared, build_use_case(STEPPED))
