"""The content of a .gz file, and of a .zip file with one member, up to a declared size; and the other way round."""

import gzip
import io
import zlib
from pathlib import PurePath
from typing import Any, BinaryIO, cast
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile, ZipInfo

from mlops_assets.ingestion.forms.table import UnreadableFile, read_all, too_large

DAMAGES = (EOFError, zlib.error, gzip.BadGzipFile, BadZipFile, NotImplementedError, RuntimeError)  # RuntimeError: encrypted
AGAIN = "It may be half a file: deliver it again"


class Limited(io.RawIOBase):
    """Decompressed content. Reading raises UnreadableFile where it is damaged, and above `max_bytes`."""

    def __init__(self, file: Any, max_bytes: int) -> None:
        self._file, self._max_bytes, self._count = file, max_bytes, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        try:
            content = self._file.read(len(buffer))
        except DAMAGES as error:
            raise UnreadableFile(f"it cannot be decompressed: {error}. {AGAIN}") from None
        self._count += len(content)
        if self._count > self._max_bytes:
            raise UnreadableFile(too_large(self._max_bytes))
        buffer[: len(content)] = content
        return len(content)


def decompressed(file: BinaryIO, name: str, max_bytes: int) -> BinaryIO:
    """Raises UnreadableFile for a .zip file that has not one member, or a password."""
    match PurePath(name).suffix:
        case ".gz":
            return cast(BinaryIO, Limited(gzip.GzipFile(fileobj=file), max_bytes))
        case ".zip":
            return cast(BinaryIO, Limited(_open_member(io.BytesIO(read_all(file, max_bytes))), max_bytes))
        case _:
            return file


def compressed(plain: bytes, name: str, member: str = "") -> bytes:
    """As the name of the file says; `member`: the name in a .zip file."""
    match PurePath(name).suffix:
        case ".gz":
            return gzip.compress(plain, mtime=0)
        case ".zip":
            buffer = io.BytesIO()
            with ZipFile(buffer, "w", ZIP_DEFLATED) as archive:
                archive.writestr(ZipInfo(member or PurePath(name).stem), plain, ZIP_DEFLATED)  # ZipInfo has a time of its own
            return buffer.getvalue()
        case _:
            return plain


def _open_member(content: io.BytesIO) -> Any:
    try:
        archive = ZipFile(content)
        members = [name for name in archive.namelist() if not name.endswith("/")]
        if len(members) != 1:
            raise UnreadableFile(f"the archive has {len(members)} members; legal: one file. Deliver one archive for each")
        return archive.open(members[0])
    except DAMAGES as error:
        raise UnreadableFile(f"it is no readable zip file: {error}. {AGAIN}, without a password") from None
