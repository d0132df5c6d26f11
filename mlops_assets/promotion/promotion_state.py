"""What the ledger adds up to: who answers, who is on trial, who may, and whom one can go back to.

Belongs here: the fold over a use case's records, pure. Not here: writing records (promotions.py) and what servers and people
see of them (mirrors.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mlops_assets.promotion.deployment import Plan
from mlops_assets.promotion.ledger_chain import Record


@dataclass(frozen=True)
class PromotionState:
    """`plan` is in force (None before the first champion). By version: its newest `blessings`, `approvals` of exactly what
    they bless, `refusals` since, `failures` (taken back after it was tried). `stood` are the champions one can go back to,
    the present one last. `shares` are the challenger's, by plan number, since the rollout began; empty without one.
    """

    use_case: str
    head: int = 0
    digest: str = ""
    plan: Plan | None = None
    blessings: Mapping[int, Record] = field(default_factory=dict[int, Record])
    approvals: Mapping[int, Record] = field(default_factory=dict[int, Record])
    refusals: Mapping[int, Record] = field(default_factory=dict[int, Record])
    failures: Mapping[int, Record] = field(default_factory=dict[int, Record])
    stood: tuple[int, ...] = ()
    shares: Mapping[int, float] = field(default_factory=dict[int, float])

    @property
    def trial(self) -> int | None:
        """The version on trial, as challenger or in the shadow."""
        return (self.plan.challenger or self.plan.shadow) if self.plan else None

    @property
    def began(self) -> int | None:
        """The number of the plan with which the rollout began."""
        return min(self.shares, default=None)

    @property
    def previous(self) -> int | None:
        """The champion to go back to."""
        return self.stood[-2] if len(self.stood) > 1 else None

    @property
    def waiting(self) -> int | None:
        """The newest blessed version that has not been tried, refused or taken back since it was blessed."""
        newest = max(self.blessings.values(), key=lambda record: record.number, default=None)
        version = int(newest.body["version"]) if newest else None
        tried = {self.plan.champion, self.trial} if self.plan else set[int | None]()
        known = version in tried or version in self.refusals or version in self.failures or version in self.stood
        return None if version is None or known else version


def promotion_state_of(use_case: str, records: Sequence[Record]) -> PromotionState:
    """`records` are all of the use case, oldest first."""
    standing = PromotionState(use_case)
    for record in records:
        standing = replace(_after(standing, record), head=record.number, digest=record.digest)
    return standing


def _after(standing: PromotionState, record: Record) -> PromotionState:
    version = record.body.get("version")
    match record.kind:
        case "blessing":
            standing = _blessed(standing, version, record)
        case "approval":
            standing = replace(standing, approvals={**standing.approvals, version: record})
        case "refusal":
            standing = replace(standing, refusals={**standing.refusals, version: record})
        case "plan" | "step":
            plan = plan_of(record)
            shares = {**(standing.shares if record.kind == "step" else {}), record.number: plan.share}
            standing = replace(standing, plan=plan, shares=shares)
        case "promotion" | "adoption":
            plan = plan_of(record)
            before = (each for each in standing.stood if each != plan.champion)
            standing = replace(standing, plan=plan, shares={}, stood=(*before, plan.champion))
        case "rollback":
            standing = _rolled_back(standing, record)
        case "erasure":
            pass
    return standing


def _blessed(standing: PromotionState, version: Any, record: Record) -> PromotionState:
    """A new judgement: what was approved or refused on the one before no longer counts, but what failed in traffic does."""
    approvals = {each: approval for each, approval in standing.approvals.items() if each != version}
    refusals = {each: refusal for each, refusal in standing.refusals.items() if each != version}
    return replace(standing, blessings={**standing.blessings, version: record}, approvals=approvals, refusals=refusals)


def _rolled_back(standing: PromotionState, record: Record) -> PromotionState:
    """A challenger is taken back, or the champion; either way it is not tried again by itself."""
    plan = plan_of(record)
    stood = standing.stood[: standing.stood.index(plan.champion) + 1] if plan.champion in standing.stood else (plan.champion,)
    failures = {**standing.failures, record.body["version"]: record}
    return replace(standing, plan=plan, shares={}, stood=stood, failures=failures)


def plan_of(record: Record) -> Plan:
    """The plan that a record puts in force, as servers read it."""
    said: dict[str, Any] = record.body["plan"]
    return Plan(number=record.number, at=record.at, reason=record.body["reason"], record=record.digest, **said)
