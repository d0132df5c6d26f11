"""The service that the benchmark measures: the real one, on flight_delay, with a rate limit that counts and never refuses.

Not here: keys, models and features, which lie in the home that the environment names (flight_home.py).
"""

import os

from deploy.service import build_service
from mlops_assets.serving.services import open_services
from mlops_assets.spec.feature import Label
from mlops_assets.spec.gate import NoLeak
from mlops_assets.spec.serving import Limits, Serving
from mlops_assets.spec.task import Multiclass, Regression
from mlops_assets.use_cases.flight_delay import FLIGHT_KEY, USE_CASE

MINUTES = Label(name="arr_delay", table="outcomes", key=FLIGHT_KEY, known_at="arr_time")
TASKS = {
    "Binary": USE_CASE.task,
    "Multiclass": Multiclass(label=MINUTES, classes=(0, 1, 2)),
    "Regression": Regression(label=MINUTES),
}
TASK = os.environ.get("MEASURED_TASK", "Binary")
MEASURED = USE_CASE.but(
    task=TASKS[TASK],
    serving=Serving(limits=Limits(max_rate=1e6)),
    **({} if TASK == "Binary" else {"gates": (NoLeak(),), "triggers": ()}),
)
Service = build_service((MEASURED,), lambda: open_services(os.environ, (MEASURED,)))
