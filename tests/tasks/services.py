"""The real Bento service of the loans of each task, for tests to start: `MLOPS_TEST_CASE` names the task."""

import os

from deploy.service import build_service
from mlops_assets.serving.services import open_services
from tests.tasks.declarations import use_case

USE_CASE = use_case(os.environ["MLOPS_TEST_CASE"])
Loans = build_service((USE_CASE,), lambda: open_services(os.environ, (USE_CASE,)))
