"""The Ed25519 key pairs that sign blessings, as files. A server needs the `public` folder only."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mlops_assets.foundation.atomic_file import PRIVATE, create_file, replace_file, sync_folder

Key = TypeVar("Key")
RESTORE = "Restore the file, or correct MLOPS_SIGNING_KEY."


class UnusableKey(ValueError):
    """A key file that holds no Ed25519 key, or a key that cannot be rotated or withdrawn."""


class SigningKeys:
    """`private.pem` and `public/<key id>.pem` in `folder`; `external` is the file of a secret store. Raises UnusableKey."""

    def __init__(self, folder: Path, external: Path | None = None) -> None:
        self._external = external
        self._private = external or folder / "private.pem"
        self._public = folder / "public"

    def private(self) -> Ed25519PrivateKey:
        """The private key, created on first use; concurrent first users all get the same one."""
        if not self._external and not self._private.exists():
            create_file(self._private, _to_pem(Ed25519PrivateKey.generate()), mode=PRIVATE)
        key = self._read_private()
        self._publish(key.public_key())
        return key

    def public(self) -> dict[str, Ed25519PublicKey]:
        """Every known public key by its id; empty before the first signing."""
        files = sorted(self._public.glob("*.pem"))
        return {file.stem: _read(file, serialization.load_pem_public_key, Ed25519PublicKey) for file in files}

    def current(self) -> str | None:
        """The id of the key that signs; None before the first signing."""
        return key_id(self._read_private().public_key()) if self._external or self._private.exists() else None

    def rotate(self) -> str:
        """Signs with a new key from now on and returns its id; signatures of older keys stay valid. Raises UnusableKey."""
        if self._external:
            raise UnusableKey(f"{self._external} · this key comes from a secret store. Replace it there.")
        key = Ed25519PrivateKey.generate()
        self._publish(key.public_key())  # first: a server must know the key before anything is signed with it
        replace_file(self._private, _to_pem(key), mode=PRIVATE)
        return key_id(key.public_key())

    def withdraw(self, key_id: str, *, needed_by: Sequence[str]) -> None:
        """Makes all signatures of this key invalid from the next load on. Raises UnusableKey, as while versions need it."""
        if key_id not in (known := self.public()):
            problem = f"{key_id!r} is not known; known: {', '.join(known) or 'none'}"
            raise UnusableKey(f"signing keys · {problem}. Use one of these.")
        if key_id == self.current():
            remedy = "Put another key into the secret store" if self._external else "Run `mlops signing rotate`"
            raise UnusableKey(f"signing keys · {key_id} signs new blessings. {remedy}, then withdraw it.")
        if needed_by:
            problem = f"{key_id} signed what serves, waits or could be rolled back to: {', '.join(needed_by)}"
            raise UnusableKey(f"signing keys · {problem}. Run `mlops signing reissue {key_id}`, then withdraw it.")
        (self._public / f"{key_id}.pem").unlink()
        sync_folder(self._public)

    def _read_private(self) -> Ed25519PrivateKey:
        return _read(self._private, lambda pem: serialization.load_pem_private_key(pem, password=None), Ed25519PrivateKey)

    def _publish(self, key: Ed25519PublicKey) -> None:
        path = self._public / f"{key_id(key)}.pem"
        if not path.exists():
            create_file(path, key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))


def read_public(path: Path) -> Ed25519PublicKey:
    """The public key of another environment. Raises UnusableKey."""
    return _read(path, serialization.load_pem_public_key, Ed25519PublicKey, "Pass a file of its keys/public.")


def key_id(key: Ed25519PublicKey) -> str:
    """Sixteen hex digits that identify a public key."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def _to_pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _read(path: Path, parse: Callable[[bytes], object], kind: type[Key], remedy: str = RESTORE) -> Key:
    try:
        key = parse(path.read_bytes())
        if isinstance(key, kind):
            return key
        problem = "it holds another kind of key"
    except FileNotFoundError:
        problem = "the file is missing"
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        problem = str(error)
    raise UnusableKey(f"{path} · {problem}; legal: an Ed25519 key in PEM. {remedy}")
