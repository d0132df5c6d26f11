"""The real Bento service of flights, loans and deposits, with features in memory, for tests to start."""

import os
from datetime import UTC, datetime
from pathlib import Path

from deploy.service import build_service
from mlops_assets.foundation.home import read_environment
from mlops_assets.serving.service import assemble
from mlops_assets.serving.services import Services
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.cli.loans import LOANS
from tests.serving.flights import temperatures
from tests.serving.loan_models import look_up_payments

DEPOSITS = LOANS.but(name="deposits")
LOOK_UPS = (
    (USE_CASE, temperatures(("EWR", datetime(2013, 7, 1, tzinfo=UTC), 80.0)).look_up),
    (LOANS, look_up_payments),
    (DEPOSITS, look_up_payments),
)


def open_all() -> Services:
    environment = read_environment(os.environ, Path.cwd())
    return Services([assemble(use_case, environment, look_up) for use_case, look_up in LOOK_UPS], {"cars": "it does not load"})


Several = build_service([use_case for use_case, _ in LOOK_UPS], open_all)
