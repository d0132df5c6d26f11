"""Files that are there whole or not at all, and stay after a power cut.

Belongs here: writing one file beside its place and moving it there. Not here: what any file says.
"""

import os
import tempfile
from pathlib import Path


def write_aside(path: Path, content: bytes) -> Path:
    """A complete, durable file of mode 0600 in the folder of `path`, to be linked or renamed into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, aside = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        os.fsync(file.fileno())
    return Path(aside)


def replace_file(path: Path, content: bytes) -> None:
    """Readers see the old file or the new one, never a part of either."""
    write_aside(path, content).rename(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes the names in `folder` durable; without it a renamed file can vanish in a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
