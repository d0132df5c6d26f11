"""Runs the demo's story on the platform of one machine."""

import dagster as dg

from mlops_assets.demo.report import Report
from mlops_assets.demo.story import Story
from mlops_assets.demo.watching import Say, Watcher
from mlops_assets.platform import running_platform
from mlops_assets.ports.delta_tables import DeltaTables
from mlops_assets.ports.deployment import Deployment
from mlops_assets.ports.home import Environment
from mlops_assets.ports.landing import Landing
from mlops_assets.ports.ledger import Ledger
from mlops_assets.ports.live_service import LiveService
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
