"""One landed file: opened without waiting, hashed while it is read, and what is wrong with an entry that is no such file."""

import errno
import hashlib
import io
import os
from collections.abc import Generator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from stat import S_ISREG
from typing import Any

DIGEST_BYTES = 6
DELETED = "it was deleted, and its rows stay in use. Land it again, or a file with the header alone to retract them"


class Hashed(io.RawIOBase):
    """A file, with the hash of what has been read of it."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file, self.hash = file, hashlib.blake2b(digest_size=DIGEST_BYTES)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        count = self._file.readinto(buffer)
        self.hash.update(buffer[:count])
        return count

    def drain(self) -> None:
        """Reads what is left, which no reader needed."""
        while rest := self._file.read(1 << 20):
            self.hash.update(rest)


@contextmanager
def opened(path: Path, max_bytes: int) -> Generator[io.BufferedReader]:
    """A file of at most `max_bytes`; of anything else an OSError, without waiting for it."""
    # Without O_NONBLOCK, opening a named pipe waits for its writer.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        stat = os.fstat(file.fileno())
        if not S_ISREG(stat.st_mode):
            raise IsADirectoryError
        if stat.st_size > max_bytes:
            legal = f"legal: at most {max_bytes:,}. Deliver fewer rows, or raise max_bytes of the source"
            raise OSError(errno.EFBIG, f"it has {stat.st_size:,} bytes; {legal}")
        yield file


def read_bytes(path: Path, max_bytes: int) -> bytes:
    with opened(path, max_bytes) as file:
        return file.read()


@lru_cache(maxsize=100_000)
def content_digest(path: Path, max_bytes: int, _version: tuple[int, ...]) -> str:
    with opened(path, max_bytes) as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=DIGEST_BYTES)).hexdigest()


def describe(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        is_link = os.path.islink(error.filename)
        return "it is a link to a file that does not exist. Deliver the file itself" if is_link else DELETED
    if isinstance(error, IsADirectoryError):
        return "it is a folder, a pipe or a device; legal: a file. Remove it"
    if error.errno == errno.EFBIG:
        return str(error.strerror)
    return f"it cannot be read: {error.strerror}. Correct the entry or its permissions"
