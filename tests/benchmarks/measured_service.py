"""The service that the benchmark measures: the real one, on flight_delay, with a rate limit that counts and never refuses.

Not here: keys, models and features, which lie in the home that the environment names (flight_home.py).
"""

import os

from deploy.service import build_service
from mlops_assets.serving.services import open_services
from mlops_assets.spec.serving import Limits, Serving
from mlops_assets.use_cases.flight_delay import USE_CASE

MEASURED = USE_CASE.but(serving=Serving(limits=Limits(max_rate=1e6)))
Service = build_service((MEASURED,), lambda: open_services(os.environ, (MEASURED,)))
