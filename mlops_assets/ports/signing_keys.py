"""The key pairs with which blessings are signed, as files.

Belongs here: making a private key, putting another in its place, reading and withdrawing. Not here: signing
(stages/bless.py). A server needs the `public` folder only; the private key stays with the trainer.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mlops_assets.ports.durable_file import replace_file, sync_folder, write_aside

Key = TypeVar("Key")


class UnreadableKey(ValueError):
    """A key file that holds no Ed25519 key."""


class UnknownKey(LookupError):
    """A key id under which no public key lies."""


class NotOurs(PermissionError):
    """A private key that is given from outside is changed there."""


class StillSigns(PermissionError):
    """The key to be withdrawn signs what is blessed next, which would bring it back."""


class SigningKeys:
    """Ed25519 keys below `folder`: `private.pem` (mode 0600) and `public/<key id>.pem`.

    `given` is the file of a private key that a secret store hands over; none is made then.
    """

    def __init__(self, folder: Path, given: Path | None = None) -> None:
        self._given = given
        self._private = given or folder / "private.pem"
        self._public = folder / "public"

    def private(self) -> Ed25519PrivateKey:
        """The private key, made on first use; of several first users one wins and all get its key. Raises UnreadableKey."""
        if not self._given and not self._private.exists():
            self._make()
        key = self._read_private()
        self._publish(key.public_key())
        return key

    def public(self) -> dict[str, Ed25519PublicKey]:
        """Every known public key by its id; empty before the first signing. Raises UnreadableKey."""
        return {path.stem: _read_public(path) for path in sorted(self._public.glob("*.pem"))}

    def current(self) -> str | None:
        """The id of the key that signs; None before the first signing. Raises UnreadableKey."""
        return _name(self._read_private().public_key()) if self._given or self._private.exists() else None

    def rotate(self) -> str:
        """Signs with a new key from now on, whose id it returns; what older ones signed stays valid until they are withdrawn.

        Raises NotOurs.
        """
        if self._given:
            raise NotOurs(f"{self._given} · is given from outside. Put the new key into the secret store instead.")
        key = Ed25519PrivateKey.generate()
        self._publish(key.public_key())  # first: a server must know the key before anything is signed with it
        written = write_aside(self._private, _pem(key))
        written.replace(self._private)
        sync_folder(self._private.parent)
        return _name(key.public_key())

    def withdraw(self, key_id: str) -> None:
        """What this key signed is no blessing any more, once servers load it again. Raises UnknownKey, StillSigns,
        UnreadableKey.
        """
        known = self.public()
        if key_id not in known:
            raise UnknownKey(f"signing keys · {key_id!r} is not known; known: {', '.join(known) or 'none'}. Use one of these.")
        if key_id == self.current():
            way = "Put another key into the secret store" if self._given else "Run `mlops signing rotate`"
            raise StillSigns(f"signing keys · {key_id} signs what is blessed next. {way}, then withdraw it.")
        (self._public / f"{key_id}.pem").unlink()
        sync_folder(self._public)

    def _make(self) -> None:
        written = write_aside(self._private, _pem(Ed25519PrivateKey.generate()))
        try:
            os.link(written, self._private)  # unlike a rename, a link never replaces the key of a faster process
        except FileExistsError:
            pass
        finally:
            written.unlink()

    def _read_private(self) -> Ed25519PrivateKey:
        if not self._private.exists():
            raise UnreadableKey(f"{self._private} · the signing key is missing. Mount the secret, or correct MLOPS_SIGNING_KEY.")
        key = _read(self._private, lambda pem: serialization.load_pem_private_key(pem, password=None))
        if not isinstance(key, Ed25519PrivateKey):
            raise UnreadableKey(f"{self._private} · holds another kind of key; legal: Ed25519. Move it away.")
        return key

    def _publish(self, key: Ed25519PublicKey) -> None:
        path = self._public / f"{_name(key)}.pem"
        if not path.exists():
            pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            replace_file(path, pem)


def _name(key: Ed25519PublicKey) -> str:
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def _pem(key: Ed25519PrivateKey) -> bytes:
    said = serialization
    return key.private_bytes(said.Encoding.PEM, said.PrivateFormat.PKCS8, said.NoEncryption())


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
