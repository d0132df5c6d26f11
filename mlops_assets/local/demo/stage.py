"""Runs the demo's story on the platform of one machine."""

import dagster as dg

from mlops_assets.foundation.delta_tables import DeltaTables
from mlops_assets.foundation.home import Environment
from mlops_assets.ingestion.landing import Landing
from mlops_assets.local.demo.report import Report
from mlops_assets.local.demo.story import Story
from mlops_assets.local.demo.watching import Say, Watcher
from mlops_assets.local.platform import running_platform
from mlops_assets.promotion.deployment import Deployment
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.serving.client import LiveService
from mlops_assets.spec.use_case import UseCase


def run_demo(environment: Environment, use_case: UseCase, *, say: Say) -> None:
    """Starts daemon and service, plays the story, ends both. Raises AlreadyRunning, ProcessFailed."""
    home = environment.home
    say(f"{use_case.question} Everything is stored under {home.root}.")
    with (
        running_platform(environment, everything=False) as addresses,
        dg.DagsterInstance.from_config(str(home.dagster)) as instance,
    ):
        deployment, ledger = Deployment(home.deployments, use_case.name), Ledger(environment.ledger_url)
        watcher = Watcher(use_case, instance, DeltaTables(home.tables), deployment, ledger, say)
        report = Report(use_case, watcher, say)
        live = LiveService(addresses["service"], environment.api_key)
        Story(use_case, Landing(home.landing), live, watcher, report, say).run()
