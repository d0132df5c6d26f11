"""The one generic Bento service: whichever use case the environment names.

Belongs here: what Bento asks of a service (start, readiness, end). Not here: everything that answers (mlops_assets/serving).
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bentoml

from mlops_assets.serving.answering import Answering
from mlops_assets.serving.boot import open_service
from mlops_assets.serving.web import build_app
from mlops_assets.use_cases import USE_CASES


def build_service(open_answering: Callable[[], Answering]) -> Any:
    """A Bento service around what `open_answering` gives when the server process starts."""
    app = build_app()

    # One process: workers on one machine would fight for its cores; more machines scale it out. The access log costs
    # more than an inference, and the prediction log says more.
    @bentoml.service(name="predictions", workers=1, traffic={"timeout": 60}, logging={"access": {"enabled": False}})
    @bentoml.asgi_app(app)
    class Predictions:
        def __init__(self) -> None:
            self.answering = open_answering()
            self.answering.slot.start()
            app.state.answering = self.answering

        def __is_ready__(self) -> bool:
            return self.answering.slot.champion is not None

        @bentoml.on_shutdown
        def stop(self) -> None:
            self.answering.slot.stop()

    return Predictions


Predictions = build_service(lambda: open_service(os.environ, Path.cwd(), USE_CASES))
