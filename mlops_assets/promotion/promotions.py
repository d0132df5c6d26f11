"""Every change of what serves: checked, written to the ledger, then published to the servers."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, NotRequired, TypedDict, TypeVar, Unpack

from mlops_assets.foundation.wording import some
from mlops_assets.promotion.blessing import Blessing, UnblessedModel, verify
from mlops_assets.promotion.deployment import (
    AlreadyPlaced,
    Deployment,
    IllegalRoute,
    Plan,
    Split,
    UnreadablePlan,
    describe_difference,
)
from mlops_assets.promotion.ledger import ConcurrentWrite, Ledger
from mlops_assets.promotion.ledger_chain import Kind, Record
from mlops_assets.promotion.promotion_state import PromotionState, how_to_train, plan_of, promotion_state_of
from mlops_assets.promotion.signing_keys import SigningKeys
from mlops_assets.spec.use_case import UseCase
from mlops_assets.training.digest import digest

# The part of a plan that a record stores; number, time and reason are the record's own.
ROUTE = ("champion", "previous", "challenger", "share", "split", "shadow")
MAX_TRIES = 20  # one that fails means that another writer has added a record meanwhile, so some writer always gets on
T = TypeVar("T")
# The state after the last call, by ledger and use case: sensors open the stores anew in each tick.
_LAST: dict[tuple[str, str], PromotionState] = {}


class NotApproved(PermissionError):
    """A high-risk version without an approval of exactly this evidence, or an approval without a reason."""


class PlanDisagrees(RuntimeError):
    """Servers read another plan than the ledger's."""


class Cause(TypedDict):
    """Who changes what serves, when, why and on what evidence. `decided_on` is the state that the decision is based on."""

    reason: str
    by: str
    at: datetime
    evidence: NotRequired[Mapping[str, Any] | None]
    decided_on: NotRequired[PromotionState | None]


def decide_again(act: Callable[[], T]) -> T:
    """The result of `act`, which reads the ledger, decides and writes. Where others wrote meanwhile, it reads again."""
    for _ in range(MAX_TRIES - 1):
        with suppress(ConcurrentWrite):
            return act()
    return act()


@dataclass(frozen=True)
class Promotions:
    """The changes of one use case. Each reads the ledger first, unless `decided_on` has the state that was read, and raises
    ConcurrentWrite, which names the other writer, when the ledger has grown since; nothing has changed then. Raises LedgerDown;
    PlanDisagrees where servers do not follow the ledger, DamagedLedger where newest records are gone.
    A change is in force once its record is written: if the process dies before servers see it, the next one publishes it.
    """

    use_case: UseCase
    ledger: Ledger
    deployment: Deployment
    keys: SigningKeys

    def state(self) -> PromotionState:
        """Of all records. Those of the last call are not read again, unless the newest of them is no longer in the ledger."""
        name, place = self.use_case.name, (self.ledger.address, self.use_case.name)
        since = _LAST.get(place)
        records = self.ledger.records(name, after=since.head - 1) if since else []
        if since and [(record.number, record.digest) for record in records[:1]] == [(since.head, since.digest)]:
            state = promotion_state_of(name, records[1:], since)
        else:
            state = self.ledger.state(name)
        if state.head:
            _LAST[place] = state
        return state

    def bless(self, version: int, onnx: bytes, blessing: str, *, by: str, at: datetime) -> None:
        """Stores `version` for the servers and records that it may serve. A blessing that is recorded already, or older than the
        recorded one or a refusal, changes nothing; nor do others' records meanwhile. Raises AlreadyPlaced, and UnblessedModel
        after recording the refusal.
        """
        self.ledger.create()  # first: a model without a ledger is that of a damaged home
        decide_again(lambda: self._bless(version, onnx, blessing, by=by, at=at))

    def _bless(self, version: int, onnx: bytes, blessing: str, *, by: str, at: datetime) -> None:
        state, name, keys = self.state(), self.use_case.name, self.keys.public()
        try:
            signed = Blessing.from_json(blessing)
            verify(signed, use_case=name, version=version, onnx=onnx, public_keys=keys, recorded=None)
        except UnblessedModel as error:
            self.refuse(version, reason=str(error), by=by, at=at, evidence={"model_digest": digest(onnx)})
            raise
        if state.digest_of(version) not in (None, signed.model_digest):
            raise AlreadyPlaced(f"{name} · version {version} was blessed with other bytes. Use a new version number.")
        # The same model, evaluated again, is the same version and keeps the blessing that it was stored with.
        if version not in self.deployment.versions() or self.deployment.load(version)[0] != onnx:
            self.deployment.place(version, onnx, blessing)
        if _is_new(state, version, signed):
            fields = asdict(signed)
            body = {name: fields[name] for name in ("model_digest", "evaluation_digest", "gates")}
            self._append(state, "blessing", {"version": version, **body, "blessing": blessing}, by=by, at=at)

    def refuse(self, version: int, *, reason: str, by: str, at: datetime, evidence: Mapping[str, Any] | None = None) -> None:
        """Records that a version must not serve, and why; the same reason again changes nothing, nor do others' records."""
        decide_again(
            lambda: self._refuse(version, {"version": version, "reason": reason, "evidence": dict(evidence or {})}, by, at)
        )

    def _refuse(self, version: int, body: dict[str, Any], by: str, at: datetime) -> None:
        state = self.state()
        recorded = state.refusals.get(version)
        if recorded is None or recorded.body["reason"] != body["reason"]:
            self._append(state, "refusal", body, by=by, at=at)

    def approve(self, version: int, *, why: str, by: str, at: datetime) -> None:
        """Records that `by` lets exactly this version and evidence serve. Raises UnblessedModel; NotApproved without a `why`."""
        if not why.strip():
            remedy = "legal: the reason for the approval. Read its evaluation and say why it may serve"
            raise NotApproved(f"{self.use_case.name} · version {version} · why = {why!r}; {remedy}.")
        self.ledger.require_whole(self.use_case.name)
        state = self.state()
        blessed = self._blessing(state, version).body
        body = {name: blessed[name] for name in ("version", "model_digest", "evaluation_digest")} | {"why": why}
        self._append(state, "approval", body, by=by, at=at)

    def promote(self, version: int, **cause: Unpack[Cause]) -> Plan:
        """`version` alone serves from now on, as it may already. Raises UnblessedModel, NotApproved, UnknownVersion."""
        state = cause.get("decided_on") or self.state()
        if (now := state.plan) and now.champion == version and state.challenger_version is None:
            return self.publish(now)
        self._require_servable(state, version)
        previous = now.champion if now and now.champion != version else state.previous_champion
        return self._write(state, "promotion", version, Plan(state.head + 1, version, previous, at="", reason=""), cause)

    def route(
        self,
        *,
        challenger: int | None = None,
        share: float = 0.0,
        split: Split = "canary",
        shadow: int | None = None,
        by_hand: bool = True,
        **cause: Unpack[Cause],
    ) -> Plan:
        """Sets what runs next to the champion, who stays: the start of a rollout or its next step, or `by_hand` what no rollout
        changes. With no version named, the challenger is rolled back. Raises as `promote`, and IllegalRoute for what contradicts
        itself, before it is recorded.
        """
        state = cause.get("decided_on") or self.state()
        now, version = state.plan, challenger or shadow
        if now is None:
            where = f"{self.use_case.name} · no champion serves yet, so nothing can run next to it"
            raise IllegalRoute(f"{where}. {self.describe_first(state)}.")
        plan = replace(now, challenger=challenger, share=float(share), split=split, shadow=shadow)
        if shadow == now.champion:
            raise IllegalRoute(f"plan · the shadow is the champion, version {shadow}; legal: any other version. Name another.")
        if shadow is not None and shadow == challenger:
            problem = f"version {shadow} is challenger and shadow; legal: two versions, as a challenger is scored already"
            raise IllegalRoute(f"plan · {problem}. Name it once.")
        if version is None and state.challenger_version is not None:
            cause["decided_on"] = state
            return self.roll_back(**cause)
        if version is None or (plan == now and by_hand == state.by_hand):
            return self.publish(now)
        for named in filter(None, (challenger, shadow)):
            self._require_servable(state, named)
        goes_on = (version, by_hand) == (state.challenger_version, state.by_hand)
        return self._write(state, "step" if goes_on else "plan", version, plan, cause, by_hand=by_hand)

    def roll_back(self, *, by_hand: bool = False, **cause: Unpack[Cause]) -> Plan:
        """Rolls the challenger back, or else the champion; no rollout of it starts again. After one that a person decides,
        `by_hand`, nothing is trained or rolled out by itself until a person decides again. Raises IllegalRoute, UnblessedModel.
        """
        state = cause.get("decided_on") or self.state()
        now, challenger, back = state.plan, state.challenger_version, state.previous_champion
        facts = {"by_hand": True} if by_hand else {}
        if now and challenger is not None:
            alone = Plan(state.head + 1, now.champion, now.previous, at="", reason="")
            return self._write(state, "rollback", challenger, alone, cause, **facts)
        if now is None or back is None:
            where = f"{self.use_case.name} · no earlier champion is on record"
            raise IllegalRoute(f"{where}. `mlops status {self.use_case.name}` shows the history.")
        self.deployment.load_blessed(back, self.keys, recorded=self._blessing(state, back).body["model_digest"])
        alone = Plan(state.head + 1, back, now.champion, at="", reason="")
        return self._write(state, "rollback", now.champion, alone, cause, **facts)

    def hand_over(self, *, reason: str, by: str, at: datetime) -> None:
        """Lets triggers and rollouts go on after a rollback by hand. Raises IllegalRoute where nothing is held."""
        state = self.state()
        if state.hold is None:
            where = f"{self.use_case.name} · no rollback or route by hand is in force"
            raise IllegalRoute(f"{where}, so nothing can be handed over. `mlops status` shows what runs next to the champion.")
        self._append(state, "handover", {"reason": reason}, by=by, at=at)

    def publish(self, plan: Plan) -> Plan:
        """Lets servers read `plan`. Raises ConcurrentWrite where a later record replaced it, or PlanDisagrees."""
        self.deployment.publish(plan)
        if self.deployment.plan() == plan:
            return plan
        later = (record for record in self.ledger.records(self.use_case.name, after=plan.number) if "plan" in record.body)
        replaced = ", ".join(f"record {record.number} ({record.kind} by {record.by})" for record in later)
        where = f"{self.use_case.name} · {plan.title} is not in force"
        if difference := self.difference():
            raise PlanDisagrees(f"{where} · {difference}")
        raise ConcurrentWrite(f"{where}: it is recorded, and then came {replaced}. Read it and decide again.")

    def describe_first(self, state: PromotionState) -> str:
        """What brings the first champion."""
        name, version = self.use_case.name, state.waiting
        if version is None:
            return f"The first version that passes its gates will serve; `mlops run {name}` makes it"
        if self.use_case.risk == "high" and version not in state.approvals:
            return f"Version {version} is blessed and waits for `mlops approve {name} {version} --why …`"
        return f"Version {version} is blessed: a running platform lets it serve, or `mlops promote {name} {version} --why …`"

    def difference(self) -> str | None:
        """How the plan that servers read differs from the ledger's, and the remedy; None where it is the same."""
        name = self.use_case.name
        try:
            published = self.deployment.plan()
        except UnreadablePlan as error:
            return str(error)
        plan = self.state().plan  # read last, as a record is written before its plan is published
        if not (difference := describe_difference(published, plan)):
            return None
        is_ahead = plan is not None and published is not None and published.number > plan.number
        first, how = (f"Run `mlops ledger verify {name}`; then ", " --replace") if is_ahead else ("", "")
        remedy = f"{first}`mlops ledger mirror {name}{how}` lets servers read the ledger's plan."
        return f"{difference}. {remedy if plan else 'Restore the ledger from its backup.'}"

    def _write(self, state: PromotionState, kind: Kind, version: int, plan: Plan, cause: Cause, **facts: bool) -> Plan:
        self._require_newest(state)
        route, evidence = {name: getattr(plan, name) for name in ROUTE}, dict(cause.get("evidence") or {})
        body = {"version": version, "plan": route, "reason": cause["reason"], "evidence": evidence, **facts}
        return self.publish(plan_of(self._append(state, kind, body, by=cause["by"], at=cause["at"]), state.blessings))

    def _require_newest(self, state: PromotionState) -> None:
        """Raises where servers have a newer plan, which they would keep, or the ledger lacks records, such as a refusal."""
        if self._is_behind(state) and self._is_behind(self.state()):
            raise PlanDisagrees(f"{self.use_case.name} · nothing has changed · {self.difference()}")
        self.ledger.require_whole(self.use_case.name)

    def _is_behind(self, state: PromotionState) -> bool:
        with suppress(UnreadablePlan):  # it is replaced
            published = self.deployment.plan()
            return published is not None and published.number > (state.plan.number if state.plan else 0)
        return False

    def _append(self, state: PromotionState, kind: Kind, body: dict[str, Any], *, by: str, at: datetime) -> Record:
        return self.ledger.append(self.use_case.name, kind, body, by=by, at=at, after=state.head)

    def require_blessed(self, state: PromotionState, version: int) -> Record:
        """By signature and by record, and not refused since. Returns the record. Raises UnblessedModel."""
        where, blessing = f"{self.use_case.name} · version {version}", self._blessing(state, version)
        if refusal := state.refusals.get(version):
            raise UnblessedModel(f"{where} was refused by record {refusal.number}: {refusal.body['reason']} Evaluate it again.")
        self.deployment.load_blessed(version, self.keys, recorded=blessing.body["model_digest"])
        return blessing

    def _require_servable(self, state: PromotionState, version: int) -> None:
        """Blessed, and approved where the risk is high."""
        self.require_blessed(state, version)
        where = f"{self.use_case.name} · version {version}"
        if self.use_case.risk == "high" and version not in state.approvals:
            command = f"`mlops approve {self.use_case.name} {version} --why …`"
            raise NotApproved(f"{where} waits for an approval, as its risk is high. Read its evaluation, then run {command}.")

    def _blessing(self, state: PromotionState, version: int) -> Record:
        if version not in state.blessings:
            problem = f"has no blessing in the ledger; blessed: {some(sorted(state.blessings))}"
            raise UnblessedModel(f"{self.use_case.name} · version {version} {problem}. {how_to_train(self.use_case.name)}.")
        return state.blessings[version]


def _is_new(state: PromotionState, version: int, signed: Blessing) -> bool:
    """On new evidence, or after a refusal on any; a blessing older than the recorded one or the refusal never is."""
    recorded, refusal = state.blessings.get(version), state.refusals.get(version)
    if recorded is None:
        return True
    before = Blessing.from_json(recorded.body["blessing"])
    since = [before.blessed_at, *([refusal.at] if refusal else [])]
    reconsidered = refusal is not None or signed.evaluation_digest != before.evaluation_digest
    return reconsidered and datetime.fromisoformat(signed.blessed_at) >= max(map(datetime.fromisoformat, since))
