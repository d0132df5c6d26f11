"""The state that a use case's ledger records add up to: what serves, what runs next to it, what to roll back to. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from mlops_assets.promotion.deployment import Plan
from mlops_assets.promotion.ledger_chain import GENESIS, Record
from mlops_assets.promotion.pauses import PAUSE, RESUME, Pause, pause_in_force

ByVersion = Mapping[Any, Record]
# The field that has the newest record of a kind, by version.
NEWEST = {"blessing": "blessings", "approval": "approvals", "refusal": "refusals", "rollback": "rollbacks"}
DECIDED = ("promotion", "plan", "approval", "handover")  # what a person may decide after a rollback


@dataclass(frozen=True)
class PromotionState:
    """`head` and `digest` are those of the newest record, `plan` is the one in force (None before the first champion). By
    version: its newest `blessings`, `approvals` of exactly what they bless, `refusals` since, and `rollbacks`. `champions` are
    those one can roll back to, the present one last; `shares` the challenger's, by plan number, since the rollout started.
    `tried` is the number of the newest blessing that was put to serve or next to the champion: it supersedes the blessings
    before it. `by_hand`: a person set what runs next to the champion, so that no rollout changes it.
    `pause` is the newest record of a pause, or of its end by hand; `hold` the rollback by a person since which nobody has decided
    what follows: nothing is trained or rolled out by itself until then.
    """

    use_case: str
    head: int
    plan: Plan | None
    blessings: ByVersion
    approvals: ByVersion
    refusals: ByVersion
    rollbacks: ByVersion
    champions: tuple[int, ...] = ()
    shares: Mapping[int, float] = field(default_factory=dict[int, float])
    tried: int = 0
    by_hand: bool = False
    digest: str = GENESIS
    pause: Record | None = None
    hold: Record | None = None

    @property
    def challenger_version(self) -> int | None:
        """The version that runs next to the champion, as challenger or as shadow."""
        return (self.plan.challenger or self.plan.shadow) if self.plan else None

    @property
    def upcoming(self) -> int | None:
        """The version that may become the next champion by itself or by an approval: it waits, or its rollout runs."""
        return self.challenger_version if self.waiting is None and not self.by_hand else self.waiting

    def pause_at(self, now: datetime) -> Pause | None:
        """The pause that is in force."""
        return pause_in_force(self.pause, now)

    def held_up(self, now: datetime) -> str:
        """Why nothing is trained or rolled out by itself: a pause or a hold; empty where it is."""
        return str(self.pause_at(now) or self.why_held)

    @property
    def why_held(self) -> str:
        """Who rolled back and who may go on; empty where nothing is held."""
        return _describe_hold(self.hold) if self.hold else ""

    def digest_of(self, version: int) -> str | None:
        """The digest of the model that was blessed as this version; None where none was."""
        return self.blessings[version].body["model_digest"] if version in self.blessings else None

    @property
    def previous_champion(self) -> int | None:
        return self.champions[-2] if len(self.champions) > 1 else None

    @property
    def needed(self) -> set[int]:
        """The versions that serve, run next to the champion, could be rolled back to, or wait."""
        served = self.plan.versions if self.plan else ()
        return {*served, *self.champions, *([] if self.waiting is None else [self.waiting])}

    @property
    def waiting(self) -> int | None:
        """The version blessed last, of those blessed since the last one was tried and not tried, refused or rolled back."""
        out = {*self.champions, *self.refusals, *self.rollbacks, *(self.plan.versions if self.plan else ())}
        left = {record.number: version for version, record in self.blessings.items() if version not in out}
        newest = max(left, default=0)
        return left[newest] if newest > self.tried else None


def promotion_state_of(use_case: str, records: Sequence[Record], since: PromotionState | None = None) -> PromotionState:
    """`records` are all of the use case, oldest first; with `since`, those after the records that it adds up."""
    state = since or PromotionState(use_case, 0, None, {}, {}, {}, {})
    newest = {kind: dict[int, Record](getattr(state, name)) for kind, name in NEWEST.items()}
    plan, champions, shares, tried, by_hand = state.plan, [*state.champions], state.shares, state.tried, state.by_hand
    pause, hold = state.pause, state.hold
    for record in records:
        hold = record if record.body.get("by_hand") and record.kind == "rollback" else None if record.kind in DECIDED else hold
        pause = record if record.kind in (PAUSE, RESUME) else pause
        if record.kind in newest:
            newest[record.kind][record.body["version"]] = record
        if record.kind == "blessing":
            # A new evaluation voids an approval or a refusal of the one before, but not what failed in traffic.
            for voided in ("approval", "refusal"):
                newest[voided].pop(record.body["version"], None)
        if "plan" not in record.body:
            continue
        plan = plan_of(record, newest["blessing"])
        if record.kind != "rollback" and (blessed := newest["blessing"].get(record.body["version"])):
            tried = max(tried, blessed.number)
        if record.kind in ("plan", "step"):
            shares = {**(shares if record.kind == "step" else {}), record.number: plan.share}
            by_hand = _is_by_hand(record)
            continue
        if record.kind == "rollback":
            champions = champions[: champions.index(plan.champion)] if plan.champion in champions else []
        by_hand, shares = False, {}
        champions = [*(champion for champion in champions if champion != plan.champion), plan.champion]
    if not records:
        return state
    head, fields = records[-1], {NEWEST[kind]: by_version for kind, by_version in newest.items()}
    state = replace(state, head=head.number, digest=head.digest, plan=plan, **fields)
    return replace(state, champions=tuple(champions), shares=shares, tried=tried, by_hand=by_hand, pause=pause, hold=hold)


def how_to_train(use_case: str) -> str:
    """The remedy where no blessed version is there."""
    return f"`mlops train {use_case} --because …` trains a version, judges it, and blesses it if it passes"


def plan_of(record: Record, blessings: ByVersion) -> Plan:
    """The plan that a record puts in force, of versions that `blessings` recorded."""
    plan = Plan(number=record.number, at=record.at, reason=record.body["reason"], record=record.digest, **record.body["plan"])
    blessed = {version: blessings[version].body["model_digest"] for version in plan.versions if version in blessings}
    return replace(plan, digests=blessed)


def _describe_hold(rollback: Record) -> str:
    name, why = rollback.use_case, rollback.reason.rstrip(".")
    held = f"Held since {rollback.by} rolled back version {rollback.version} on {rollback.at[:16].replace('T', ' ')} UTC: {why}"
    remedy = f"`mlops route {name} --hand-over` lets triggers and rollouts go on; `mlops train`, `approve` and `promote` work"
    return f"{held}. Nothing is trained or rolled out by itself: {remedy}."


def _is_by_hand(record: Record) -> bool:
    # Records of earlier releases do not have the field; there, `mlops route` began its reason with this word.
    return bool(record.body.get("by_hand", record.body["reason"].startswith("route: ")))
