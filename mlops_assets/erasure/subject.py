"""Who or what is to be forgotten: `customer_id=42`, by the columns that a use case's contracts tag."""

import hashlib
from dataclasses import dataclass

from mlops_assets.erasure.subject_matcher import SubjectMatcher
from mlops_assets.serving.log.prediction_log import keyed_hash
from mlops_assets.spec.contract import Column
from mlops_assets.spec.use_case import UseCase


class UnknownSubject(ValueError):
    """Its column has no tag, or one that is ambiguous, or its value is not one of the column's type."""


@dataclass(frozen=True)
class Subject:
    """What column `tag` identifies, an `entity` such as customer. `digest` replaces the value in records; it is not the hash
    of the prediction log, so that neither leads to the other.
    """

    tag: str
    entity: str
    matcher: SubjectMatcher
    digest: str


def find_subject(use_case: UseCase, request: str, *, secret: bytes) -> Subject:
    """`request` is <column>=<value>; `secret` the key of the prediction log's hashes. Raises UnknownSubject."""
    tag, _, value = (part.strip() for part in request.partition("="))
    column = _tagged(use_case, tag)
    text, entity = _parse(use_case, column, value), str(column.identifies)
    columns = {other.name for other in _columns(use_case) if other.identifies == entity} | {entity}
    _require_one_meaning(use_case, columns, column)
    matcher = SubjectMatcher(frozenset(columns), text, keyed_hash(text, secret), column.dtype == "int")
    digest = hashlib.blake2b(text.encode(), key=secret, digest_size=16, person=b"erasure").hexdigest()
    return Subject(tag, entity, matcher, digest)


def _columns(use_case: UseCase) -> list[Column]:
    return [column for contract in use_case.contracts for column in contract.columns]


def _tagged(use_case: UseCase, name: str) -> Column:
    tagged = {column.name: column for column in _columns(use_case) if column.identifies}
    if name in tagged:
        return tagged[name]
    legal = ", ".join(f"{column.name}=<{column.identifies}>" for column in tagged.values())
    remedy = "Use one of these, or tag the column in its contract." if legal else "Tag the column: Column(identifies=...)."
    raise UnknownSubject(f"{use_case.name} · forget · column {name!r} identifies nothing; legal: {legal or 'none'}. {remedy}")


def _parse(use_case: UseCase, column: Column, value: str) -> str:
    where = f"{use_case.name} · forget · {column.name} is a {column.dtype}"
    if not value:
        raise UnknownSubject(f"{where} · the value is missing; legal: {column.name}=<{column.identifies}>. Add one.")
    try:
        return value if column.dtype == "string" else str(int(value))
    except ValueError:
        raise UnknownSubject(f"{where} · found {value!r}; legal: a whole number. Use one.") from None


def _require_one_meaning(use_case: UseCase, names: set[str], column: Column) -> None:
    """Feature tables and logs keep only the name of a column: it must not mean something else elsewhere."""
    for contract in use_case.contracts:
        for other in contract.columns:
            if other.name in names and (other.identifies, other.dtype) != (column.identifies, column.dtype):
                raise UnknownSubject(
                    f"{use_case.name} · contracts[{contract.table}] · {other.name!r} is a {other.dtype} that identifies "
                    f"{other.identifies or 'nothing'}; in another table it is a {column.dtype} that identifies a "
                    f"{column.identifies}. Tag both alike, or rename one."
                )
