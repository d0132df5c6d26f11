"""The API keys of the prediction service, as one file: names, hashes, when made and when revoked.

Belongs here: making, revoking and reading keys. Not here: who is let in (serving/admission.py).
Only SHA-256 is kept: a token is 256 random bits, so that nobody can guess through a fast hash and a slow one adds nothing.
"""

import fcntl
import hashlib
import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec

from mlops_assets.ports.durable_file import replace_file

PREFIX = "mlops_"  # by which scanners of repositories and logs find a lost token
NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
LEGAL_NAME = "1 to 63 of a-z, 0-9, '_', '.' and '-', the first a letter or digit"


class RefusedName(ValueError):
    """A name that no new key may have."""


class UnknownKey(LookupError):
    """No active key has this name."""


class UnreadableApiKeys(ValueError):
    """The file is there and cannot be read, or holds something else."""


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """One key, without its token. `sha256` is 64 hex digits; `made_at` and `revoked_at` (None: active) are UTC."""

    name: str
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    made_at: datetime
    revoked_at: datetime | None = None


class ApiKeys:
    """`api_keys.json` below `folder`, of mode 0600. Any number of processes read and write; writers take turns by a lock
    that ends with its process. A name may be used again once its key is revoked.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / "api_keys.json"

    def add(self, name: str, at: datetime, new_token: Callable[[], str]) -> str:
        """A new token, told here and never again. `new_token` gives 256 random bits as text.

        Raises RefusedName, UnreadableApiKeys.
        """
        if not NAME.fullmatch(name):
            raise RefusedName(f"API key · found name {name!r}; legal: {LEGAL_NAME}. Use such a name.")
        with self._writing():
            known = self.entries()
            if name in _active_names(known):
                raise RefusedName(f"API key · the name {name!r} is in use. Use another, or revoke that key first.")
            token = PREFIX + new_token()
            self._write([*known, ApiKey(name=name, sha256=digest_of(token.encode()).hex(), made_at=at)])
        return token

    def revoke(self, name: str, at: datetime) -> None:
        """Servers refuse the key of that name within about a second. Raises UnknownKey, UnreadableApiKeys."""
        with self._writing():
            known = self.entries()
            if name not in (active := _active_names(known)):
                raise UnknownKey(f"API key · no active key has the name {name!r}; active: {', '.join(active) or 'none'}.")
            self._write([_revoked(each, at) if each.name == name else each for each in known])

    def entries(self) -> list[ApiKey]:
        """Every key that was ever made, revoked ones too, oldest first. Raises UnreadableApiKeys."""
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=list[ApiKey])
        except FileNotFoundError:
            return []
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            raise UnreadableApiKeys(f"{self._file} · cannot be read as API keys: {error}. Restore it from a backup.") from None

    def active(self) -> dict[bytes, str] | None:
        """Names by `digest_of` their tokens; None where no key was ever made. Raises UnreadableApiKeys."""
        known = self.entries()
        return {bytes.fromhex(each.sha256): each.name for each in known if each.revoked_at is None} if known else None

    def stamp(self) -> tuple[int, int, int] | None:
        """Differs whenever the file does; None where there is none. Raises UnreadableApiKeys."""
        try:
            found = self._file.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UnreadableApiKeys(f"{self._file} · cannot be looked at: {error}. Let the service read it.") from None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _write(self, keys: list[ApiKey]) -> None:
        replace_file(self._file, msgspec.json.format(msgspec.json.encode(keys), indent=2))

    @contextmanager
    def _writing(self) -> Generator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / ".api_keys.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def digest_of(token: bytes) -> bytes:
    """SHA-256, by which tokens are looked up: how long that takes tells a guesser nothing about a token."""
    return hashlib.sha256(token).digest()


def _active_names(keys: list[ApiKey]) -> list[str]:
    return [each.name for each in keys if each.revoked_at is None]


def _revoked(key: ApiKey, at: datetime) -> ApiKey:
    return key if key.revoked_at else msgspec.structs.replace(key, revoked_at=at)
