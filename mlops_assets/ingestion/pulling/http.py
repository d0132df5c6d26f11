"""Reads the records of a paged JSON API, all pages or none."""

# Not dlt's RESTClient: it reads numbers as floats (12345678901234567.8 changes), takes an answer without the declared records for
# the last page, sends the token to whatever host a next link names, and its import takes 1.6 s. A page takes the same time.

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any, cast

import httpx

from mlops_assets.ingestion.pulling.pull import Part
from mlops_assets.ingestion.pulling.rows import CannotPull, Row, fields_of, read_moment, row_builder, unreadable
from mlops_assets.spec.contract import Contract
from mlops_assets.spec.pulled_source import Http, NextCursor, NextLink, PageNumber

PAUSES_S = (1.0, 2.0, 4.0, 8.0)  # before each new try of a request
MAX_PAUSE_S = 120.0  # that a server may ask for
TIMEOUT_S = 60.0
PASSING = {408, 425, 429, *range(500, 600)}  # statuses after which a request is sent again
MAX_SHOWN = 200  # characters of an answer


class _Fault(Exception):
    """A request that failed, and may succeed after `pause_s` (None: the usual pause)."""

    def __init__(self, problem: str, pause_s: float | None = None) -> None:
        super().__init__(problem)
        self.pause_s = pause_s


@dataclass(frozen=True)
class HttpReader:
    source: Http
    contract: Contract
    token: str | None
    sleep: Callable[[float], None]

    replaces = False

    @property
    def reads(self) -> str:
        # A new column of the contract is read for the old records, too.
        return f"{self.source.cursor} of {self.source.url}: {', '.join(column.header for column in self.contract.columns)}"

    def read(self, position: Any | None, now: datetime) -> Iterator[Part]:
        cursor, highest, build = self.source.cursor, position, row_builder(self.contract, self.source.time)
        for records in self._pages(position):
            for record in records if cursor else []:
                value = cast(Mapping[str, Any], record).get(cursor or "") if isinstance(record, dict) else None
                highest = _highest(highest, value, now)
            yield Part([self._row(record, build) for record in records], highest)

    def acknowledge(self, position: Any) -> None:
        """An API keeps no position of its readers."""

    def _row(self, record: Any, build: Callable[[Sequence[object]], Row]) -> Row:
        if not isinstance(record, dict):
            return unreadable(record, self.contract, None, "is not a JSON object")
        return build(fields_of(cast(dict[str, Any], record), self.contract))

    def _pages(self, position: Any | None) -> Iterator[list[Any]]:
        address: httpx.URL | None = httpx.URL(self.source.url).copy_merge_params({**self.source.params, **self._since(position)})
        pages, number, before = self.source.pages, 0, object()
        if isinstance(pages, PageNumber):
            address = address.copy_set_param(pages.param, pages.first)
        with httpx.Client(headers=self._headers(), timeout=TIMEOUT_S) as client:
            while address is not None:
                response, answer = self._answer(client, address)
                records, number = self._records(answer, address), number + 1
                is_same = isinstance(pages, PageNumber) and records == before
                if (records and is_same) or (following := self._next(response, answer, records, number)) == address:
                    raise CannotPull(f"{address} · the page is the same as the one before it. Correct the declared `pages`.")
                yield records
                before, address = records, following

    def _since(self, position: Any | None) -> dict[str, str | int]:
        return {} if position is None or self.source.since_param is None else {
            self.source.since_param: _minus(position, self.source.lag or 0)
        }  # fmt: skip

    def _headers(self) -> dict[str, str]:
        if self.token and not (self.token.isascii() and self.token.isprintable()):
            found = "found characters that no header can have"
            raise CannotPull(f"{self.source.token_variable} · {found}; legal: printable ASCII. Correct the variable.")
        token = {self.source.token_header: f"{self.source.token_prefix}{self.token}"} if self.token else {}
        return {"Accept": "application/json", **token}

    def _records(self, answer: Any, address: httpx.URL) -> list[Any]:
        records = _at(answer, self.source.records)
        if not isinstance(records, list):
            found = f"the answer has no list at {self.source.records}: {_shown(json.dumps(answer, default=str))}"
            raise CannotPull(f"{address} · {found}. Correct `records`, or ask the owner of the API.")
        return cast(list[Any], records)

    def _next(self, response: httpx.Response, answer: Any, records: list[Any], number: int) -> httpx.URL | None:
        """The address of the next page, of the same server: another one must not get the token."""
        address = response.request.url
        match self.source.pages:
            case PageNumber(param=param, first=first):
                return address.copy_set_param(param, first + number) if records else None
            case NextCursor(path=path, param=param):
                value = _at(answer, path)
                return None if value in (None, "", False) else address.copy_set_param(param, str(value))
            case NextLink(path=path):
                link = response.links.get("next", {}).get("url") if path is None else _at(answer, path)
            case None:
                link = None
        if not link:
            return None
        following = address.join(str(link))
        if (following.scheme, following.host, following.port) != (address.scheme, address.host, address.port):
            raise CannotPull(f"{address} · the next page is at another server, {following.host}. Ask the owner of the API.")
        return following

    def _answer(self, client: httpx.Client, address: httpx.URL) -> tuple[httpx.Response, Any]:
        problem = ""
        for pause in (*PAUSES_S, None):
            try:
                return _ask(client, address)
            except _Fault as fault:
                problem = str(fault)
                if pause is None or (fault.pause_s or 0) > MAX_PAUSE_S:
                    break
                self.sleep(pause if fault.pause_s is None else fault.pause_s)
        raise CannotPull(f"{address} · {problem}. Nothing of this run has landed; the next run starts where this one did.")


def _ask(client: httpx.Client, address: httpx.URL) -> tuple[httpx.Response, Any]:
    try:
        response = client.get(address)
        if response.is_success:
            # Not response.json(): a float would round a number.
            return response, json.loads(response.content, parse_float=Decimal)
    except (httpx.HTTPError, UnicodeError) as error:
        raise _Fault(f"no answer: {error or type(error).__name__}") from None
    except ValueError as error:
        raise _Fault(f"the answer is not JSON: {error}") from None
    problem = f"the answer is {response.status_code} {response.reason_phrase}: {_shown(response.text)}"
    if response.status_code in PASSING:
        raise _Fault(problem, _pause_s(response.headers.get("Retry-After", "")))
    remedy = "Correct the token or the declaration, or ask the owner of the API"
    raise CannotPull(f"{address} · {problem}. {remedy}.")


def _pause_s(retry_after: str) -> float | None:
    """Seconds, or until a date."""
    if retry_after.strip().isdigit():
        return float(retry_after)
    try:
        return max(0.0, (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def _at(answer: Any, path: str) -> Any:
    """The value at a path such as $.data.items; None where there is none."""
    for name in path.removeprefix("$").strip(".").split("."):
        if name:
            answer = cast(dict[str, Any], answer).get(name) if isinstance(answer, dict) else None
    return answer


def _highest(highest: Any, value: Any, now: datetime) -> Any:
    """Of two cursor values, numbers or moments as text; a moment of the future would hide all records before it."""
    if isinstance(value, str) and (moment := read_moment(value)):
        value = value if moment <= now else _text(now)
        before = read_moment(highest) if isinstance(highest, str) else None
        return highest if before and before >= min(moment, now) else value
    if not isinstance(value, int | str) or type(highest) not in (type(None), type(value)):
        return highest
    return value if highest is None else max(highest, value)


def _minus(value: Any, lag: timedelta | int) -> str | int:
    if not lag:
        return value
    moment = read_moment(value) if isinstance(value, str) else None
    if moment and isinstance(lag, timedelta):
        return _text(moment - lag)
    if isinstance(value, int) and isinstance(lag, int):
        return value - lag
    problem = f"the cursor has values such as {value!r}, from which the lag {lag!r} cannot be subtracted"
    raise CannotPull(f"{problem}. Declare a lag in units of the cursor, or 0.")


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _shown(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MAX_SHOWN else f"{line[:MAX_SHOWN]}…"
