"""The deployment target on a file system: placed model versions, and the plan that says which of them answers whom.

Belongs here: placing, pointing, routing, reading, and the history of plans. A blessing passes through as text.
Not here: whether a model may answer (the server checks its blessing: serving/model_slots.py) and which request goes to
which version (serving/routing.py).
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, TypeAdapter, ValidationError

from mlops_assets.ports.durable_file import replace_file, sync_folder

Split = Literal["canary", "ab"]


class AlreadyPlaced(ValueError):
    """A version that is placed with other bytes: versions never change."""


class UnreadablePlan(ValueError):
    """A plan that is not what `point` or `route` wrote."""


class UnknownVersion(LookupError):
    """A version that was never placed."""


class IllegalRoute(ValueError):
    """A rollout that cannot be: its words contradict each other, or there is no champion beside which it could run."""


@dataclass(frozen=True)
class Plan:
    """Which version answers whom. `number` counts the plans from 1, `at` is ISO 8601 UTC, `previous` was champion before.

    The `challenger` answers the share (0 to 1) of the keys that `split` names: each prediction's own in a canary, the
    declared sticky key in an A/B test. The `shadow` scores every request and answers none. Raises IllegalRoute.
    """

    number: Annotated[int, Field(alias="plan")]
    champion: int
    previous: int | None
    at: str
    reason: str
    challenger: int | None = None
    share: float = 0.0
    split: Split = "canary"
    shadow: int | None = None

    def __post_init__(self) -> None:
        objection = _objection(self)
        if objection:
            raise IllegalRoute(f"plan · {objection}")

    @property
    def rollout(self) -> str:
        """What runs beside the champion, for people; empty when nothing does."""
        arm = f"{self.split}: {100 * self.share:.6g}% to version {self.challenger}" if self.challenger is not None else ""
        shadow = f"shadow: version {self.shadow}" if self.shadow is not None else ""
        return ", ".join(said for said in (arm, shadow) if said)

    def to_json(self) -> str:
        return _PLAN.dump_json(self, by_alias=True).decode()


_PLAN = TypeAdapter(Plan)


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
        """Lets `version` alone answer from now on, without a rollout; the same again changes nothing. Raises UnknownVersion."""
        with self._writing():
            self._demand(version)
            now = self.plan()
            if now is None:
                return self._write(Plan(1, version, None, at, reason))
            previous = now.previous if now.champion == version else now.champion
            return self._follow(now, Plan(now.number, version, previous, now.at, now.reason), at, reason)

    def route(
        self,
        *,
        challenger: int | None = None,
        share: float = 0.0,
        split: Split = "canary",
        shadow: int | None = None,
        at: str,
        reason: str,
    ) -> Plan:
        """Sets what runs beside the champion, who stays; without a version the rollout ends, the same again changes nothing.

        Raises UnknownVersion, IllegalRoute.
        """
        with self._writing():
            now = self.plan()
            if now is None:
                raise IllegalRoute(f"{self._use_case} · nobody answers yet, so nothing can run beside. Promote a model first.")
            wanted = replace(now, challenger=challenger, share=float(share), split=split, shadow=shadow)
            for version in (challenger, shadow):
                if version is not None:
                    self._demand(version)
            return self._follow(now, wanted, at, reason)

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
            elif stood[-1:] != [plan.champion]:  # a plan that only changed the rollout is no step
                stood.append(plan.champion)
        return stood[-2] if len(stood) > 1 else None

    def _demand(self, version: int) -> None:
        if not (self._models / str(version)).exists():
            legal = ", ".join(str(placed) for placed in self.versions()) or "none"
            raise UnknownVersion(f"{self._use_case} · version {version} is not placed; placed: {legal}. Place it first.")

    def _follow(self, now: Plan, wanted: Plan, at: str, reason: str) -> Plan:
        """Puts `wanted` in force under the next number, unless it says what `now` says."""
        self._write_history(now)
        return now if wanted == now else self._write(replace(wanted, number=now.number + 1, at=at, reason=reason))

    def _write(self, plan: Plan) -> Plan:
        replace_file(self._plan, plan.to_json().encode())
        self._write_history(plan)
        return plan

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

    def _write_history(self, plan: Plan) -> None:
        """Appends `plan` unless it is there, after cutting off a line that a killed writer left unfinished."""
        lines = self._history_lines()
        if lines and _read_plan(lines[-1]).number >= plan.number:
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


def _objection(plan: Plan) -> str | None:
    if not 0 <= plan.share <= 1:
        return f"share is {plan.share}; legal: 0 to 1, the part of the keys that goes to the challenger. Correct it."
    if plan.split not in get_args(Split):
        return f"split is {plan.split!r}; legal: {', '.join(get_args(Split))}. Use one of these."
    if plan.challenger == plan.champion:
        return f"the challenger is the champion, version {plan.champion}; legal: any other placed version. Name another."
    if plan.challenger is None and plan.share:
        return f"share is {plan.share} and there is no challenger; legal without one: 0. Name the challenger."
    return None


def _read_plan(text: str | bytes) -> Plan:
    try:
        return _PLAN.validate_json(text, strict=True)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in detail["loc"]) or "document"
        raise UnreadablePlan(
            f"plan · found {text[:80]!r}: {where} · {detail['msg']}. Restore the file from the last line of history.jsonl."
        ) from None
