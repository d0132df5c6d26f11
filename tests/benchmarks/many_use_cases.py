"""A code location of generated use cases: MANY says how many."""

import os

from mlops_assets import definitions, use_cases
from mlops_assets.spec.monitor import Drift
from mlops_assets.spec.trigger import OnDrift
from tests.cli.loans import LOANS

WATCHED = LOANS.but(monitors=(Drift(),), triggers=(OnDrift(),))
use_cases.USE_CASES = tuple(WATCHED.but(name=f"loans_{number}") for number in range(int(os.environ["MANY"])))
defs = definitions.defs
