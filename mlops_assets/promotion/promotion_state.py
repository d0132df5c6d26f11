"""The state that a use case's ledger records add up to: what serves, what runs next to it, what to roll back to. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

from mlops_assets.promotion.deployment import Plan
from mlops_assets.promotion.ledger_chain import Record

ByVersion = Mapping[Any, Record]


@dataclass(frozen=True)
class PromotionState:
    """`head` is the number of the newest record, `plan` the one in force (None before the first champion).

    By version: its newest `blessings`, `approvals` of exactly what they bless, `refusals` since, and `rollbacks`.
    `champions` are those one can roll back to, the present one last. `shares` are the challenger's, by plan number, since
    the rollout started; empty without one.
    """

    use_case: str
    head: int = 0
    plan: Plan | None = None
    blessings: ByVersion = field(default_factory=dict[Any, Record])
    approvals: ByVersion = field(default_factory=dict[Any, Record])
    refusals: ByVersion = field(default_factory=dict[Any, Record])
    rollbacks: ByVersion = field(default_factory=dict[Any, Record])
    champions: tuple[int, ...] = ()
    shares: Mapping[int, float] = field(default_factory=dict[int, float])

    @property
    def challenger_version(self) -> int | None:
        """The version that runs next to the champion, as challenger or as shadow."""
        return (self.plan.challenger or self.plan.shadow) if self.plan else None

    @property
    def first_plan(self) -> int | None:
        """The number of the plan that started the rollout."""
        return min(self.shares, default=None)

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
    return reduce(_add, records, PromotionState(use_case))


def plan_of(record: Record) -> Plan:
    """The plan that a record puts in force."""
    return Plan(number=record.number, at=record.at, reason=record.body["reason"], record=record.digest, **record.body["plan"])


def _add(state: PromotionState, record: Record) -> PromotionState:
    version, state = record.body.get("version"), replace(state, head=record.number)
    match record.kind:
        case "blessing":
            # A new evaluation voids an approval or a refusal of the one before, but not what failed in traffic.
            approvals, refusals = _without(state.approvals, version), _without(state.refusals, version)
            return replace(state, blessings={**state.blessings, version: record}, approvals=approvals, refusals=refusals)
        case "approval":
            return replace(state, approvals={**state.approvals, version: record})
        case "refusal":
            return replace(state, refusals={**state.refusals, version: record})
        case "rollback":
            return _with_plan(replace(state, rollbacks={**state.rollbacks, version: record}), record)
        case "plan" | "step" | "promotion" | "adoption":
            return _with_plan(state, record)
        case _:  # an erasure changes nothing that serves
            return state


def _with_plan(state: PromotionState, record: Record) -> PromotionState:
    plan = plan_of(record)
    if record.kind in ("plan", "step"):
        shares = {**(state.shares if record.kind == "step" else {}), record.number: plan.share}
        return replace(state, plan=plan, shares=shares)
    earlier = [champion for champion in state.champions if champion != plan.champion]
    if record.kind == "rollback":
        earlier = state.champions[: state.champions.index(plan.champion)] if plan.champion in state.champions else ()
    return replace(state, plan=plan, shares={}, champions=(*earlier, plan.champion))


def _without(records: ByVersion, version: object) -> ByVersion:
    return {other: record for other, record in records.items() if other != version}
