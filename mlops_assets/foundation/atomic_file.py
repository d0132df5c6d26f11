"""Atomic, durable files: a reader gets the old content or the new, and the new one survives a power cut."""

import os
import uuid
from contextlib import suppress
from pathlib import Path

PRIVATE = 0o600
SHARED = 0o666  # without the bits of the umask


def replace_file(path: Path, content: bytes, *, mode: int | None = None, syncs_folder: bool = True) -> None:
    """Without `mode` a replaced file keeps its mode, and a new one gets that of the umask. Who replaces many files of one folder
    may call `sync_folder` once, after the last one.
    """
    aside = write_aside(path, content, mode=SHARED if mode is None else mode)
    try:
        if mode is None and path.exists():
            aside.chmod(path.stat().st_mode & 0o777)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    if syncs_folder:
        sync_folder(path.parent)


def create_file(path: Path, content: bytes, *, mode: int = SHARED) -> None:
    """One of several processes that create `path` succeeds; an existing file stays as it is."""
    aside = write_aside(path, content, mode=mode)
    try:
        os.link(aside, path)  # unlike a rename, a link never replaces the file of a faster process
    except FileExistsError:
        return
    finally:
        aside.unlink()
    sync_folder(path.parent)


def write_aside(path: Path, content: bytes, *, mode: int = PRIVATE) -> Path:
    """A complete, durable file in the folder of `path`, to be linked or renamed into place. An OSError names `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.parent / f".new-{uuid.uuid4().hex}"
    try:
        with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        with suppress(OSError):
            aside.unlink()  # a full disk keeps no half of it
        raise OSError(error.errno, error.strerror, str(path)) from None
    return aside


def sync_folder(folder: Path) -> None:
    """Makes the names in `folder` durable; without it a renamed file can vanish in a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
