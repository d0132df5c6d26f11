"""A stranger's reading of the ledger: what serves by its records alone, and an objection to every one that must not be there.

Belongs here: the rules of promotion, told a second time and in another way. Not here: the product's own fold of the records.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlops_assets.promotion.ledger_chain import Record
from mlops_assets.promotion.promotion_state import PromotionState


@dataclass
class Audit:
    """`judged` is the truth: the digest of every version that was really judged and passed, by version."""

    judged: Mapping[int, str]
    high_risk: bool
    head: int = 0
    blessed: set[int] = field(default_factory=set[int])
    approved: set[int] = field(default_factory=set[int])
    refused: set[int] = field(default_factory=set[int])
    champions: list[int] = field(default_factory=list[int])
    trial: int | None = None

    @property
    def champion(self) -> int | None:
        return self.champions[-1] if self.champions else None

    def may(self, version: int) -> bool:
        """Whether the version may be tried and may answer."""
        approved = not self.high_risk or version in self.approved
        return version in self.blessed and version not in self.refused and approved

    def read(self, record: Record) -> None:
        assert record.number == self.head + 1, f"record {record.number} comes after {self.head}"
        self.head, version = record.number, record.body["version"]
        match record.kind:
            case "blessing":
                assert self.judged.get(version) == record.body["model_digest"], f"an unblessed version: {version} was blessed"
                self.blessed.add(version)
                self.approved.discard(version)
                self.refused.discard(version)
            case "approval":
                assert version in self.blessed, f"version {version} was approved before it was blessed"
                self.approved.add(version)
            case "refusal":
                self.refused.add(version)
            case "reissue":
                assert version in self.blessed, f"version {version} was signed again before it was blessed"
            case _:
                self._change(record.kind, record.body["plan"])

    def _change(self, kind: str, said: dict[str, Any]) -> None:
        beside = [each for each in (said["challenger"], said["shadow"]) if each is not None]
        named = [said["champion"]] if kind == "promotion" else beside
        for version in named:
            assert self.may(version), f"an unblessed version: {version} was let in by a {kind}"
        match kind:
            case "promotion":
                self._promoted(said, beside)
            case "rollback":
                assert not beside, "a rollback leaves nothing on trial"
                if self.trial is None:
                    self.champions.pop()
            case _:
                assert (kind == "step") == (beside[0] == self.trial), f"a {kind} to {beside} while {self.trial} was on trial"
        assert said["champion"] == self.champion, f"a {kind} says that {said['champion']} is champion beside {self.champion}"
        self.trial = beside[0] if beside else None

    def _promoted(self, said: dict[str, Any], beside: list[int]) -> None:
        assert not beside, "a promotion leaves nothing on trial"
        if said["champion"] != self.champion:
            assert said["previous"] == self.champion, f"promoted over {said['previous']}, when {self.champion} was champion"
        self.champions = [each for each in self.champions if each != said["champion"]] + [said["champion"]]

    def agrees_with(self, state: PromotionState) -> None:
        champion = state.plan.champion if state.plan else None
        assert (state.head, champion, state.challenger_version) == (self.head, self.champion, self.trial)
        assert [*state.champions] == self.champions
        assert (*map(set, (state.blessings, state.approvals, state.refusals)),) == (
            self.blessed, self.approved, self.refused
        )  # fmt: skip
