"""The signed statement (Ed25519) that one exact model passed every gate on exactly this evidence."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Self, cast

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import TypeAdapter, ValidationError

from mlops_assets.foundation.verdict import gate_result
from mlops_assets.promotion.ledger_chain import canonical_json
from mlops_assets.promotion.signing_keys import key_id
from mlops_assets.training.digest import digest


class UnblessedModel(ValueError):
    """A model that must not serve: it failed a gate, or no valid blessing covers these bytes."""


@dataclass(frozen=True)
class GateVerdict:
    """One gate over an evaluation. `measured` is None where nothing was measured, `low` and `high` without an interval."""

    name: str
    passed: bool
    measured: float | None
    bound: float
    low: float | None = None
    high: float | None = None

    @property
    def lacks_data(self) -> bool:
        """Whether there was too little to judge: a blessing has only gates that passed."""
        return self.measured is None

    @property
    def result(self) -> str:
        return gate_result(passed=self.passed, lacks_data=self.lacks_data)


@dataclass(frozen=True)
class Blessing:
    """Digests are SHA-256 in hex, `blessed_at` is ISO 8601 UTC, `signature` is hex over `signed_bytes`. `training` is the
    origin of the model: table versions, fingerprint, window, code, run. Without a `version`, in blessings signed before numbers
    were, only the ledger knows to which version the model belongs.
    """

    use_case: str
    model_digest: str
    evaluation_digest: str
    gates: tuple[GateVerdict, ...]
    training: dict[str, str]
    blessed_at: str
    key_id: str = ""
    signature: str = ""
    version: int | None = None

    @property
    def signed_bytes(self) -> bytes:
        """Canonical JSON of every field but the signature, and a missing version. Raises ValueError for a NaN."""
        unsigned = {"signature"} if self.version is not None else {"signature", "version"}
        return canonical_json({name: value for name, value in asdict(self).items() if name not in unsigned}).encode()

    def signed_by(self, private_key: Ed25519PrivateKey) -> Self:
        """The same statement under the signature of this key. Raises UnblessedModel where not every gate passed."""
        _require_passed(self.use_case, self.gates)
        unsigned = replace(self, key_id=key_id(private_key.public_key()))
        return replace(unsigned, signature=private_key.sign(unsigned.signed_bytes).hex())

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True, indent=2, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Raises UnblessedModel when `text` is not the output of `to_json`."""
        try:
            return cast(Self, TypeAdapter(Blessing).validate_json(text))
        except ValidationError as error:
            detail = error.errors()[0]
            where = ".".join(str(part) for part in detail["loc"]) or "document"
            raise UnblessedModel(f"blessing · {where} · {detail['msg']}. Bless the model again.") from None


def verify(
    blessing: Blessing,
    *,
    use_case: str,
    version: int,
    onnx: bytes,
    public_keys: Mapping[str, Ed25519PublicKey],
    recorded: str | None,
) -> None:
    """Raises UnblessedModel unless a known key signed that exactly these bytes passed every gate of `use_case` as `version`.
    `recorded` is the digest that the ledger has of the version; None where the reader of the blessing does not know it.
    """
    where, key = f"{use_case} · key {blessing.key_id!r}", public_keys.get(blessing.key_id)
    if key is None:
        legal = ", ".join(sorted(public_keys)) or "none"
        remedy = "Bless the model again; what is recorded already, `mlops signing reissue KEY` signs again"
        raise UnblessedModel(f"{where} signed the blessing; known keys: {legal}. {remedy}.")
    # Before the other fields are compared: without a valid signature none of them can be trusted.
    try:
        key.verify(bytes.fromhex(blessing.signature), blessing.signed_bytes)
    except (InvalidSignature, ValueError):
        raise UnblessedModel(f"{where} did not sign this blessing: it was altered. Bless the model again.") from None
    if blessing.use_case != use_case:
        raise UnblessedModel(f"{use_case} · the blessing is for {blessing.use_case!r}. Deploy the model there.")
    if blessing.model_digest != digest(onnx):
        problem = f"the model's digest is {digest(onnx)[:12]}…, blessed was {blessing.model_digest[:12]}…"
        raise UnblessedModel(f"{use_case} · {problem}: the file is not the blessed one. Store the blessed file.")
    where, restore = f"{use_case} · version {version}", f"Restore the files of version {version}."
    if blessing.version not in (None, version):
        raise UnblessedModel(f"{where} has the blessing of version {blessing.version}. {restore}")
    if recorded not in (None, blessing.model_digest):
        digests = f"has digest {blessing.model_digest[:12]}…; the ledger blessed {(recorded or '')[:12]}…"
        raise UnblessedModel(f"{where} {digests}. {restore}")
    _require_passed(use_case, blessing.gates)


def _require_passed(use_case: str, gates: tuple[GateVerdict, ...]) -> None:
    if not gates:
        raise UnblessedModel(f"{use_case} · no gate judged this model; at least one must. Declare a gate and evaluate again.")
    failed = [f"gate {gate.name!r} failed: measured {gate.measured}, bound {gate.bound}" for gate in gates if not gate.passed]
    if failed:
        raise UnblessedModel(f"{use_case} · {'; '.join(failed)}. Only a model that passes every gate is blessed.")
