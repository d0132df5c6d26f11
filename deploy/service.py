"""The one generic Bento service: whichever use case the environment names.

Belongs here: what Bento asks of a service (start, readiness, end). Not here: everything that answers (mlops_assets/serving).
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bentoml

from mlops_assets.serving.boot import open_service
from mlops_assets.serving.patience import cut_off_slow_clients
from mlops_assets.serving.service import Service
from mlops_assets.serving.web import Front
from mlops_assets.use_cases import USE_CASES

# One process: workers on one machine would fight for its cores; more machines scale it out. Logs, metrics and limits are
# those of mlops_assets/serving, which stands in front.
CONFIG: Any = {"workers": 1, "metrics": {"enabled": False}, "logging": {"access": {"enabled": False}}}


def build_service(open_: Callable[[], Service]) -> bentoml.Service[Any]:
    """A Bento service around what `open_` gives when the server process starts."""
    running: list[Service] = []

    class Predictions:
        def __init__(self) -> None:
            service = open_()
            service.start()
            running.append(service)

        def __is_ready__(self) -> bool:
            return running[0].is_ready()

        @bentoml.on_shutdown
        def stop(self) -> None:
            running.pop().stop()

    class Fronted(bentoml.Service[Any]):
        def to_asgi(self, is_main: bool = True) -> Any:
            cut_off_slow_clients()
            return Front(super().to_asgi(is_main), lambda: running[0])

    return Fronted(name="predictions", config=CONFIG, inner=Predictions)


Predictions = build_service(lambda: open_service(os.environ, Path.cwd(), USE_CASES))
