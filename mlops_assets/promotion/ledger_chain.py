"""The chain of the ledger: its records, their canonical text and digests, and the faults of stored rows. Pure."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal, NamedTuple, cast

Kind = Literal["blessing", "approval", "plan", "step", "promotion", "rollback", "refusal", "adoption", "erasure"]
GENESIS = 64 * "0"  # `previous` of the first record


class UnreadableRecord(ValueError):
    """A record whose body is not the JSON that was written."""


@dataclass(frozen=True)
class Record:
    """One link of the chain of a use case. `number` counts from 1, `at` is ISO 8601 UTC, `body` is plain JSON.

    `previous` is the digest of the record before. `digest` is the SHA-256 in hex over the canonical JSON of all other fields.
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
    """A record as stored, possibly edited by hand: `body` is text."""

    use_case: str
    number: int
    kind: str
    at: str
    by: str
    body: str
    previous: str
    digest: str


def canonical_json(value: Any) -> str:
    """Sorted keys, no spaces, ASCII. Raises ValueError, TypeError or RecursionError for what JSON cannot express."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def link_record(fields: Mapping[str, Any], number: int, previous: str) -> Record:
    """The record of `fields` (all but number, previous and digest) that follows the one with digest `previous`."""
    linked: dict[str, Any] = {**fields, "number": number, "previous": previous}
    return Record(**linked, digest=_digest(linked))


def parse_row(row: Row) -> Record:
    """The stored record; its digest is not checked. Raises UnreadableRecord."""
    try:
        body = json.loads(row.body)
    except (ValueError, RecursionError) as error:
        where = f"{row.use_case} · record {row.number}"
        raise UnreadableRecord(f"{where} · body cannot be read: {error}. Run `mlops ledger verify {row.use_case}`.") from None
    return Record(row.use_case, row.number, cast(Kind, row.kind), row.at, row.by, body, row.previous, row.digest)


def find_faults(rows: list[Row]) -> Iterator[str]:
    """Edits, gaps and forks in the chain of one use case, a sentence each; `rows` ascend by number."""
    newest, ends = 0, {GENESIS}  # several ends where the chain forks
    for number, group in groupby(rows, key=lambda row: row.number):
        siblings = [*group]
        if number < 1:
            yield f"record {number} cannot be: numbers begin at 1."
        elif number > newest + 1:
            yield f"record{f' {number - 1} is' if number == newest + 2 else f's {newest + 1} to {number - 1} are'} missing."
        if len(siblings) > 1:
            yield f"record {number} is there {len(siblings)} times: the chain forks."
        for row in siblings:
            yield from _find_edit(row)
            if number == newest + 1 and row.previous not in ends:
                yield f"record {number} does not follow the one before: it names {row.previous[:12]}…."
        newest, ends = number, {row.digest for row in siblings}


def find_lost(rows: list[Row], number: int, digest: str) -> Iterator[str]:
    """Why the record with this number and digest, known from another place, is not in the chain."""
    stored = [row.digest for row in rows if row.number == number]
    if not stored:
        last = rows[-1].number if rows else "none"
        yield f"record {number} is known elsewhere and not here, where the newest is {last}: the newest records were cut off."
    elif digest not in stored:
        yield f"record {number} differs from the one known elsewhere: {stored[0][:12]}… here, {digest[:12]}… there."


def _digest(fields: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(fields).encode()).hexdigest()


def _find_edit(row: Row) -> Iterator[str]:
    try:
        fields = row._asdict() | {"body": json.loads(row.body)}
        del fields["digest"]
        digest = _digest(fields)
        if (digest, canonical_json(fields["body"])) != (row.digest, row.body):
            yield f"record {row.number} was altered: its digest is {row.digest[:12]}…, its content has {digest[:12]}…."
    except (TypeError, ValueError, RecursionError) as error:
        yield f"record {row.number} cannot be read: {error}."
