"""The home of a backtest, and its copy after each step, from which a backtest that was killed goes on."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from mlops_assets.foundation.home import SHARED, Environment, Home

NO_SERVER = "http://127.0.0.1:9"  # requests are answered in this process
# What is written once and never changed in place: a copy of it is a second name of the same file.
WRITTEN_ONCE = ("tables", "landing", "retrained", "mlflow/artifacts")


@dataclass(frozen=True)
class KeptHome:
    """`folder`/home, and `folder`/step-<number>: the home after so many steps, of which the newest is kept."""

    folder: Path

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def environment(self, project: Path) -> Environment:
        """Of a platform that knows no server, database or key of the user's."""
        return Environment(name="local", project=project, home=Home(self.home), service_urls={SHARED: (NO_SERVER,)})

    def save(self, step: int) -> None:
        """Whole or not at all."""
        before, part = self._saved(), self.folder / ".part"
        shutil.rmtree(part, ignore_errors=True)
        self._copy(self.home, part)
        part.rename(self.folder / f"step-{step}")
        for number in before:
            if number != step:
                shutil.rmtree(self.folder / f"step-{number}")

    def restore(self) -> None:
        """The home after the newest saved step, or else an empty one."""
        shutil.rmtree(self.home, ignore_errors=True)
        if saved := self._saved():
            self._copy(self.folder / f"step-{max(saved)}", self.home)

    def _saved(self) -> list[int]:
        return [int(path.name.removeprefix("step-")) for path in self.folder.glob("step-*")]

    def _copy(self, source: Path, target: Path) -> None:
        once = tuple(f"{source / name}{os.sep}" for name in WRITTEN_ONCE)
        shutil.copytree(source, target, copy_function=lambda own, other: _copy_file(own, other, once))


def _copy_file(source: str, target: str, once: tuple[str, ...]) -> None:
    if source.startswith(once):
        os.link(source, target)
    else:
        shutil.copy2(source, target)
