"""The chain of the ledger: what a record is, how it is linked to the one before, and what is wrong with stored ones.

Belongs here: digests, links, canonical text, verification; pure. Not here: where records lie (promotion/ledger.py).
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal, NamedTuple, cast

Kind = Literal["blessing", "approval", "plan", "step", "promotion", "rollback", "refusal", "adoption", "erasure"]
GENESIS = 64 * "0"  # what the first record names as the digest before it


class UnreadableRecord(ValueError):
    """A record whose body is not the JSON that was written."""


@dataclass(frozen=True)
class Record:
    """One link of the chain of a use case. `number` counts from 1, `at` is ISO 8601 UTC, `body` is plain JSON.

    `previous` is the digest of the record before, GENESIS for the first. `digest` is the SHA-256 in hex over all other fields
    as one JSON object with sorted keys, no spaces and ASCII only.
    """

    use_case: str
    number: int
    kind: Kind
    at: str
    by: str
    body: dict[str, Any]
    previous: str
    digest: str


class Row(NamedTuple):
    """A record as it lies in the table, whatever somebody made of it: `body` is text."""

    use_case: str
    number: int
    kind: str
    at: str
    by: str
    body: str
    previous: str
    digest: str


def linked(said: Mapping[str, Any], number: int, previous: str) -> Record:
    """The record that says `said` (every field but number, previous and digest) after the one of digest `previous`."""
    fields: dict[str, Any] = {**said, "number": number, "previous": previous}
    return Record(**fields, digest=_digest(fields))


def record_of(row: Row) -> Record:
    """Reads a stored record, without checking its digest. Raises UnreadableRecord."""
    try:
        body = json.loads(row.body)
    except (ValueError, RecursionError) as error:
        where = f"{row.use_case} · record {row.number}"
        raise UnreadableRecord(f"{where} · body cannot be read: {error}. Run `mlops ledger verify {row.use_case}`.") from None
    return Record(row.use_case, row.number, cast(Kind, row.kind), row.at, row.by, body, row.previous, row.digest)


def canonical(value: Any) -> str:
    """The one text of a JSON value. Raises ValueError, TypeError or RecursionError for what JSON cannot say."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _digest(fields: Mapping[str, Any]) -> str:
    """Over the canonical JSON of every field but the digest."""
    return hashlib.sha256(canonical(fields).encode()).hexdigest()


def breaks(rows: list[Row]) -> Iterator[str]:
    """Where the chain of one use case is not whole; `rows` ascend by number."""
    newest, ends = 0, {GENESIS}
    for number, siblings in groupby(rows, key=lambda row: row.number):
        beside = [*siblings]
        if number != newest + 1:
            yield _gap(newest, number)
        if len(beside) > 1:
            yield f"record {number} is there {len(beside)} times: the chain forks."
        for row in beside:
            yield from _faults(row, ends if number == newest + 1 else None)
        newest, ends = number, {row.digest for row in beside}


def _gap(newest: int, number: int) -> str:
    if number < 1:
        return f"record {number} cannot be: numbers begin at 1."
    missing = f"record {newest + 1} is" if number == newest + 2 else f"records {newest + 1} to {number - 1} are"
    return f"{missing} missing."


def _faults(row: Row, ends: set[str] | None) -> Iterator[str]:
    """`ends` are the digests with which the chain ended before; None where that record is missing."""
    try:
        body = json.loads(row.body)
        digest = _digest({name: value for name, value in row._asdict().items() if name != "digest"} | {"body": body})
        if (digest, canonical(body)) != (row.digest, row.body):
            yield f"record {row.number} was altered: its digest is {row.digest[:12]}…, what it says has {digest[:12]}…."
    except (TypeError, ValueError, RecursionError) as error:
        yield f"record {row.number} cannot be read: {error}."
    if ends is not None and row.previous not in ends:
        yield f"record {row.number} does not follow the one before: it names {row.previous[:12]}…."


def missed(rows: list[Row], number: int, digest: str) -> Iterator[str]:
    """Why the record of this number and digest, known from another place, is not in the chain."""
    held = [row.digest for row in rows if row.number == number]
    if not held:
        last = rows[-1].number if rows else "none"
        yield f"record {number} is known elsewhere and not here, where the newest is {last}: the newest records were cut off."
    elif digest not in held:
        yield f"record {number} is another one than is known elsewhere: {held[0][:12]}… here, {digest[:12]}… there."
