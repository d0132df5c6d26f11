"""Every change of what serves: checked, written into the ledger, and then shown to servers and people.

Belongs here: blessing, approving, refusing, beginning and stepping a rollout, promoting, going back. Not here: what the
records add up to (standing.py), which step a rollout takes next (rollouts.py), MLflow's mirror (mirrors.py).
A change is in force once its record is written; a process that dies before servers see it leaves that to the next one.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from mlops_assets.promotion.blessing import Blessing, UnblessedModel, verify
from mlops_assets.promotion.deployment import Deployment, IllegalRoute, Plan, Split
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.promotion.ledger_chain import Kind
from mlops_assets.promotion.promotion_state import PromotionState, plan_of, promotion_state_of
from mlops_assets.promotion.signing_keys import SigningKeys
from mlops_assets.spec.use_case import UseCase
from mlops_assets.training.signature import digest


class NotApproved(PermissionError):
    """A use case of high risk whose version nobody has approved, or no longer on this evidence."""


class NoPreviousChampion(LookupError):
    """There is no earlier champion, and nothing on trial, to go back from."""


class NotBlessed(LookupError):
    """The ledger holds no blessing of the version."""


@dataclass(frozen=True)
class Promotions:
    """One use case. Every method that changes something reads the ledger first, unless it is told by `decided_on` what was
    read, and raises ConcurrentWrite when another writer was faster: nothing has changed then, and who it was is said. Raises
    LedgerDown.
    """

    use_case: UseCase
    ledger: Ledger
    deployment: Deployment
    keys: SigningKeys

    def state(self) -> PromotionState:
        return promotion_state_of(self.use_case.name, self.ledger.records(self.use_case.name))

    def bless(self, version: int, onnx: bytes, blessing: str, *, by: str, at: datetime) -> None:
        """Lays `version` beside the server and records that it may be tried; the same again changes nothing, and neither
        does a blessing from before the newest one, or from before a refusal.

        Raises UnblessedModel, after recording the refusal; AlreadyPlaced.
        """
        standing, signed = self.state(), self._verified(version, onnx, blessing, by=by, at=at)
        # The same model, judged again, is the same version, and keeps the blessing that it was placed with.
        if version not in self.deployment.versions() or self.deployment.load(version)[0] != onnx:
            self.deployment.place(version, onnx, blessing)
        if _is_news(standing, version, signed):
            said = {"version": version, **_judged(signed), "blessing": blessing}
            self.ledger.append(self.use_case.name, "blessing", said, by=by, at=at, after=standing.head)

    def refuse(self, version: int, *, reason: str, by: str, at: datetime, evidence: Mapping[str, Any] | None = None) -> None:
        """Records that a version may not be tried, and why; saying so again changes nothing."""
        standing = self.state()
        known = standing.refusals.get(version)
        if known is None or known.body["reason"] != reason:
            said = {"version": version, "reason": reason, "evidence": dict(evidence or {})}
            self.ledger.append(self.use_case.name, "refusal", said, by=by, at=at, after=standing.head)

    def approve(self, version: int, *, why: str, by: str, at: datetime) -> None:
        """Records that the person `by` lets exactly this version, on exactly this evidence, answer. Raises NotBlessed."""
        standing = self.state()
        blessing = self._blessing(standing, version)
        said = {key: blessing.body[key] for key in ("version", "model_digest", "evaluation_digest")} | {"why": why}
        self.ledger.append(self.use_case.name, "approval", said, by=by, at=at, after=standing.head)

    def promote(
        self,
        version: int,
        *,
        reason: str,
        by: str,
        at: datetime,
        evidence: Mapping[str, Any] | None = None,
        decided_on: PromotionState | None = None,
    ) -> Plan:
        """`version` alone answers from now on; for the champion nothing changes. Raises UnblessedModel, NotApproved,
        NotBlessed, UnknownVersion.
        """
        standing = decided_on or self.state()
        if standing.plan and standing.plan.champion == version and standing.trial is None:
            return self.show(standing)
        self._demand(standing, version)
        previous = standing.plan.champion if standing.plan and standing.plan.champion != version else None
        plan = _said(champion=version, previous=previous or standing.previous)
        return self._write(standing, "promotion", version, plan, reason=reason, by=by, at=at, evidence=evidence)

    def try_out(
        self,
        *,
        challenger: int | None = None,
        share: float = 0.0,
        split: Split = "canary",
        shadow: int | None = None,
        reason: str,
        by: str,
        at: datetime,
        evidence: Mapping[str, Any] | None = None,
        decided_on: PromotionState | None = None,
    ) -> Plan:
        """Sets what runs beside the champion, who stays: a rollout's begin or its next step; with nothing named, what is on
        trial is taken back. Raises as `promote`, and IllegalRoute.
        """
        standing = decided_on or self.state()
        if standing.plan is None:
            raise NoPreviousChampion(
                f"{self.use_case.name} · nobody answers yet, so nothing can run beside. Promote a model first."
            )
        now, on_trial = standing.plan, challenger or shadow
        plan = _said(now.champion, now.previous, challenger=challenger, share=float(share), split=split, shadow=shadow)
        _demand_legal(standing, plan)
        if on_trial is None and standing.trial is not None:
            return self.roll_back(reason=reason, by=by, at=at, evidence=evidence, decided_on=standing)
        if on_trial is None or plan == _said_of(now):
            return self.show(standing)
        for version in (challenger, shadow):
            if version is not None:
                self._demand(standing, version)
        kind: Kind = "step" if on_trial == standing.trial else "plan"
        return self._write(standing, kind, on_trial, plan, reason=reason, by=by, at=at, evidence=evidence)

    def roll_back(
        self,
        *,
        reason: str,
        by: str,
        at: datetime,
        evidence: Mapping[str, Any] | None = None,
        decided_on: PromotionState | None = None,
    ) -> Plan:
        """Takes what is on trial back, or else the champion: the one before answers again, and neither is tried by itself
        any more. Raises NoPreviousChampion, UnblessedModel.
        """
        standing = decided_on or self.state()
        now, back = standing.plan, standing.previous
        if now and standing.trial is not None:
            plan = _said(now.champion, now.previous)
            return self._write(standing, "rollback", standing.trial, plan, reason=reason, by=by, at=at, evidence=evidence)
        if now is None or back is None:
            name = self.use_case.name
            raise NoPreviousChampion(f"{name} · no earlier champion is on record. `mlops status {name}` shows the history.")
        self._demand_blessing(back)
        plan = _said(champion=back, previous=now.champion)
        return self._write(standing, "rollback", now.champion, plan, reason=reason, by=by, at=at, evidence=evidence)

    def show(self, standing: PromotionState) -> Plan:
        """Lets servers see the plan in force; the same again changes nothing."""
        assert standing.plan is not None
        self.deployment.publish(standing.plan)
        return standing.plan

    def _write(
        self, standing: PromotionState, kind: Kind, version: int | None, plan: dict[str, Any], *, reason: str, by: str,
        at: datetime,
        evidence: Mapping[str, Any] | None,
    ) -> Plan:  # fmt: skip
        said = {"version": version, "plan": plan, "reason": reason, "evidence": dict(evidence or {})}
        written = plan_of(self.ledger.append(self.use_case.name, kind, said, by=by, at=at, after=standing.head))
        self.deployment.publish(written)
        return written

    def _demand(self, standing: PromotionState, version: int) -> None:
        """What may receive traffic: blessed by signature and by record, not refused since, approved where the risk is high."""
        blessing, refused = self._blessing(standing, version), standing.refusals.get(version)
        if refused is not None:
            why = f"was refused by record {refused.number}: {refused.body['reason']}"
            raise UnblessedModel(f"{self.use_case.name} · version {version} {why} Judge it again.")
        found = self._demand_blessing(version)
        if blessing.body["model_digest"] != found.model_digest:
            raise UnblessedModel(
                f"{self.use_case.name} · version {version} is placed with digest {found.model_digest[:12]}…; the ledger blessed "
                f"{str(blessing.body['model_digest'])[:12]}…. Bless it again."
            )
        if self.use_case.risk == "high" and version not in standing.approvals:
            raise NotApproved(
                f"{self.use_case.name} · version {version} waits for an approval, for its risk is high: "
                f"`mlops approve {self.use_case.name} {version} --why …` after reading its evaluation."
            )

    def _demand_blessing(self, version: int) -> Blessing:
        onnx, text = self.deployment.load(version)
        blessing = Blessing.from_json(text)
        verify(blessing, use_case=self.use_case.name, onnx=onnx, public_keys=self.keys.public())
        return blessing

    def _blessing(self, standing: PromotionState, version: int) -> Any:
        if version not in standing.blessings:
            legal = ", ".join(map(str, sorted(standing.blessings))) or "none"
            raise NotBlessed(
                f"{self.use_case.name} · version {version} has no blessing in the ledger; blessed: {legal}. Judge it."
            )
        return standing.blessings[version]

    def _verified(self, version: int, onnx: bytes, blessing: str, *, by: str, at: datetime) -> Blessing:
        try:
            signed = Blessing.from_json(blessing)
            verify(signed, use_case=self.use_case.name, onnx=onnx, public_keys=self.keys.public())
        except UnblessedModel as error:
            self.refuse(version, reason=str(error), by=by, at=at, evidence={"model_digest": digest(onnx)})
            raise
        return signed


def _is_news(standing: PromotionState, version: int, signed: Blessing) -> bool:
    """A blessing counts once. After a refusal one made since counts, be it on the same evidence; an older one never does."""
    known, refused = standing.blessings.get(version), standing.refusals.get(version)
    if known is None:
        return True
    before = Blessing.from_json(known.body["blessing"])
    since = [before.blessed_at, *([refused.at] if refused else [])]
    judged_anew = refused is not None or signed.evaluation_digest != before.evaluation_digest
    return judged_anew and datetime.fromisoformat(signed.blessed_at) >= max(map(datetime.fromisoformat, since))


def _judged(blessing: Blessing) -> dict[str, Any]:
    gates = [asdict(gate) for gate in blessing.gates]
    return {"model_digest": blessing.model_digest, "evaluation_digest": blessing.evaluation_digest, "gates": gates}


def _demand_legal(standing: PromotionState, plan: Mapping[str, Any]) -> None:
    """Raises IllegalRoute: what servers could not read, or what tries nothing out, is not worth a record."""
    tried = Plan(number=standing.head + 1, at="", reason="", **plan)
    if tried.shadow == tried.champion:
        raise IllegalRoute(f"plan · the shadow is the champion, version {tried.champion}; legal: any other. Name another.")


def _said(
    champion: int,
    previous: int | None,
    *,
    challenger: int | None = None,
    share: float = 0.0,
    split: Split = "canary",
    shadow: int | None = None,
) -> dict[str, Any]:
    """A plan as a record says it: without number, moment and reason, which are the record's own."""
    beside = {"challenger": challenger, "share": share, "split": split, "shadow": shadow}
    return {"champion": champion, "previous": previous, **beside}


def _said_of(plan: Plan) -> dict[str, Any]:
    return _said(plan.champion, plan.previous, challenger=plan.challenger, share=plan.share, split=plan.split, shadow=plan.shadow)
