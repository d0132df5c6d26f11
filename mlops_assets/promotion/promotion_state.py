"""The state that a use case's ledger records add up to: what serves, what runs next to it, what to roll back to. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlops_assets.promotion.deployment import Plan
from mlops_assets.promotion.ledger_chain import Record

ByVersion = Mapping[Any, Record]


@dataclass(frozen=True)
class PromotionState:
    """`head` is the number of the newest record, `plan` the one in force (None before the first champion). By version: its
    newest `blessings`, `approvals` of exactly what they bless, `refusals` since, and `rollbacks`. `champions` are those one can
    roll back to, the present one last; `shares` the challenger's, by plan number, since the rollout started.
    """

    use_case: str
    head: int
    plan: Plan | None
    blessings: ByVersion
    approvals: ByVersion
    refusals: ByVersion
    rollbacks: ByVersion
    champions: tuple[int, ...]
    shares: Mapping[int, float]

    @property
    def challenger_version(self) -> int | None:
        """The version that runs next to the champion, as challenger or as shadow."""
        return (self.plan.challenger or self.plan.shadow) if self.plan else None

    @property
    def previous_champion(self) -> int | None:
        return self.champions[-2] if len(self.champions) > 1 else None

    @property
    def waiting(self) -> int | None:
        """The version blessed last, unless it has been tried, refused or rolled back."""
        newest = max(self.blessings.values(), key=lambda record: record.number, default=None)
        version = newest.body["version"] if newest else None
        tried = {self.plan.champion if self.plan else None, self.challenger_version, *self.champions}
        return None if version in tried | {*self.refusals} | {*self.rollbacks} else version


def promotion_state_of(use_case: str, records: Sequence[Record]) -> PromotionState:
    """`records` are all of the use case, oldest first."""
    newest: dict[str, dict[Any, Record]] = {kind: {} for kind in ("blessing", "approval", "refusal", "rollback")}
    plan, champions, shares = None, list[int](), dict[int, float]()
    for record in records:
        if record.kind in newest:
            newest[record.kind][record.body["version"]] = record
        if record.kind == "blessing":
            # A new evaluation voids an approval or a refusal of the one before, but not what failed in traffic.
            for voided in ("approval", "refusal"):
                newest[voided].pop(record.body["version"], None)
        if "plan" not in record.body:
            continue
        plan = plan_of(record)
        if record.kind in ("plan", "step"):
            shares = {**(shares if record.kind == "step" else {}), record.number: plan.share}
            continue
        if record.kind == "rollback":
            champions = champions[: champions.index(plan.champion)] if plan.champion in champions else []
        shares, champions = {}, [*(champion for champion in champions if champion != plan.champion), plan.champion]
    head = records[-1].number if records else 0
    return PromotionState(use_case, head, plan, *newest.values(), champions=tuple(champions), shares=shares)


def plan_of(record: Record) -> Plan:
    """The plan that a record puts in force."""
    return Plan(number=record.number, at=record.at, reason=record.body["reason"], record=record.digest, **record.body["plan"])
