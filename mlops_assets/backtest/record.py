"""What a backtest records while it runs: each step with its training and its alarms. The ledger has the rollouts."""

from datetime import datetime
from pathlib import Path
from typing import Any, Self

import msgspec

from mlops_assets.foundation.atomic_file import replace_file


class Gate(msgspec.Struct, frozen=True):
    """`measured` and `bound` are None where the gate has no number."""

    name: str
    passed: bool
    message: str
    measured: float | None = None
    bound: float | None = None


class Training(msgspec.Struct, frozen=True):
    """`version` is None where the run failed before there was one; `error` is why it failed other than by its gates."""

    at: datetime
    reason: str
    version: int | None
    blessed: bool
    gates: list[Gate]
    error: str = ""

    @property
    def outcome(self) -> str:
        return "failed" if self.error else "blessed" if self.blessed else "refused"


class Alarm(msgspec.Struct, frozen=True):
    """A monitor's check that did not pass, with the tables that it showed."""

    at: datetime
    monitor: str
    message: str
    tables: dict[str, list[dict[str, Any]]] = {}


class Step(msgspec.Struct, frozen=True):
    """One step: its requests, the alarms at its end, and the training that followed."""

    start: datetime
    end: datetime
    requests: int
    alarms: list[Alarm] = []
    training: Training | None = None


class Replay(msgspec.Struct):
    """A backtest so far. `settings` tells it from one of other settings, `first` is the training before the first step."""

    settings: str
    first: Training
    steps: list[Step] = []

    @classmethod
    def read(cls, file: Path) -> Self | None:
        return msgspec.json.decode(file.read_bytes(), type=cls) if file.exists() else None

    def write(self, file: Path) -> None:
        replace_file(file, msgspec.json.encode(self))

    @property
    def trainings(self) -> list[Training]:
        return [self.first, *(step.training for step in self.steps if step.training)]

    @property
    def alarms(self) -> list[Alarm]:
        return [alarm for step in self.steps for alarm in step.alarms]
