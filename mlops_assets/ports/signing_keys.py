"""The key pair with which blessings are signed, as files.

Belongs here: making the private key once, reading private and public keys. Not here: signing (stages/bless.py).
A server needs the `public` folder only; the private key stays with the trainer.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mlops_assets.ports.durable_file import replace_file, write_aside

Key = TypeVar("Key")


class UnreadableKey(ValueError):
    """A key file that holds no Ed25519 key."""


class SigningKeys:
    """Ed25519 keys below `folder`: `private.pem` (mode 0600) and `public/<key id>.pem`."""

    def __init__(self, folder: Path) -> None:
        self._private = folder / "private.pem"
        self._public = folder / "public"

    def private(self) -> Ed25519PrivateKey:
        """The private key, made on first use; of several first users one wins and all get its key. Raises UnreadableKey."""
        if not self._private.exists():
            self._make()
        key = self._read_private()
        self._publish(key.public_key())
        return key

    def public(self) -> dict[str, Ed25519PublicKey]:
        """Every known public key by its id; empty before the first signing. Raises UnreadableKey."""
        return {path.stem: _read_public(path) for path in sorted(self._public.glob("*.pem"))}

    def _make(self) -> None:
        pem = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        written = write_aside(self._private, pem)
        try:
            os.link(written, self._private)  # unlike a rename, a link never replaces the key of a faster process
        except FileExistsError:
            pass
        finally:
            written.unlink()

    def _read_private(self) -> Ed25519PrivateKey:
        key = _read(self._private, lambda pem: serialization.load_pem_private_key(pem, password=None))
        if not isinstance(key, Ed25519PrivateKey):
            raise UnreadableKey(f"{self._private} · holds another kind of key; legal: Ed25519. Move it away.")
        return key

    def _publish(self, key: Ed25519PublicKey) -> None:
        path = self._public / f"{hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]}.pem"
        if not path.exists():
            pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            replace_file(path, pem)


def _read(path: Path, parse: Callable[[bytes], Key]) -> Key:
    try:
        return parse(path.read_bytes())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UnreadableKey(f"{path} · is not a PEM key: {error}. Restore it, or move it away.") from None


def _read_public(path: Path) -> Ed25519PublicKey:
    key = _read(path, serialization.load_pem_public_key)
    if not isinstance(key, Ed25519PublicKey):
        raise UnreadableKey(f"{path} · holds another kind of key; legal: Ed25519. Remove it.")
    return key
