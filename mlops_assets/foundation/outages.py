"""Which errors pass by themselves, so that what they ended is tried again, and after which pauses. Bad data and an illegal
declaration stay as they are.
"""

import errno
import re
import socket
import sqlite3
from collections.abc import Callable
from typing import Any, NamedTuple

from mlops_assets.foundation.mistakes import chain_of, errno_of, sqlite_code


class Outage(NamedTuple):
    """A class of errors, and the pauses before the tries that follow the first one."""

    noun: str
    pauses_s: tuple[int, ...]
    has: Callable[[BaseException], bool]


def outage_of(error: BaseException) -> Outage | None:
    """The class of an error, or else of the errors that it comes from."""
    return next((outage for one in chain_of(error) for outage in OUTAGES if outage.has(one)), None)


def describe_outage(error: BaseException) -> str:
    """What does not answer, in the words of the library that tried; empty where it is no outage."""
    for one in chain_of(error):
        if outage := next((outage for outage in OUTAGES if outage.has(one)), None):
            words = str(one).strip().partition("\n")[0].rstrip(".")
            return f"{outage.noun} · {words}. Run the same again once that is over."
    return ""


# Known by name, as none of these libraries is loaded for this.
_NETWORK = {
    "builtins.ConnectionError", "builtins.TimeoutError", "httpx.TransportError", "aiohttp.client_exceptions.ClientOSError",
    "requests.exceptions.ConnectionError", "requests.exceptions.Timeout", "botocore.exceptions.HTTPClientError",
    "urllib3.exceptions.TimeoutError", "urllib3.exceptions.ProtocolError", "redis.exceptions.ConnectionError",
    "redis.exceptions.TimeoutError", "mlops_assets.features.online.key_value_stores.OnlineStoreDown",
}  # fmt: skip
_LOCK = {"filelock._error.Timeout", "_internal.CommitFailedError"}
_UNREACHABLE = {errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ECONNREFUSED, errno.ETIMEDOUT}
_DISK = {errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.ESTALE}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
_FULL = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL}
# Of Postgres and MySQL, whose classes do not separate a wrong address from a server that is down.
_ILLEGAL = re.compile(r"authentication failed|does not exist|no pg_hba\.conf entry|no password supplied|access denied", re.I)


def _named(error: BaseException, names: set[str]) -> bool:
    return any(f"{one.__module__}.{one.__qualname__}" in names for one in type(error).__mro__)


def _status(error: BaseException) -> int | None:
    """The status of the HTTP response, as httpx, requests, botocore and urllib have it."""
    response: Any = getattr(error, "response", None)
    if hasattr(response, "get"):
        return response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    of_urllib = getattr(error, "code", None) if _named(error, {"urllib.error.HTTPError"}) else None
    return of_urllib or getattr(response, "status_code", None)


def _is_rate(error: BaseException) -> bool:
    return _status(error) == 429


def _is_service(error: BaseException) -> bool:
    return (_status(error) or 0) in range(500, 600)


def _is_network(error: BaseException) -> bool:
    is_lookup = isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN
    return is_lookup or errno_of(error) in _UNREACHABLE or _named(error, _NETWORK)


def _is_database(error: BaseException) -> bool:
    """The driver's error; SQLAlchemy's own has the same name and quotes it."""
    is_driver = type(error).__module__.partition(".")[0] not in ("sqlite3", "sqlalchemy")
    named = any(one.__name__ == "OperationalError" for one in type(error).__mro__)
    return is_driver and named and not _ILLEGAL.search(str(error))


def _is_lock(error: BaseException) -> bool:
    return sqlite_code(error) in _BUSY or _named(error, _LOCK)


def _is_storage(error: BaseException) -> bool:
    return sqlite_code(error) in _FULL or errno_of(error) in _DISK


OUTAGES = (
    Outage("the server limits the rate of requests", (15, 30, 60, 120), _is_rate),
    Outage("the server is out of service", (2, 4, 8, 16, 32, 64, 128), _is_service),
    Outage("a lock is held", (1, 2, 4, 8, 16, 32), _is_lock),
    Outage("the disk is full or fails", (15, 30, 60, 120), _is_storage),
    Outage("the database does not answer", (2, 4, 8, 16, 32, 64, 128), _is_database),
    Outage("the network or a server does not answer", (2, 4, 8, 16, 32, 64, 128), _is_network),
)
