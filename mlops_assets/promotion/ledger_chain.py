"""The chain of the ledger: its records, their canonical text and digests, and the faults of stored rows. Pure."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Literal

Kind = Literal[
    "blessing", "approval", "plan", "step", "promotion", "rollback", "refusal", "reissue", "adoption", "erasure", "waiver",
    "pause", "resume", "handover",
]  # fmt: skip
GENESIS = 64 * "0"  # `previous` of the first record


class DamagedLedger(ValueError):
    """Records that are gone, or whose body is not the JSON that was written."""


@dataclass(frozen=True)
class Record:
    """One link of a use case's chain. `number` counts from 1, `at` is ISO 8601 UTC, `body` is plain JSON (its text in a stored
    row), `previous` is the digest of the record before, `digest` the SHA-256 in hex over the canonical JSON of all other fields.
    """

    use_case: str
    number: int
    kind: Kind
    at: str
    by: str
    body: Any
    previous: str
    digest: str

    @property
    def version(self) -> int | None:
        """The version that it is about; None where it is about none."""
        return self.body.get("version")

    @property
    def reason(self) -> str:
        return self.body.get("reason") or self.body.get("why", "")

    def __str__(self) -> str:
        version = "" if self.version is None else f" of version {self.version}"
        return f"{self.kind}{version} by {self.by}"


def canonical_json(value: Any) -> str:
    """Sorted keys, no spaces, ASCII. Raises ValueError, TypeError or RecursionError for what JSON cannot express."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def seal(record: Record) -> Record:
    """The record with the digest that its content has."""
    content = {name: value for name, value in vars(record).items() if name != "digest"}
    return replace(record, digest=hashlib.sha256(canonical_json(content).encode()).hexdigest())


def parse_row(row: Record) -> Record:
    """The stored record; its digest is not checked. Raises DamagedLedger."""
    try:
        return replace(row, body=json.loads(row.body))
    except (ValueError, RecursionError) as error:
        where = f"{row.use_case} · record {row.number}"
        raise DamagedLedger(f"{where} · body cannot be read: {error}. Run `mlops ledger verify {row.use_case}`.") from None


def find_faults(rows: Sequence[Record], known: Iterable[tuple[int, str]]) -> Iterator[str]:
    """Edits, gaps and forks in `rows`, a chain by number, a sentence each; and which `known` number and digest is not in it."""
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
    for number, digest in known:
        stored = [row.digest for row in rows if row.number == number]
        if not stored:
            where = f"known elsewhere and not here, where the newest is {newest or 'none'}"
            yield f"record {number} is {where}: the newest records were cut off."
        elif digest not in stored:
            yield f"record {number} differs from the one known elsewhere: {stored[0][:12]}… here, {digest[:12]}… there."


def _find_edit(row: Record) -> Iterator[str]:
    try:
        sealed = seal(replace(row, body=json.loads(row.body)))
        if (sealed.digest, canonical_json(sealed.body)) != (row.digest, row.body):
            yield f"record {row.number} was altered: its digest is {row.digest[:12]}…, its content has {sealed.digest[:12]}…."
    except (TypeError, ValueError, RecursionError) as error:
        yield f"record {row.number} cannot be read: {error}."
