"""The key of the hash that stands for personal data in the prediction log.

Belongs here: making it once, reading it. Not here: hashing (prediction_log.py). Who loses it cannot find a person's answers
again; who tells it lets names be guessed.
"""

import secrets
from pathlib import Path

from mlops_assets.foundation.atomic_file import PRIVATE, create_file

BYTES = 32


def log_secret(folder: Path) -> bytes:
    """32 bytes below `folder`, made on first use (mode 0600); of several first users one wins and all get its key."""
    path = folder / "prediction_log.secret"
    if not path.exists():
        create_file(path, secrets.token_bytes(BYTES), mode=PRIVATE)
    return path.read_bytes()
