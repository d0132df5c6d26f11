"""The API keys of the prediction service in one file: names, hashes, when each was made and revoked."""

import hashlib
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec
from filelock import FileLock

from mlops_assets.foundation.atomic_file import replace_file

PREFIX = "mlops_"  # lets secret scanners of repositories and logs find a leaked token
NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
LEGAL_NAME = "1 to 63 of a-z, 0-9, '_', '.' and '-', the first a letter or digit"


class RefusedName(ValueError):
    """A name that a new key must not have."""


class UnknownKey(LookupError):
    """No active key has this name."""


class UnreadableApiKeys(ValueError):
    """The file exists and cannot be read, or its content is not API keys."""


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """One key, without its token. `sha256` is 64 hex digits; `made_at` and `revoked_at` (None: active) are UTC."""

    name: str
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    made_at: datetime
    revoked_at: datetime | None = None


class ApiKeys:
    """`api_keys.json` in `folder`, safe for concurrent processes. A name can be used again once its key is revoked."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._file = folder, folder / "api_keys.json"

    def add(self, name: str, at: datetime, new_token: Callable[[], str]) -> str:
        """A new token, which is not stored. `new_token` returns 256 random bits as text.

        Raises RefusedName, UnreadableApiKeys.
        """
        if not NAME.fullmatch(name):
            raise RefusedName(f"API key · found name {name!r}; legal: {LEGAL_NAME}. Use such a name.")
        with self._lock():
            keys = self.entries()
            if name in _active_names(keys):
                raise RefusedName(f"API key · the name {name!r} is in use. Use another, or revoke that key first.")
            token = PREFIX + new_token()
            self._write([*keys, ApiKey(name=name, sha256=digest_of(token.encode()).hex(), made_at=at)])
        return token

    def revoke(self, name: str, at: datetime) -> None:
        """Servers refuse the key of that name within about a second. Raises UnknownKey, UnreadableApiKeys."""
        with self._lock():
            keys = self.entries()
            if name not in (active := _active_names(keys)):
                raise UnknownKey(f"API key · no active key has the name {name!r}; active: {', '.join(active) or 'none'}.")
            revoked = next(key for key in keys if key.name == name and key.revoked_at is None)
            self._write([msgspec.structs.replace(key, revoked_at=at) if key is revoked else key for key in keys])

    def entries(self) -> list[ApiKey]:
        """Every key ever made, revoked ones too, oldest first. Raises UnreadableApiKeys."""
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=list[ApiKey])
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise UnreadableApiKeys(f"{self._file} · cannot be read as API keys: {error}. Restore it from a backup.") from None

    def active(self) -> dict[bytes, str] | None:
        """Names by `digest_of` their tokens; None where no key was ever made. Raises UnreadableApiKeys."""
        keys = self.entries()
        return {bytes.fromhex(key.sha256): key.name for key in keys if key.revoked_at is None} if keys else None

    def stamp(self) -> tuple[int, int, int] | None:
        """Changes whenever the file does; None where there is none. Raises OSError."""
        try:
            status = self._file.stat()
        except FileNotFoundError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _write(self, keys: list[ApiKey]) -> None:
        replace_file(self._file, msgspec.json.format(msgspec.json.encode(keys), indent=2))

    def _lock(self) -> FileLock:
        self._folder.mkdir(parents=True, exist_ok=True)
        return FileLock(self._folder / ".api_keys.lock")


def digest_of(token: bytes) -> bytes:
    """SHA-256. A token is 256 random bits, so a fast hash cannot be reversed by guessing."""
    # Tokens are looked up by their hash, so the time of a lookup reveals nothing about a token.
    return hashlib.sha256(token).digest()


def _active_names(keys: list[ApiKey]) -> list[str]:
    return [key.name for key in keys if key.revoked_at is None]
