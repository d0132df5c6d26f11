"""What is placed for servers, and the ledger, against each other; and signing recorded blessings with another key."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from mlops_assets.promotion.blessing import Blessing, UnblessedModel, verify
from mlops_assets.promotion.deployment import Deployment, UnreadablePlan
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.promotion.ledger_chain import DamagedLedger, Record
from mlops_assets.promotion.promotion_state import PromotionState, promotion_state_of
from mlops_assets.promotion.signing_keys import SigningKeys
from mlops_assets.training.signature import digest

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
        state = self._state()
        return [version for version in self.signed_with(key_id) if version in state.needed and self._is_valid(state, version)]

    def faults(self) -> list[str]:
        """Of the chain, also against the remembered record and the plan that servers read; of a sound chain, where the model of
        a placed version is not the one that the ledger blessed. A sentence each.
        """
        try:
            plan = self.deployment.plan()
        except UnreadablePlan as error:
            return [*self.ledger.verify(self.use_case), f"{self.use_case} · {error}"]
        # The plan names the newest record that changed it.
        mirrored = (plan.number, plan.record) if plan and plan.record else None
        return self.ledger.verify(self.use_case, mirrored=mirrored) or [*self._swapped()]

    def alarm(self) -> str:
        """The faults in one line, with what to do; empty where there is none."""
        if not (faults := self.faults()):
            return ""
        more = f" {len(faults) - SHOWN:,} more: `mlops ledger verify {self.use_case}`." if len(faults) > SHOWN else ""
        accept = f"`mlops ledger mirror {self.use_case} --replace` goes on without records that were cut off"
        return f"{' '.join(faults[:SHOWN])}{more} Restore the newest backup; {accept}."

    def _swapped(self) -> Iterator[str]:
        if not (versions := self.deployment.versions()):
            return
        state = self._state()
        for version in versions:
            blessed, where = state.digest_of(version), f"{self.use_case} · version {version}"
            try:
                placed = digest(self.deployment.load(version)[0])
            except OSError as error:
                yield f"{where} cannot be read: {error.strerror}, {error.filename}."
                continue
            if blessed not in (None, placed):
                yield f"{where} has digest {placed[:12]}…; the ledger blessed {blessed[:12]}…."

    def reissue(self, version: int, *, by: str, at: datetime) -> Record:
        """Signs the recorded blessing of a placed version with the current key: the same evidence, recorded, then placed. The
        ledger vouches for it, so the key that signed before may be unknown by now. Raises UnblessedModel, DamagedLedger,
        ConcurrentWrite; nothing has changed then.
        """
        if faults := self.ledger.verify(self.use_case):
            raise DamagedLedger(f"{' '.join(faults)} Restore the ledger from its backup before signing what it records.")
        state, (onnx, placed) = self._state(), self.deployment.load(version)
        if (recorded := state.blessings.get(version)) is None:
            problem = "has no blessing in the ledger, so there is nothing to sign again"
            raise UnblessedModel(f"{self.use_case} · version {version} {problem}. Materialize its evaluation and blessing.")
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

    def _state(self) -> PromotionState:
        return promotion_state_of(self.use_case, self.ledger.records(self.use_case))

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
