"""The real Bento service with features in memory instead of Feast: what test_service.py starts."""

import os
from datetime import UTC, datetime
from pathlib import Path

from deploy.service import build_service
from mlops_assets.ports.home import read_environment
from mlops_assets.serving.answering import Answering
from mlops_assets.serving.boot import assemble
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.serving.flights import temperatures


def open_answering() -> Answering:
    home = read_environment(os.environ, Path.cwd()).home
    return assemble(USE_CASE, home, temperatures(("EWR", datetime(2013, 7, 1, tzinfo=UTC), 80.0)))


Service = build_service(open_answering)
