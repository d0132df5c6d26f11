"""What is placed for servers, and the ledger, against each other; and signing recorded blessings with another key."""

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from mlops_assets.promotion.blessing import Blessing, UnblessedModel, verify
from mlops_assets.promotion.deployment import Deployment, Plan, UnreadablePlan
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.promotion.ledger_chain import DamagedLedger, Record
from mlops_assets.promotion.promotion_state import PromotionState, how_to_train, promotion_state_of
from mlops_assets.promotion.signing_keys import SigningKeys
from mlops_assets.training.digest import digest

SHOWN = 3
UNUSABLE = (UnblessedModel, FileNotFoundError)  # what no server loads


@dataclass(frozen=True)
class PlacedVersions:
    """The placed versions of one use case, declared or not. Raises LedgerDown."""

    use_case: str
    ledger: Ledger
    deployment: Deployment
    keys: SigningKeys

    def signed_with(self, key_id: str) -> list[int]:
        """Those whose blessing names this key."""
        return [version for version in self.deployment.versions() if self._signer(version) == key_id]

    def needing(self, key_id: str) -> list[int]:
        """Those that serve, could be rolled back to or wait, and are valid by the signature of this key alone."""
        state = self.ledger.state(self.use_case)
        return [version for version in self.signed_with(key_id) if version in state.needed and self._is_valid(state, version)]

    def faults(self) -> list[str]:
        """Of the chain, also against the remembered record and the one that the servers' plan names; of that plan against its
        record; of a sound chain, where the model of a placed or needed version is not the one that the ledger blessed. A sentence
        each.
        """
        chain, plan = self._find_faults()
        return [*chain, *plan] or [*self._misplaced().values()]

    def chain_faults(self) -> list[str]:
        """Those of the ledger itself."""
        return self._find_faults()[0]

    def misplaced(self) -> list[int]:
        """Versions whose placed model is not the one that the ledger blessed, or that are needed and not placed."""
        return [*self._misplaced()]

    def restore(self, version: int, onnx: bytes) -> None:
        """Places a model again under the newest blessing that the ledger has of it. Raises UnblessedModel."""
        records = [record for record in self.ledger.records(self.use_case) if "blessing" in record.body]
        text = next(record.body["blessing"] for record in reversed(records) if record.body["version"] == version)
        recorded, keys = self.ledger.state(self.use_case).digest_of(version), self.keys.public()
        verify(Blessing.from_json(text), use_case=self.use_case, version=version, onnx=onnx, public_keys=keys, recorded=recorded)
        self.deployment.restore(version, onnx, text)

    def alarm(self) -> str:
        """The faults in one line, with what to do; empty where there is none."""
        chain, shown = self.chain_faults(), self.faults()
        if not shown:
            return ""
        more = f" {len(shown) - SHOWN:,} more: `mlops ledger verify {self.use_case}`." if len(shown) > SHOWN else ""
        accept = f"`mlops ledger mirror {self.use_case} --replace` goes on without records that were cut off"
        remedy = f" Restore the newest backup; {accept}." if chain else ""
        return f"{' '.join(shown[:SHOWN])}{more}{remedy}"

    def _find_faults(self) -> tuple[list[str], list[str]]:
        """Of the chain, and of the plan that servers read."""
        try:
            plan = self.deployment.plan()
        except UnreadablePlan as error:
            return self.ledger.verify(self.use_case), [f"{self.use_case} · {error}"]
        chain = self.ledger.verify(self.use_case)
        if chain or plan is None or not plan.record:  # the last of an earlier release
            return chain, []
        if edited := self._find_edits(plan):
            how = " --replace" if plan.number > self.ledger.state(self.use_case).head else ""
            remedy = f"`mlops ledger mirror {self.use_case}{how}` writes it again"
            return [], [f"{self.use_case} · plan.json was edited: it has {edited}. {remedy}."]
        return self.ledger.verify(self.use_case, mirrored=(plan.number, plan.record)), []

    def _find_edits(self, plan: Plan) -> str:
        """Where a plan is not what the record with its digest put in force. Without such a record, the ledger may lack it."""
        records = self.ledger.records(self.use_case)
        count = next((count for count, record in enumerate(records, start=1) if record.digest == plan.record), 0)
        recorded = promotion_state_of(self.use_case, records[:count]).plan
        return plan.differences(recorded) if recorded else ""

    def _misplaced(self) -> dict[int, str]:
        """A sentence for each version."""
        placed = self.deployment.versions()
        state = self.ledger.state(self.use_case)
        needed = [version for version in sorted(state.needed - {*placed}) if version in state.blessings]
        problems = {version: "is not placed, and it serves, waits or can be rolled back to" for version in needed}
        problems |= {version: problem for version in placed if (problem := self._compare(version, state.digest_of(version)))}
        remedy = f"`mlops ledger mirror {self.use_case}` places the model that the ledger blessed"
        return {version: f"{self.use_case} · version {version} {problem}. {remedy}." for version, problem in problems.items()}

    def _compare(self, version: int, blessed: str | None) -> str:
        try:
            placed = digest(self.deployment.load(version)[0])
        except OSError as error:
            return f"cannot be read: {error.strerror}, {error.filename}"
        return "" if blessed in (None, placed) else f"has digest {placed[:12]}…; the ledger blessed {blessed[:12]}…"

    def reissue(self, version: int, *, by: str, at: datetime) -> Record:
        """Signs the recorded blessing of a placed version with the current key: the same evidence, recorded, then placed. The
        ledger vouches for it, so the key that signed before may be unknown by now. Raises UnblessedModel, DamagedLedger,
        ConcurrentWrite; nothing has changed then.
        """
        if faults := self.ledger.verify(self.use_case):
            raise DamagedLedger(f"{' '.join(faults)} Restore the ledger from its backup before signing what it records.")
        state, (onnx, placed) = self.ledger.state(self.use_case), self.deployment.load(version)
        if (recorded := state.blessings.get(version)) is None:
            problem = "has no blessing in the ledger, so there is nothing to sign again"
            raise UnblessedModel(f"{self.use_case} · version {version} {problem}. {how_to_train(self.use_case)}.")
        numbered = replace(Blessing.from_json(recorded.body["blessing"]), version=version)
        signed = numbered.signed_by(self.keys.private())
        keys, blessed = self.keys.public(), state.digest_of(version)
        verify(signed, use_case=self.use_case, version=version, onnx=onnx, public_keys=keys, recorded=blessed)
        body = {"version": version, "key_id": signed.key_id, "replaced": Blessing.from_json(placed).key_id}
        reason = f"signed with {signed.key_id} instead of {body['replaced']}"
        body |= {"reason": reason, "blessing": signed.to_json()}
        record = self.ledger.append(self.use_case, "reissue", body, by=by, at=at, after=state.head)
        self.deployment.replace_blessing(version, signed.to_json())
        return record

    def _is_valid(self, state: PromotionState, version: int) -> bool:
        try:
            self.deployment.load_blessed(version, self.keys, recorded=state.digest_of(version))
        except UNUSABLE:
            return False
        return True

    def _signer(self, version: int) -> str | None:
        with suppress(*UNUSABLE):
            return Blessing.from_json(self.deployment.load(version)[1]).key_id
        return None
