"""Personal data in the prediction log: hashed with a key of the home."""

import hashlib
import secrets
import stat
from pathlib import Path

from mlops_assets.foundation.atomic_file import PRIVATE, create_file

SECRET = "prediction_log.secret"  # of a home's keys


def keyed_hash(value: object, secret: bytes) -> str:
    """32 hex digits in place of personal data. The key keeps others from hashing every possible name and number."""
    if not secret:
        raise ValueError("prediction log · it hashes personal data, and no key is given. Pass `secret`.")
    return hashlib.blake2b(str(value).encode(), key=secret, digest_size=16).hexdigest()


def log_secret(folder: Path) -> bytes:
    """The key of `keyed_hash`: 32 bytes in `folder`, made on first use; of several first users one wins. Its mode is 0600, or
    0640 in a folder with the set-group-ID bit, by which the users of server and platform share it. Without it a person's answers
    cannot be found again; with it, names can be guessed from their hashes.
    """
    path = folder / SECRET
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        is_shared = bool(folder.stat().st_mode & stat.S_ISGID)
        create_file(path, secrets.token_bytes(32), mode=PRIVATE | (stat.S_IRGRP if is_shared else 0))
    return path.read_bytes()


def known_secret(folder: Path) -> bytes:
    """As `log_secret`, and creates nothing: before the first answer no value is stored as a hash, and any key finds none."""
    path = folder / SECRET
    return path.read_bytes() if path.exists() else secrets.token_bytes(32)
