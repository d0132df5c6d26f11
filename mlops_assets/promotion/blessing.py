"""The signed statement (Ed25519) that one exact model passed every gate on exactly this evidence."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Self, cast

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import TypeAdapter, ValidationError

from mlops_assets.promotion.ledger_chain import canonical_json
from mlops_assets.promotion.signing_keys import key_id
from mlops_assets.training.signature import digest


class GatesNotPassed(ValueError):
    """A candidate that failed a gate, or that no gate judged."""


class UnblessedModel(ValueError):
    """A model that must not serve: no valid blessing covers these bytes."""


@dataclass(frozen=True)
class GateVerdict:
    """One gate over an evaluation. `measured` is None where there was nothing to measure (no champion yet); JSON has no NaN.

    `low` and `high` are the interval of what was measured, None where there is none.
    """

    name: str
    passed: bool
    measured: float | None
    bound: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Blessing:
    """Digests are SHA-256 in hex, `blessed_at` is ISO 8601 UTC, `signature` is hex over `signed_bytes`.

    `training` is the origin of the model: table versions, fingerprint, window, code, run.
    """

    use_case: str
    model_digest: str
    evaluation_digest: str
    gates: tuple[GateVerdict, ...]
    training: dict[str, str]
    blessed_at: str
    key_id: str
    signature: str = ""

    @property
    def signed_bytes(self) -> bytes:
        """Canonical JSON of every field but the signature. Raises ValueError for a NaN."""
        return canonical_json({name: value for name, value in asdict(self).items() if name != "signature"}).encode()

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


def bless(
    *,
    use_case: str,
    onnx: bytes,
    evaluation_digest: str,
    gates: tuple[GateVerdict, ...],
    training: Mapping[str, str],
    blessed_at: datetime,
    private_key: Ed25519PrivateKey,
) -> Blessing:
    """Signs that the model `onnx` passed `gates`. Raises GatesNotPassed."""
    if reason := _failure(gates):
        raise GatesNotPassed(f"{use_case} · {reason}")
    unsigned = Blessing(
        use_case=use_case,
        model_digest=digest(onnx),
        evaluation_digest=evaluation_digest,
        gates=tuple(
            replace(gate, measured=_finite(gate.measured), low=_finite(gate.low), high=_finite(gate.high)) for gate in gates
        ),
        training=dict(training),
        blessed_at=blessed_at.isoformat(),
        key_id=key_id(private_key.public_key()),
    )
    return replace(unsigned, signature=private_key.sign(unsigned.signed_bytes).hex())


def verify(blessing: Blessing, *, use_case: str, onnx: bytes, public_keys: Mapping[str, Ed25519PublicKey]) -> None:
    """Raises UnblessedModel unless a known key signed that exactly these bytes passed every gate of `use_case`."""
    if reason := _objection(blessing, use_case, onnx, public_keys):
        raise UnblessedModel(f"{use_case} · {reason}")


def _failure(gates: tuple[GateVerdict, ...]) -> str | None:
    if not gates:
        return "no gate judged this model; at least one is required. Declare a gate and evaluate again."
    failed = [f"gate {gate.name!r} failed: measured {gate.measured}, bound {gate.bound}" for gate in gates if not gate.passed]
    return f"{'; '.join(failed)}. Only a model that passes every gate is blessed." if failed else None


def _objection(blessing: Blessing, use_case: str, onnx: bytes, public_keys: Mapping[str, Ed25519PublicKey]) -> str | None:
    known = public_keys.get(blessing.key_id)
    if known is None:
        legal = ", ".join(sorted(public_keys)) or "none"
        return f"the blessing is signed by key {blessing.key_id!r}; known keys: {legal}. Bless the model with a known key."
    # Before the other fields are compared: without a valid signature none of them can be trusted.
    if not _is_signed(blessing, known):
        return f"the signature of key {blessing.key_id!r} does not match the blessing: it was altered. Bless the model again."
    if blessing.use_case != use_case:
        return f"the blessing is for {blessing.use_case!r}. Deploy the model there."
    if blessing.model_digest != digest(onnx):
        found, legal = digest(onnx)[:12], blessing.model_digest[:12]
        return f"the model's digest is {found}…, blessed was {legal}…: the file is not the blessed one. Store the blessed file."
    return _failure(blessing.gates)


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None


def _is_signed(blessing: Blessing, key: Ed25519PublicKey) -> bool:
    try:
        key.verify(bytes.fromhex(blessing.signature), blessing.signed_bytes)
    except (InvalidSignature, ValueError):
        return False
    return True
