"""An independent reading of the ledger: what serves by its records alone, and an error for every illegal record.

Belongs here: the rules of promotion, written a second time in another way. Not here: the product's own fold of the records.
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
    challenger: int | None = None

    @property
    def champion(self) -> int | None:
        return self.champions[-1] if self.champions else None

    def may(self, version: int) -> bool:
        """Whether the version may be tried and may serve."""
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

    def _change(self, kind: str, plan: dict[str, Any]) -> None:
        others = [version for version in (plan["challenger"], plan["shadow"]) if version is not None]
        named = [plan["champion"]] if kind == "promotion" else others
        for version in named:
            assert self.may(version), f"an unblessed version: {version} was accepted by a {kind}"
        match kind:
            case "promotion":
                self._promoted(plan, others)
            case "rollback":
                assert not others, "a rollback leaves no challenger"
                if self.challenger is None:
                    self.champions.pop()
            case _:
                assert (kind == "step") == (others[0] == self.challenger), (
                    f"a {kind} to {others} while {self.challenger} was the challenger"
                )
        assert plan["champion"] == self.champion, f"a {kind} says that {plan['champion']} is champion instead of {self.champion}"
        self.challenger = others[0] if others else None

    def _promoted(self, plan: dict[str, Any], others: list[int]) -> None:
        assert not others, "a promotion leaves no challenger"
        if plan["champion"] != self.champion:
            assert plan["previous"] == self.champion, f"promoted over {plan['previous']}, when {self.champion} was champion"
        self.champions = [champion for champion in self.champions if champion != plan["champion"]] + [plan["champion"]]

    def agrees_with(self, state: PromotionState) -> None:
        champion = state.plan.champion if state.plan else None
        assert (state.head, champion, state.challenger_version) == (self.head, self.champion, self.challenger)
        assert [*state.champions] == self.champions
        assert (*map(set, (state.blessings, state.approvals, state.refusals)),) == (
            self.blessed, self.approved, self.refused
        )  # fmt: skip
