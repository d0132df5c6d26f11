"""The key of the hash that replaces personal data in the prediction log."""

import secrets
from pathlib import Path

from mlops_assets.foundation.atomic_file import PRIVATE, create_file


def log_secret(folder: Path) -> bytes:
    """32 bytes in `folder`, made on first use (mode 0600); of several first users one wins and all get its key.

    Without the key a person's answers cannot be found again; with it, names can be guessed from their hashes.
    """
    path = folder / "prediction_log.secret"
    if not path.exists():
        create_file(path, secrets.token_bytes(32), mode=PRIVATE)
    return path.read_bytes()
