"""Two teams' projects as two code locations on one Postgres, with one home and two servers of all use cases; the daemon, a code
location and runs are killed.
"""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import psutil
import pytest

from mlops_assets.foundation import names
from mlops_assets.foundation.delta_tables import DeltaTables
from mlops_assets.foundation.home import Environment, read_environment
from mlops_assets.graph.kernel.conditions import UNFINISHED
from mlops_assets.ingestion.landing import Landing
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.serving.log.prediction_log import PredictionLog
from mlops_assets.spec.use_case import UseCase
from tests.backtest.past_loans import A_DAY, PAST_LOANS, day_of, rows_of
from tests.graph.line import variables
from tests.integration.running_service import PROJECT, Server, started
from tests.integration.test_killed_week import Requests, wait_until, workers
from tests.integration.test_two_daemons import dagster_home
from tests.servers.postgres_server import running_postgres

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]
TEAMS, FIRST_DAYS, ALL_DAYS = ("credit", "retail"), 8, 14
TRAININGS = ["blessing", "promotion"] * 2  # the first model, and that of the volume
CODE = f"""
from mlops_assets.spec.gate import Floor
from mlops_assets.spec.trigger import OnVolume
from tests.backtest.past_loans import PAST_LOANS

OWN = dict(gates=(Floor(metric="auc", bound=0.6),), triggers=(OnVolume(rows={A_DAY * (ALL_DAYS - FIRST_DAYS)}),))
USE_CASE = PAST_LOANS.but(name="{{team}}_loans", features=PAST_LOANS.features.but(service="{{team}}_v1"), **OWN)
"""
DEFINITIONS = """
from pathlib import Path
from mlops_assets.definitions import definitions_of
defs = definitions_of(Path(__file__).parents[1])
"""
LOCATION = "- python_module: {{module_name: {team}.definitions, location_name: {team}, working_directory: {root}/{team}}}\n"


def write_projects(root: Path) -> Path:
    """One for each team, and that of the platform, which names them all."""
    for team in TEAMS:
        (package := root / team / team / "cases" / f"{team}_loans").mkdir(parents=True)
        (package.parent / "__init__.py").touch()
        (package / "__init__.py").write_text(CODE.format(team=team))
        (package.parents[1] / "definitions.py").write_text(DEFINITIONS)
        (root / team / "pyproject.toml").write_text(f'[tool.mlops]\nuse_cases = "{team}.cases"\n')
    (platform := root / "platform").mkdir()
    (platform / "pyproject.toml").write_text(f"[tool.mlops]\nuse_cases = {[f'{team}.cases' for team in TEAMS]}\n")
    locations = [LOCATION.format(team=team, root=root) for team in TEAMS]
    (platform / "workspace.yaml").write_text("load_from:\n" + "".join(locations))
    return platform


@dataclass
class Platform:
    environment: Environment
    instance: dg.DagsterInstance
    variables: dict[str, str]
    servers: tuple[Server, Server]
    daemons: list[psutil.Popen] = field(default_factory=list[psutil.Popen])

    def start_daemon(self) -> None:
        command = [sys.executable, "-m", "dagster._daemon", "run", "-w", "workspace.yaml"]
        with (self.environment.home.root / "daemon.log").open("ab") as log:
            self.daemons.append(
                psutil.Popen(command, env=self.variables, cwd=self.environment.project, stdout=log, stderr=subprocess.STDOUT)
            )

    def kill_daemon(self) -> None:
        """With its code locations, as where a container ends; runs go on."""
        daemon = self.daemons.pop()
        for process in (daemon, *self.code_servers(daemon)):
            process.send_signal(signal.SIGKILL)
        daemon.wait(timeout=30)

    def code_servers(self, daemon: psutil.Process, team: str = "") -> list[psutil.Process]:
        return [child for child in daemon.children() if f"{team}.definitions" in " ".join(child.cmdline()) or not team]

    def land(self, days: range) -> None:
        for team in TEAMS:
            for number in days:
                for table, rows in zip(("applications", "payments"), rows_of(number), strict=True):
                    Landing(self.environment.home.landing).put(f"{team}_loans", table, day=day_of(number), rows=rows)

    def records(self, team: str) -> list[str]:
        return [record.kind for record in Ledger(self.environment.ledger_url).records(f"{team}_loans")]

    def has_trained(self, times: int) -> bool:
        return all(self.records(team) == TRAININGS[: 2 * times] for team in TEAMS)

    def is_idle(self) -> bool:
        return not self.instance.get_runs(dg.RunsFilter(statuses=UNFINISHED), limit=1)


@contextmanager
def running_projects(root: Path) -> Iterator[Platform]:
    project = write_projects(root)
    with running_postgres() as postgres:
        dagster = dagster_home(root / "dagster", postgres.new_database())
        own = variables(root / "home") | {"MLOPS_LEDGER": postgres.new_database(), "MLOPS_MLFLOW_STORE": postgres.new_database()}
        environment = read_environment(own, project)
        path = os.pathsep.join([str(PROJECT), *(str(root / team) for team in TEAMS)])
        own |= {"DAGSTER_HOME": str(dagster), "PYTHONPATH": path, "PYTHONWARNINGS": "ignore"}
        served = {
            "MLOPS_PROJECT": str(project),
            "MLOPS_USE_CASE": ",".join(f"{team}_loans" for team in TEAMS),
            "PYTHONPATH": path,
        }
        first, second = (Server(environment.home, variables=served) for _ in range(2))
        Ledger(environment.ledger_url).create()
        with started(first, second), dg.DagsterInstance.from_config(str(dagster)) as instance:
            platform = Platform(environment, instance, os.environ | own, (first, second))
            try:
                yield platform
            finally:
                while platform.daemons:
                    platform.kill_daemon()
                for worker in workers(instance):
                    worker.kill()


def test_two_code_locations_make_everything_once_on_one_postgres(tmp_path: Path) -> None:
    with running_projects(tmp_path) as platform:
        sent = [Requests(f"http://127.0.0.1:{server.port}", f"{team}_loans") for server in platform.servers for team in TEAMS]
        for requests in sent:
            requests.start()
        platform.start_daemon()
        platform.land(range(FIRST_DAYS))
        wait_until(lambda: workers(platform.instance), "no run begins")
        platform.kill_daemon()
        workers(platform.instance)[0].kill()
        platform.start_daemon()
        wait_until(lambda: platform.has_trained(1), "no first models")
        platform.land(range(FIRST_DAYS, ALL_DAYS))
        wait_until(lambda: workers(platform.instance), "no run begins")
        platform.code_servers(platform.daemons[0], TEAMS[0])[0].kill()
        wait_until(lambda: platform.has_trained(2) and platform.is_idle(), "no second models")
        wait_until(lambda: all(requests.answered for requests in sent), "a server does not answer")
        for requests in sent:
            requests.ended.set()
            requests.join()
        for team in TEAMS:
            require_once(platform, PAST_LOANS.but(name=f"{team}_loans"), [one for one in sent if one.use_case == f"{team}_loans"])


def require_once(platform: Platform, use_case: UseCase, sent: list[Requests]) -> None:
    """Every landed row and every answer; a run of each location alone for each version."""
    tables, ledger = DeltaTables(platform.environment.home.tables), Ledger(platform.environment.ledger_url)
    applied = tables.scan(names.validated(use_case.name, "applications")).collect()["number"].to_list()
    assert sorted(applied) == [*range(1, A_DAY * ALL_DAYS + 1)]
    assert ledger.verify(use_case.name) == []
    runs = platform.instance.get_runs(dg.RunsFilter(job_name=names.job(use_case.name, "training")))
    assert Counter(run.is_success for run in runs)[True] == 2, [run.status for run in runs]
    origins = {
        run.remote_job_origin.repository_origin.code_location_origin.location_name for run in runs if run.remote_job_origin
    }
    assert origins == {use_case.name.removesuffix("_loans")}
    logged = PredictionLog(platform.environment.home.prediction_log, use_case).read()[0]["prediction_id"].to_list()
    assert len(logged) == len({*logged}) and {number for one in sent for number in one.answered} <= {*logged}
