"""A whole backtest: its history, its home, its steps."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from mlops_assets.backtest.history import History
from mlops_assets.backtest.kept_home import KeptHome
from mlops_assets.backtest.record import Replay
from mlops_assets.backtest.replay import RECORD, Replayer, Report
from mlops_assets.backtest.results import Results, read_results
from mlops_assets.backtest.settings import IllegalBacktest, Settings
from mlops_assets.foundation.home import Environment
from mlops_assets.graph.in_process import InProcess
from mlops_assets.ingestion.examples import land_example
from mlops_assets.ingestion.landing import Landing


@dataclass(frozen=True)
class Backtest:
    """`environment` is the user's, whose home is read only; its `folder` is kept."""

    settings: Settings
    environment: Environment
    report: Report

    def run(self, folder: Path | None = None) -> Results:
        """In a temporary folder, or in one that is kept: a backtest that ended early goes on there. Raises IllegalBacktest."""
        self.settings.require_time()
        with ExitStack() as stack:
            where = folder or Path(stack.enter_context(TemporaryDirectory(prefix="mlops-backtest-")))
            history = self._history(where)
            self.settings.require_history(history)
            return self._replay(KeptHome(where), history, is_kept=folder is not None)

    def _history(self, folder: Path) -> History:
        """The landed files of the user's home, or else the example deliveries."""
        use_case = self.settings.use_case
        landed = History(use_case, Landing(self.environment.home.landing))
        if landed.files or not use_case.example:
            return landed
        assert use_case.first_day is not None  # of a use case with partitions
        self.report("the example deliveries are written", 0.0)
        landing = Landing(folder / "history")
        land_example(use_case, landing, use_case.first_day, use_case.last_day or self.settings.last)
        return History(use_case, landing)

    def _replay(self, kept: KeptHome, history: History, *, is_kept: bool) -> Results:
        settings, save = self.settings, kept.save if is_kept else _nothing
        kept.restore()
        file = kept.home / RECORD
        replay = Replay.read(file)
        if replay and replay.settings != settings.fingerprint:
            problem = f"it holds a backtest of other days, other steps or another declaration of {settings.use_case.name}"
            raise IllegalBacktest(f"--keep {kept.folder} · {problem}. Name another folder, or remove it.")
        environment = kept.environment(self.environment.project)
        with InProcess.opened(settings.use_case, environment) as platform:
            replayer = Replayer(settings, environment, history, platform, self.report)
            if replay is None:
                replay = replayer.begin()
                replay.write(file)
                save(0)
            if len(replay.steps) < len(settings.steps):
                requests = history.requests(settings.start, settings.end)
                while len(replay.steps) < len(settings.steps):
                    replay.steps.append(replayer.step(replay, requests))
                    replay.write(file)
                    save(len(replay.steps))
            models = [*map(replayer.retrained.load, range(len(settings.steps)))]
            return read_results(settings, replay, platform.resources(settings.end), models)


def _nothing(_step: int) -> None:
    return None
