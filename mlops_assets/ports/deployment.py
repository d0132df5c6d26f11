"""The deployment target on a file system: placed model versions, and the plan that says which of them answers.

Belongs here: placing, pointing, reading, and the history of plans. A blessing passes through as text.
Not here: whether a model may answer; the server checks the blessing before it loads (serving/model_slot.py).
"""

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlops_assets.ports.durable_file import replace_file, sync_folder


class AlreadyPlaced(ValueError):
    """A version that is placed with other bytes: versions never change."""


class UnreadablePlan(ValueError):
    """A plan that is not what `point` wrote."""


class UnknownVersion(LookupError):
    """A version that was never placed."""


@dataclass(frozen=True)
class Plan:
    """Which version answers. `number` counts the plans from 1, `previous` answered before, `at` is ISO 8601 UTC."""

    number: int
    champion: int
    previous: int | None
    at: str
    reason: str

    def to_json(self) -> str:
        said = {"plan": self.number, "champion": self.champion, "previous": self.previous, "at": self.at, "reason": self.reason}
        return json.dumps(said)


class Deployment:
    """One use case below `root`: `models/<version>/`, `plan.json` (the truth), `history.jsonl` (every plan so far).

    Any number of processes may read and write; writers take turns by a lock that ends with its process.
    """

    def __init__(self, root: Path, use_case: str) -> None:
        self._use_case = use_case
        self._folder = root / use_case
        self._models = self._folder / "models"
        self._plan = self._folder / "plan.json"
        self._history = self._folder / "history.jsonl"

    def place(self, version: int, onnx: bytes, blessing: str) -> None:
        """Lays a model and its blessing down, whole or not at all; the same again changes nothing. Raises AlreadyPlaced."""
        with self._writing():
            if not (self._models / str(version)).exists():
                self._lay(version, onnx, blessing)
            elif self.load(version) != (onnx, blessing):
                raise AlreadyPlaced(f"{self._use_case} · version {version} is placed with other bytes. Use a new version number.")

    def point(self, version: int, at: str, reason: str) -> Plan:
        """Lets `version` answer from now on; pointing to the champion changes nothing. Raises UnknownVersion."""
        with self._writing():
            self._demand(version)
            now = self.plan()
            self._write_history(now)
            if now is not None and now.champion == version:
                return now
            plan = Plan(now.number + 1 if now else 1, version, now.champion if now else None, at, reason)
            replace_file(self._plan, plan.to_json().encode())
            self._write_history(plan)
            return plan

    def plan(self) -> Plan | None:
        """The plan in force; None before the first. Raises UnreadablePlan."""
        try:
            return _read_plan(self._plan.read_bytes())
        except FileNotFoundError:
            return None

    def load(self, version: int) -> tuple[bytes, str]:
        """The model's bytes and its blessing's text, exactly as placed. Raises UnknownVersion."""
        self._demand(version)
        folder = self._models / str(version)
        return (folder / "model.onnx").read_bytes(), (folder / "blessing.json").read_text()

    def versions(self) -> list[int]:
        """Every placed version, ascending."""
        return sorted(int(path.name) for path in self._models.glob("[0-9]*"))

    def history(self) -> list[Plan]:
        """Every plan from the first to the one in force."""
        plans = [_read_plan(line) for line in self._history_lines()]
        now = self.plan()
        # A process that died between writing the plan and its history line leaves the line to the next writer.
        return [*plans, now] if now and (not plans or plans[-1].number < now.number) else plans

    def previous_champion(self) -> int | None:
        """The version to go back to; going back twice goes back two steps, not forth again. None when there is none."""
        stood: list[int] = []
        for plan in self.history():
            if len(stood) > 1 and stood[-2] == plan.champion:
                stood.pop()
            else:
                stood.append(plan.champion)
        return stood[-2] if len(stood) > 1 else None

    def _demand(self, version: int) -> None:
        if not (self._models / str(version)).exists():
            legal = ", ".join(str(placed) for placed in self.versions()) or "none"
            raise UnknownVersion(f"{self._use_case} · version {version} is not placed; placed: {legal}. Place it first.")

    def _lay(self, version: int, onnx: bytes, blessing: str) -> None:
        aside = Path(tempfile.mkdtemp(dir=self._folder, prefix=".new-"))
        try:
            replace_file(aside / "model.onnx", onnx)
            replace_file(aside / "blessing.json", blessing.encode())
            self._models.mkdir(exist_ok=True)
            aside.rename(self._models / str(version))
            sync_folder(self._models)
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def _history_lines(self) -> list[str]:
        try:
            return _whole_lines(self._history.read_bytes()).decode().splitlines()
        except FileNotFoundError:
            return []

    def _write_history(self, plan: Plan | None) -> None:
        """Appends `plan` unless it is there, after cutting off a line that a killed writer left unfinished."""
        lines = self._history_lines()
        if plan is None or (lines and _read_plan(lines[-1]).number >= plan.number):
            return
        with self._history.open("ab") as file:
            file.truncate(len(_whole_lines(self._history.read_bytes())))
            file.write(f"{plan.to_json()}\n".encode())
            file.flush()
            os.fsync(file.fileno())

    @contextmanager
    def _writing(self) -> Generator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _whole_lines(content: bytes) -> bytes:
    return content[: content.rfind(b"\n") + 1]


def _read_plan(text: str | bytes) -> Plan:
    try:
        said = json.loads(text)
        return Plan(said["plan"], said["champion"], said["previous"], said["at"], said["reason"])
    except (ValueError, KeyError, TypeError) as error:
        found = text[:80]
        raise UnreadablePlan(
            f"plan · found {found!r}: {error!r}. Restore the file from the last line of history.jsonl."
        ) from None
