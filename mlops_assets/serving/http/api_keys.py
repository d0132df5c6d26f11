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
    """A name that a new key must not have, or that no active key has."""


class UnreadableApiKeys(ValueError):
    """The file exists and cannot be read, or its content is not API keys."""


class ApiKey(msgspec.Struct, kw_only=True):
    """One key, without its token. `sha256` is in hex; `revoked_at` None: active; `use_cases` it is valid for, None: all."""

    name: str
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    made_at: datetime
    revoked_at: datetime | None = None
    use_cases: tuple[str, ...] | None = None

    def is_valid_for(self, use_case: str) -> bool:
        return self.use_cases is None or use_case in self.use_cases

    @property
    def scope(self) -> str:
        return "all use cases" if self.use_cases is None else ", ".join(self.use_cases) or "no use case"


class ApiKeys:
    """`api_keys.json` in `folder`, safe for concurrent processes. A name can be used again once its key is revoked."""

    def __init__(self, folder: Path) -> None:
        self._file, self._lock = folder / "api_keys.json", FileLock(folder / ".api_keys.lock")

    def add(self, name: str, at: datetime, new_token: Callable[[], str], *, use_cases: tuple[str, ...] | None = None) -> str:
        """A new token, which is not stored, of the 256 random bits of `new_token`. Raises RefusedName, UnreadableApiKeys."""
        if not NAME.fullmatch(name):
            raise RefusedName(f"API key · found name {name!r}; legal: {LEGAL_NAME}. Use such a name.")
        with self._lock:
            keys = self.entries()
            if name in _active(keys):
                raise RefusedName(f"API key · the name {name!r} is in use. Use another, or revoke that key first.")
            token = PREFIX + new_token()
            key = ApiKey(name=name, sha256=digest_of(token.encode()).hex(), made_at=at, use_cases=use_cases)
            self._write([*keys, key])
        return token

    def revoke(self, name: str, at: datetime) -> None:
        """Servers refuse the key of that name within about a second. Raises RefusedName, UnreadableApiKeys."""
        with self._lock:
            keys = self.entries()
            if name not in (active := _active(keys)):
                raise RefusedName(f"API key · no active key has the name {name!r}; active: {', '.join(active) or 'none'}.")
            active[name].revoked_at = at
            self._write(keys)

    def entries(self) -> list[ApiKey]:
        """Every key ever made, revoked ones too, oldest first. Raises UnreadableApiKeys."""
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=list[ApiKey])
        except FileNotFoundError:
            return []
        except OSError as error:
            remedy = "Let the user of this process read it, or restore it from a backup"
            raise UnreadableApiKeys(f"{self._file} · cannot be read as API keys: {error.strerror}. {remedy}.") from None
        except ValueError as error:
            raise UnreadableApiKeys(f"{self._file} · cannot be read as API keys: {error}. Restore it from a backup.") from None

    def active(self) -> dict[bytes, ApiKey] | None:
        """By `digest_of` their tokens; None where no key was ever made. Raises UnreadableApiKeys."""
        keys = self.entries()
        return {bytes.fromhex(key.sha256): key for key in _active(keys).values()} if keys else None

    def _write(self, keys: list[ApiKey]) -> None:
        replace_file(self._file, msgspec.json.format(msgspec.json.encode(keys), indent=2))


def digest_of(token: bytes) -> bytes:
    """SHA-256. A token is 256 random bits, so a fast hash cannot be reversed by guessing."""
    # Tokens are looked up by their hash, so the time of a lookup reveals nothing about a token.
    return hashlib.sha256(token).digest()


def _active(keys: list[ApiKey]) -> dict[str, ApiKey]:
    return {key.name: key for key in keys if key.revoked_at is None}
