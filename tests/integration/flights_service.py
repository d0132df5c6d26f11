"""The real Bento service with features in memory instead of Feast: what test_service.py starts."""

import os
from datetime import UTC, datetime
from pathlib import Path

from deploy.service import build_service
from mlops_assets.ports.home import read_environment
from mlops_assets.serving.boot import assemble
from mlops_assets.serving.service import Service as Running
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.serving.flights import temperatures


def open_service() -> Running:
    environment = read_environment(os.environ, Path.cwd())
    return assemble(USE_CASE, environment, temperatures(("EWR", datetime(2013, 7, 1, tzinfo=UTC), 80.0)))


Service = build_service(open_service)
