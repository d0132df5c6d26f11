"""A blessed version as one signed file, which another environment takes over under a number of its own."""

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Self, cast

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mlops_assets.foundation import names
from mlops_assets.foundation.moments import to_minute
from mlops_assets.promotion.blessing import Blessing
from mlops_assets.promotion.ledger_chain import canonical_json
from mlops_assets.promotion.mlflow_aliases import STAGE
from mlops_assets.promotion.promotions import Promotions
from mlops_assets.promotion.signing_keys import key_id
from mlops_assets.spec.use_case import Stage, UseCase
from mlops_assets.training.digest import digest
from mlops_assets.training.model_registry import MODEL, ModelRegistry

GATES = "code.evaluation"  # in the evidence of a refusal by gates: their fingerprint
MANIFEST, SIGNATURE, BLESSING = "manifest.json", "manifest.signature", "blessing.json"
FORMAT = 1
MAX_BYTES = 2 << 30  # unpacked: a few kilobytes of a ZIP file can be as many gigabytes
# What a version reads and what judged it: where a blessing has the fingerprint, and the stage that it is of.
CODES: dict[str, tuple[str, Stage]] = {
    "features, label and split": ("code.training_set", "training_set"),
    "gates, slices and task": (GATES, "evaluation"),
}
BROKEN = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, RuntimeError)  # of what is no ZIP file
EPOCH = (1980, 1, 1, 0, 0, 0)  # the same version is the same file


class UnusableExport(ValueError):
    """A file that is no export, that was altered, or that does not fit the use case as it is declared here."""


@dataclass(frozen=True)
class Export:
    """`files` are the artifacts of its MLflow run, the model among them, and its blessing. `manifest` says where it comes from,
    and has their digests: use_case, version, environment, the ledger `record` of the blessing, and the `tags` in MLflow.
    """

    manifest: Mapping[str, Any]
    files: Mapping[str, bytes]

    @property
    def blessing(self) -> Blessing:
        return Blessing.from_json(self.files[BLESSING])

    def to_bytes(self, key: Ed25519PrivateKey) -> bytes:
        """A ZIP file whose manifest is signed by the key, and has the digest of every other file."""
        manifest = canonical_json({**self.manifest, "format": FORMAT, "files": {n: digest(f) for n, f in self.files.items()}})
        signature = f"{key_id(key.public_key())} {key.sign(manifest.encode()).hex()}"
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
            for name, content in sorted({**self.files, MANIFEST: manifest, SIGNATURE: signature}.items()):
                file.writestr(zipfile.ZipInfo(name, EPOCH), content, zipfile.ZIP_DEFLATED)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes, key: Ed25519PublicKey) -> Self:
        """Raises UnusableExport unless the private half of the key signed exactly this."""
        files = _unpack(content)
        signer, _, signature = files.pop(SIGNATURE).decode(errors="replace").partition(" ")
        manifest = files.pop(MANIFEST)
        if signer != key_id(key):
            given = f"{signer[:16]} signed it, and the given key is {key_id(key)}"
            raise UnusableExport(f"export · {given}. Pass keys/public/{signer[:16]}.pem of the environment that wrote it.")
        try:
            key.verify(bytes.fromhex(signature), manifest)
        except (InvalidSignature, ValueError):
            raise UnusableExport(f"export · {signer} did not sign this manifest: it was altered. Export it again.") from None
        described = cast(dict[str, Any], json.loads(manifest))
        if described["format"] != FORMAT:
            raise UnusableExport(f"export · format {described['format']}; legal: {FORMAT}. Use the release that wrote it.")
        digests = {name: digest(one) for name, one in files.items()}
        if different := sorted({name for name, _ in digests.items() ^ described["files"].items()}):
            raise UnusableExport(f"export · {', '.join(different)} differs from the manifest. Export it again.")
        return cls(described, files)


def _unpack(content: bytes) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            size = sum(entry.file_size for entry in file.infolist())
            files = {name: file.read(name) for name in file.namelist()} if size <= MAX_BYTES else {}
    except BROKEN as error:
        raise UnusableExport(f"export · not a file of `mlops export`, or cut short: {error}. Export it again.") from None
    if size > MAX_BYTES:
        raise UnusableExport(f"export · it has {size:,} bytes unpacked; legal: at most {MAX_BYTES:,}. Do not use it.")
    if outside := [name for name in files if name.startswith("/") or ".." in name.split("/")]:
        raise UnusableExport(f"export · it has files outside its folder: {', '.join(outside)}. Do not use it.")
    if missing := {MANIFEST, SIGNATURE, BLESSING, MODEL} - files.keys():
        raise UnusableExport(f"export · it lacks {', '.join(sorted(missing))}. Pass a file of `mlops export`.")
    return files


def export(promotions: Promotions, registry: ModelRegistry, version: int, *, environment: str) -> Export:
    """A version that is blessed here. Raises UnblessedModel, NotRegistered."""
    use_case, record = promotions.use_case, promotions.require_blessed(promotions.state(), version)
    name, (onnx, blessing) = names.registered_model(use_case.name), promotions.deployment.load(version)
    manifest = {
        "use_case": use_case.name, "version": version, "environment": environment,
        "record": {"number": record.number, "digest": record.digest, "by": record.by, "at": record.at},
        "tags": {tag: value for tag, value in registry.version(name, version).tags.items() if tag != STAGE},
    }  # fmt: skip
    return Export(manifest, {**registry.files(name, version), MODEL: onnx, BLESSING: blessing.encode()})


def take_over(exported: Export, promotions: Promotions, registry: ModelRegistry, *, by: str, at: datetime) -> int:
    """Registers the version here, signs its blessing for the number that it has here, and records it, as if it had been trained
    here: its rollout, and an approval where the risk is high, are this environment's. The same file again changes nothing.
    Returns the number. Raises UnusableExport, also where this model was refused here, UnblessedModel, AlreadyPlaced.
    """
    _require_fitting(exported, promotions.use_case)
    _require_not_refused(exported, promotions)
    use_case, origin, blessing = promotions.use_case, exported.manifest, exported.blessing
    onnx, name = exported.files[MODEL], names.registered_model(use_case.name)
    source = {f"imported.{key}": str(origin[key]) for key in ("environment", "version")}
    source |= {"imported.record": origin["record"]["digest"], "imported.key_id": blessing.key_id}
    artifacts = {file: content for file, content in exported.files.items() if file not in (MODEL, BLESSING)}
    version = registry.take_over(name, onnx, artifacts, tags={**origin["tags"], **source}, description=use_case.question)
    training = {**blessing.training, **source}
    unsigned = replace(blessing, version=version, training=training, blessed_at=at.isoformat())
    signed = unsigned.signed_by(promotions.keys.private())
    promotions.bless(version, onnx, signed.to_json(), by=by, at=at)
    return version


def _require_fitting(exported: Export, use_case: UseCase) -> None:
    origin, blessing = exported.manifest, exported.blessing
    if origin["use_case"] != use_case.name:
        raise UnusableExport(f"{use_case.name} · the file is of {origin['use_case']}. Name that one.")
    where = f"{use_case.name} · version {origin['version']} of {origin['environment']}"
    if blessing.model_digest != digest(exported.files[MODEL]):
        raise UnusableExport(f"{where} · its blessing is of another model. Export it again.")
    there = {part: blessing.training.get(code) for part, (code, _) in CODES.items()}
    if different := [part for part, (_, stage) in CODES.items() if there[part] != use_case.fingerprint(stage)]:
        remedy = "Deploy the declaration and the release that it was blessed by, or train it by those of this environment"
        raise UnusableExport(f"{where} · declared otherwise here: {' and '.join(different)}. {remedy}.")


def _require_not_refused(exported: Export, promotions: Promotions) -> None:
    """A refusal here holds for the same model until there is newer evidence, or it was refused by gates that are others now."""
    state, model, use_case = promotions.state(), exported.blessing.model_digest, promotions.use_case
    gates = use_case.fingerprint("evaluation")
    for version, refusal in state.refusals.items():
        evidence = refusal.body["evidence"]
        is_older = datetime.fromisoformat(exported.blessing.blessed_at) <= datetime.fromisoformat(refusal.at)
        if evidence.get("model_digest", state.digest_of(version)) == model and evidence.get(GATES, gates) == gates and is_older:
            where = f"{use_case.name} · version {exported.manifest['version']} of {exported.manifest['environment']}"
            problem = f"this model is version {version} here, which {refusal.by} refused at {to_minute(refusal.at)}"
            reason = f"{refusal.body['reason'].rstrip('.')}. Its evaluation there is older than this refusal"
            remedy = (
                "Evaluate it there again on newer data and export it anew, change the gates in both, or train another version"
            )
            raise UnusableExport(f"{where} · {problem}: {reason}. {remedy}.")
