"""Who or what is to be forgotten: `customer_id=42` read by the tags of a use case's contracts.

Belongs here: which columns identify, and what is legal to ask for. Not here: where the rows lie (places.py).
"""

import hashlib
from dataclasses import dataclass

from mlops_assets.ports.prediction_log import keyed_hash
from mlops_assets.ports.sought import Sought
from mlops_assets.spec.contract import Column
from mlops_assets.spec.use_case import UseCase


class UnknownSubject(ValueError):
    """Asked for by a column that no contract tags, by a tag that is not clear, or by a value that cannot be one."""


@dataclass(frozen=True)
class Subject:
    """One of those that column `tag` identifies: a customer, by `entity`. `digest` stands for the value in records; it is
    not the hash of the prediction log, so that none tells of the other.
    """

    tag: str
    entity: str
    sought: Sought
    digest: str


def find_subject(use_case: UseCase, said: str, *, secret: bytes) -> Subject:
    """`said` is <column>=<value>; `secret` the key of the prediction log's hashes. Raises UnknownSubject."""
    tag, _, value = (part.strip() for part in said.partition("="))
    column = _tagged(use_case, tag)
    text = _typed(use_case, column, value)
    columns = {each.name for each in _columns(use_case) if each.identifies == column.identifies}
    _demand_one_meaning(use_case, columns | {str(column.identifies)}, column)
    sought = Sought(
        columns=frozenset(columns | {str(column.identifies)}),
        text=text,
        hashed=keyed_hash(text, secret),
        is_number=column.dtype == "int",
    )
    digest = hashlib.blake2b(text.encode(), key=secret, digest_size=16, person=b"erasure").hexdigest()
    return Subject(tag, str(column.identifies), sought, digest)


def _columns(use_case: UseCase) -> list[Column]:
    return [column for contract in use_case.contracts for column in contract.columns]


def _tagged(use_case: UseCase, name: str) -> Column:
    tagged = {column.name: column for column in _columns(use_case) if column.identifies}
    if name in tagged:
        return tagged[name]
    legal = ", ".join(f"{each.name}=<{each.identifies}>" for each in tagged.values())
    remedy = "Use one of these, or tag the column in its contract." if legal else "Tag the column: Column(identifies=...)."
    raise UnknownSubject(f"{use_case.name} · forget · column {name!r} identifies nobody; legal: {legal or 'none'}. {remedy}")


def _typed(use_case: UseCase, column: Column, value: str) -> str:
    where = f"{use_case.name} · forget · {column.name} is a {column.dtype}"
    if not value:
        raise UnknownSubject(f"{where} · no value was given; legal: {column.name}=<{column.identifies}>. Name one.")
    if column.dtype == "string":
        return value
    try:
        return str(int(value))
    except ValueError:
        raise UnknownSubject(f"{where} · found {value!r}; legal: a whole number. Name one.") from None


def _demand_one_meaning(use_case: UseCase, names: set[str], column: Column) -> None:
    """Feature tables and logs carry a column on by its name alone: it must not be another's elsewhere."""
    for contract in use_case.contracts:
        for each in contract.columns:
            if each.name in names and (each.identifies, each.dtype) != (column.identifies, column.dtype):
                found = f"a {each.dtype} that identifies {each.identifies or 'nobody'}"
                raise UnknownSubject(
                    f"{use_case.name} · contracts[{contract.table}] · {each.name!r} is {found}; in another table the name stands "
                    f"for a {column.identifies} ({column.dtype}). Tag both alike, or rename one."
                )
