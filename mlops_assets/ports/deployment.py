"""The deployment target on a file system: placed model versions, and the plan that says which of them answers whom.

Belongs here: placing, publishing a plan, reading both. A blessing passes through as text.
Not here: which plan is in force (the ledger says it; this is what servers see of it), whether a model may answer (the
server checks its blessing: serving/model_slots.py) and which request goes to which version (serving/routing.py).
"""

import fcntl
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, TypeAdapter, ValidationError

from mlops_assets.ports.durable_file import replace_file, sync_folder

Split = Literal["canary", "ab"]


class AlreadyPlaced(ValueError):
    """A version that is placed with other bytes: versions never change."""


class UnreadablePlan(ValueError):
    """A plan that is not what `publish` wrote."""


class UnknownVersion(LookupError):
    """A version that was never placed."""


class IllegalRoute(ValueError):
    """A rollout that cannot be: its words contradict each other, or there is no champion beside which it could run."""


@dataclass(frozen=True)
class Plan:
    """Which version answers whom. `number` and `record` are those of the ledger's record (its digest) that set it, `at` is
    ISO 8601 UTC, `previous` was champion before.

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
    record: str = ""

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
    """One use case below `root`: `models/<version>/` and `plan.json`.

    Any number of processes may read and write; writers take turns by a lock that ends with its process.
    """

    def __init__(self, root: Path, use_case: str) -> None:
        self._use_case = use_case
        self._folder = root / use_case
        self._models = self._folder / "models"
        self._plan = self._folder / "plan.json"

    def place(self, version: int, onnx: bytes, blessing: str) -> None:
        """Lays a model and its blessing down, whole or not at all; the same again changes nothing. Raises AlreadyPlaced."""
        with self._writing():
            if not (self._models / str(version)).exists():
                self._lay(version, onnx, blessing)
            elif self.load(version) != (onnx, blessing):
                raise AlreadyPlaced(f"{self._use_case} · version {version} is placed with other bytes. Use a new version number.")

    def publish(self, plan: Plan) -> bool:
        """Lets servers see `plan`, unless they see it, or a newer one, already: whoever comes late takes nothing back.

        Whether it is what they see now. A plan file that nobody can read is replaced. Raises UnknownVersion.
        """
        with self._writing():
            for version in (plan.champion, plan.challenger, plan.shadow):
                if version is not None:
                    self._demand(version)
            seen = self._readable_plan()
            if seen is None or seen.number <= plan.number:
                if seen != plan:
                    replace_file(self._plan, plan.to_json().encode())
                return True
            return False

    def plan(self) -> Plan | None:
        """The plan that servers see; None before the first. Raises UnreadablePlan."""
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

    def _readable_plan(self) -> Plan | None:
        try:
            return self.plan()
        except UnreadablePlan:
            return None

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

    @contextmanager
    def _writing(self) -> Generator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


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
            f"plan · found {text[:80]!r}: {where} · {detail['msg']}. `mlops ledger mirror` writes it again."
        ) from None
