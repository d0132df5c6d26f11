"""Placed model versions and the plan in force, on a file system for servers, which verify the blessings themselves."""

import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, get_args

from filelock import FileLock
from pydantic import Field, TypeAdapter, ValidationError

from mlops_assets.foundation.atomic_file import replace_file, sync_folder
from mlops_assets.foundation.wording import some
from mlops_assets.promotion.blessing import Blessing, UnblessedModel, verify
from mlops_assets.promotion.signing_keys import SigningKeys
from mlops_assets.spec.rollout import Split
from mlops_assets.training.digest import digest

SHOWN_CHARACTERS = 80  # of a value in a message
REPORTED = ("champion", "challenger", "share", "split", "shadow")  # the fields of a plan by which a server reports what it serves


class AlreadyPlaced(ValueError):
    """A version that is placed with other bytes: versions never change."""


class UnreadablePlan(ValueError):
    """A plan file whose content is not a plan."""


class UnknownVersion(LookupError):
    """A version that is not placed."""


class IllegalRoute(ValueError):
    """A change of what serves that contradicts itself, or needs a champion that is not there."""


@dataclass(frozen=True)
class Plan:
    """Which version serves which requests. Raises IllegalRoute. `number` and digest `record` are those of its ledger record;
    `at` is ISO 8601 UTC; `previous` was champion before. The `challenger` serves the share (0 to 1) of the keys that `split`
    selects: prediction ids in a canary, the declared sticky key in an A/B test. The `shadow` scores and never serves. `digests`
    are those that the ledger blessed, by version: servers, which do not read the ledger, load no other model under the number.
    """

    number: Annotated[int, Field(alias="plan", ge=1)]
    champion: int
    previous: int | None
    at: str
    reason: str
    challenger: int | None = None
    share: float = 0.0
    split: Split = "canary"
    shadow: int | None = None
    record: str = ""
    digests: Mapping[int, str] = field(default_factory=dict[int, str], hash=False)

    def __post_init__(self) -> None:
        splits, others = ", ".join(get_args(Split)), f"version {self.champion}; legal: any other placed version"
        problems = {
            f"share is {self.share}; legal: 0 to 1, the part of the keys that goes to the challenger": not 0 <= self.share <= 1,
            f"split is {self.split!r}; legal: {splits}": self.split not in get_args(Split),
            f"the challenger is the champion, {others}": self.challenger == self.champion,
            f"share is {self.share} and there is no challenger; legal: 0": self.challenger is None and self.share != 0,
        }
        for problem, is_there in problems.items():
            if is_there:
                raise IllegalRoute(f"plan · {problem}. Correct it.")

    @property
    def versions(self) -> tuple[int, ...]:
        """Those that servers load."""
        return tuple(version for version in (self.champion, self.challenger, self.shadow) if version is not None)

    @property
    def rollout(self) -> str:
        """What runs next to the champion, in words; empty when nothing does."""
        arm = f"{self.split}: {100 * self.share:.6g}% to version {self.challenger}" if self.challenger is not None else ""
        shadow = f"shadow: version {self.shadow}" if self.shadow is not None else ""
        return ", ".join(filter(None, (arm, shadow)))

    @property
    def title(self) -> str:
        return f"plan {self.number} (version {self.champion}{f'; {self.rollout}' if self.rollout else ''})"

    def differences(self, recorded: "Plan") -> str:
        """The fields that are not those of the recorded plan, with both values. Plans of an earlier release lack the digests."""
        names = [one.name for one in fields(self) if one.name != "digests" or self.digests]
        values = {name: (getattr(self, name), getattr(recorded, name)) for name in names}
        different = {name: [*map(_shorten, pair)] for name, pair in values.items() if pair[0] != pair[1]}
        return ", ".join(f"{name} {ours} instead of {theirs}" for name, (ours, theirs) in different.items())

    def is_served(self, reported: Mapping[str, Any]) -> bool:
        """Whether a server that reports this serves this plan with the blessed model: another home has the numbers, too."""
        expected = {"plan": self.number, **{name: getattr(self, name) for name in REPORTED}}
        expected |= {"digest": self.digests[self.champion]} if self.champion in self.digests else {}
        return expected == {name: reported.get(name) for name in expected}

    def to_json(self) -> str:
        return _PLAN.dump_json(self, by_alias=True).decode()


_PLAN = TypeAdapter(Plan)


def describe_difference(published: Plan | None, recorded: Plan | None) -> str:
    """Empty where servers read the recorded plan."""
    edited = published.differences(recorded) if published and recorded else ""
    if (published is None) == (recorded is None) and not edited:
        return ""
    ours, theirs = (one.title if one else "no plan" for one in (recorded, published))
    return f"servers read {theirs}{f', with {edited}' if ours == theirs else ''}; in the ledger it is {ours}"


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


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
            if version not in self.versions():
                with tempfile.TemporaryDirectory(dir=self._folder, prefix=".new-") as folder:
                    new = Path(folder) / str(version)
                    replace_file(new / "model.onnx", onnx)
                    replace_file(new / "blessing.json", blessing.encode())
                    self._models.mkdir(exist_ok=True)
                    new.rename(self._models / str(version))
                sync_folder(self._models)
            elif self.load(version) != (onnx, blessing):
                raise AlreadyPlaced(f"{self._use_case} · version {version} is placed with other bytes. Use a new version number.")

    def restore(self, version: int, onnx: bytes, blessing: str) -> None:
        """Stores them in place of whatever is stored as this version. Servers load neither half of it."""
        with self._lock():
            folder = self._models / str(version)
            replace_file(folder / "model.onnx", onnx)
            replace_file(folder / "blessing.json", blessing.encode())

    def replace_blessing(self, version: int, blessing: str) -> None:
        """Another signature for a placed model; servers read the old one or the new. Raises UnknownVersion."""
        with self._lock():
            self._require(version)
            replace_file(self._models / str(version) / "blessing.json", blessing.encode())

    def publish(self, plan: Plan, *, replace_newer: bool = False) -> None:
        """Lets servers read `plan` unless a newer one is published; `replace_newer` puts that aside. Raises UnknownVersion."""
        with self._lock():
            for version in plan.versions:
                self._require(version)
            published = None
            with suppress(UnreadablePlan):
                published = self.plan()
            is_newer = published is not None and published.number > plan.number
            if is_newer and replace_newer:
                self.keep(self.content())
            if published != plan and (replace_newer or not is_newer):
                replace_file(self._plan, plan.to_json().encode())

    def content(self) -> bytes:
        """Of the plan file, whatever that is; empty before the first."""
        return self._plan.read_bytes() if self._plan.exists() else b""

    def keep(self, content: bytes) -> Path:
        """Stores what a plan file had, for a person who looks for its author."""
        kept = self._folder / f"replaced-plan-{digest(content)[:12]}.json"
        replace_file(kept, content)
        return kept

    def plan(self) -> Plan | None:
        """The published plan; None before the first. Raises UnreadablePlan."""
        try:
            return _PLAN.validate_json(self._plan.read_bytes(), strict=True)
        except FileNotFoundError:
            return None
        except ValidationError as error:
            detail = error.errors()[0]
            reason = detail["msg"].removeprefix("Value error, ").rstrip(".")
            problem = f"{_shorten(detail['input'])}: {'.'.join(map(str, detail['loc'])) or 'document'} · {reason}"
            raise UnreadablePlan(f"plan · found {problem}. `mlops ledger mirror {self._use_case}` writes it again.") from None

    def load(self, version: int) -> tuple[bytes, str]:
        """The model's bytes and its blessing's text, exactly as placed. Raises UnknownVersion."""
        self._require(version)
        folder = self._models / str(version)
        return (folder / "model.onnx").read_bytes(), (folder / "blessing.json").read_text()

    def load_blessed(self, version: int, keys: SigningKeys, *, recorded: str | None) -> tuple[bytes, Blessing]:
        """The model and its blessing, verified; `recorded` is as in `verify`. Raises UnknownVersion, UnblessedModel."""
        onnx, text = self.load(version)
        blessing = Blessing.from_json(text)
        verify(blessing, use_case=self._use_case, version=version, onnx=onnx, public_keys=keys.public(), recorded=recorded)
        return onnx, blessing

    def champion(self) -> tuple[int, bytes] | None:
        """The champion's version and ONNX bytes; None before the first promotion. Raises UnblessedModel."""
        if (plan := self.plan()) is None:
            return None
        onnx, blessed = self.load(plan.champion)[0], plan.digests.get(plan.champion)
        if blessed not in (None, digest(onnx)):
            problem = f"has digest {digest(onnx)[:12]}…; the plan has {(blessed or '')[:12]}…, which the ledger blessed"
            restore = f"Restore the files of version {plan.champion} from a backup"
            raise UnblessedModel(f"{self._use_case} · version {plan.champion} {problem}. {restore}, or roll back.")
        return plan.champion, onnx

    def versions(self) -> list[int]:
        """Every placed version, ascending."""
        return sorted(int(path.name) for path in self._models.glob("[0-9]*") if path.name.isdecimal())  # 1.bak is a copy

    def _require(self, version: int) -> None:
        if version not in (placed := self.versions()):
            remedy = f"If the ledger blessed it, `mlops ledger mirror {self._use_case}` places it again"
            raise UnknownVersion(f"{self._use_case} · version {version} is not placed; placed: {some(placed)}. {remedy}.")

    def _lock(self) -> FileLock:
        self._folder.mkdir(parents=True, exist_ok=True)
        return FileLock(self._folder / ".lock")
