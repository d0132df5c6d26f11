"""The deployment target on a file system: placed model versions, and the plan that routes requests to them.

The ledger decides which plan is in force; servers read it from here and verify the blessings themselves.
"""

import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, get_args

from filelock import FileLock
from pydantic import Field, TypeAdapter, ValidationError

from mlops_assets.foundation.atomic_file import replace_file, sync_folder
from mlops_assets.spec.rollout import Split


class AlreadyPlaced(ValueError):
    """A version that is placed with other bytes: versions never change."""


class UnreadablePlan(ValueError):
    """A plan file whose content is not a plan."""


class UnknownVersion(LookupError):
    """A version that is not placed."""


class IllegalRoute(ValueError):
    """A rollout whose values contradict each other, or one without a champion."""


@dataclass(frozen=True)
class Plan:
    """Which version serves which requests. Raises IllegalRoute.

    `number` and `record` (its digest) identify the ledger record that set the plan; `at` is ISO 8601 UTC; `previous` was
    champion before. The `challenger` serves the share (0 to 1) of the keys that `split` selects: prediction ids in a
    canary, the declared sticky key in an A/B test. The `shadow` scores every request and serves none.
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
    record: str = ""

    def __post_init__(self) -> None:
        if problem := _problem(self):
            raise IllegalRoute(f"plan · {problem}")

    @property
    def rollout(self) -> str:
        """What runs next to the champion, in words; empty when nothing does."""
        arm = f"{self.split}: {100 * self.share:.6g}% to version {self.challenger}" if self.challenger is not None else ""
        shadow = f"shadow: version {self.shadow}" if self.shadow is not None else ""
        return ", ".join(filter(None, (arm, shadow)))

    def to_json(self) -> str:
        return _PLAN.dump_json(self, by_alias=True).decode()


_PLAN = TypeAdapter(Plan)


class Deployment:
    """One use case under `root`: `models/<version>/` and `plan.json`. Any number of processes read and write at once."""

    def __init__(self, root: Path, use_case: str) -> None:
        self._use_case = use_case
        self._folder = root / use_case
        self._models = self._folder / "models"
        self._plan = self._folder / "plan.json"

    def place(self, version: int, onnx: bytes, blessing: str) -> None:
        """Stores a model and its blessing, both or neither; the same again changes nothing. Raises AlreadyPlaced."""
        with self._lock():
            if not (self._models / str(version)).exists():
                self._store(version, onnx, blessing)
            elif self.load(version) != (onnx, blessing):
                raise AlreadyPlaced(f"{self._use_case} · version {version} is placed with other bytes. Use a new version number.")

    def publish(self, plan: Plan) -> bool:
        """Lets servers read `plan` unless a newer one is published; an unreadable plan file is replaced.

        Returns whether `plan` is now the published one. Raises UnknownVersion.
        """
        with self._lock():
            for version in (plan.champion, plan.challenger, plan.shadow):
                if version is not None:
                    self._require(version)
            try:
                published = self.plan()
            except UnreadablePlan:
                published = None
            if published is not None and published.number > plan.number:
                return False
            if published != plan:
                replace_file(self._plan, plan.to_json().encode())
            return True

    def plan(self) -> Plan | None:
        """The published plan; None before the first. Raises UnreadablePlan."""
        try:
            text = self._plan.read_bytes()
        except FileNotFoundError:
            return None
        try:
            return _PLAN.validate_json(text, strict=True)
        except ValidationError as error:
            detail = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in detail["loc"]) or "document"
            remedy = f"`mlops ledger mirror {self._use_case}` writes it again"
            raise UnreadablePlan(f"plan · found {text[:80]!r}: {where} · {detail['msg']}. {remedy}.") from None

    def load(self, version: int) -> tuple[bytes, str]:
        """The model's bytes and its blessing's text, exactly as placed. Raises UnknownVersion."""
        self._require(version)
        folder = self._models / str(version)
        return (folder / "model.onnx").read_bytes(), (folder / "blessing.json").read_text()

    def champion(self) -> tuple[int, bytes] | None:
        """The champion's version and ONNX bytes; None before the first promotion."""
        plan = self.plan()
        return (plan.champion, self.load(plan.champion)[0]) if plan else None

    def versions(self) -> list[int]:
        """Every placed version, ascending."""
        return sorted(int(path.name) for path in self._models.glob("[0-9]*"))

    def _require(self, version: int) -> None:
        if not (self._models / str(version)).exists():
            legal = ", ".join(map(str, self.versions())) or "none"
            raise UnknownVersion(f"{self._use_case} · version {version} is not placed; placed: {legal}. Place it first.")

    def _store(self, version: int, onnx: bytes, blessing: str) -> None:
        new = self._folder / f".new-{uuid.uuid4().hex}"
        try:
            replace_file(new / "model.onnx", onnx)
            replace_file(new / "blessing.json", blessing.encode())
            self._models.mkdir(exist_ok=True)
            new.rename(self._models / str(version))
            sync_folder(self._models)
        finally:
            shutil.rmtree(new, ignore_errors=True)

    def _lock(self) -> FileLock:
        self._folder.mkdir(parents=True, exist_ok=True)
        return FileLock(self._folder / ".lock")


def _problem(plan: Plan) -> str | None:
    if not 0 <= plan.share <= 1:
        return f"share is {plan.share}; legal: 0 to 1, the part of the keys that goes to the challenger. Correct it."
    if plan.split not in get_args(Split):
        return f"split is {plan.split!r}; legal: {', '.join(get_args(Split))}. Use one of these."
    if plan.challenger == plan.champion:
        return f"the challenger is the champion, version {plan.champion}; legal: any other placed version. Name another."
    if plan.challenger is None and plan.share:
        return f"share is {plan.share} and there is no challenger; legal without one: 0. Name the challenger."
    return None
