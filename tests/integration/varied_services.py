"""The real Bento service under other declarations, for the integration tests to start (running_service.py)."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from deploy.service import build_service
from mlops_assets.features.online.online_mirror import LookupResult
from mlops_assets.features.request_features import Columns
from mlops_assets.foundation.home import read_environment
from mlops_assets.serving.service import Service, assemble
from mlops_assets.serving.services import Services, open_services
from mlops_assets.spec.serving import AnswerLog, Cache, Limits, Serving
from mlops_assets.spec.use_case import UseCase
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.serving.flights import temperatures

STICKY = USE_CASE.but(serving=Serving(sticky_key=("tailnum",)))
NARROW = USE_CASE.but(
    serving=Serving(limits=Limits(max_in_flight=1, max_rate=20, max_rows=100_000, timeout=timedelta(seconds=0.3)))
)
LENIENT = USE_CASE.but(
    features=USE_CASE.features.but(when_down="last_known"), serving=Serving(log=AnswerLog(when_full="answer"), cache=Cache())
)


def with_features_in_memory(use_case: UseCase) -> Service:
    environment = read_environment(os.environ, Path.cwd())
    traced = os.environ.get("OTEL_SDK_DISABLED") == "false"
    return assemble(use_case, environment, temperatures(("EWR", datetime(2013, 7, 1, tzinfo=UTC), 80.0)).look_up, traced=traced)


def that_crashes() -> Service:
    """A lookup that fails unexpectedly, with a message that clients must not read."""
    environment = read_environment(os.environ, Path.cwd())

    def look_up(_columns: Columns) -> LookupResult:
        raise RuntimeError(f"{environment.home.root}/feast at 10.1.2.3:6379")

    return assemble(USE_CASE, environment, look_up)


Crashing = build_service((USE_CASE,), lambda: Services([that_crashes()]))
Sticky = build_service((STICKY,), lambda: Services([with_features_in_memory(STICKY)]))
Narrow = build_service((NARROW,), lambda: Services([with_features_in_memory(NARROW)]))
Lenient = build_service((LENIENT,), lambda: open_services(os.environ, (LENIENT,)))
