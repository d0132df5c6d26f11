"""Rows for a request by hand: as a person writes them, or as they landed last."""

import json
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import msgspec

from mlops_assets.foundation import names
from mlops_assets.foundation.grains import table_calendar
from mlops_assets.serving.http.request import request_columns
from mlops_assets.spec.contract import Column
from mlops_assets.spec.use_case import UseCase

if TYPE_CHECKING:
    from mlops_assets.foundation.delta_tables import DeltaTables

Row = Mapping[str, object]
TEXTS = ("string", "category", "datetime", "date", "decimal")


class IllegalRow(ValueError):
    """A text that is no row, or a use case without any row to send."""


def parse_rows(texts: Sequence[str], use_case: UseCase) -> list[Row]:
    """Each text is a JSON object, a list of them, or one `column=value` of a row that all of these make. Raises IllegalRow."""
    rows, values, columns = list[Row](), dict[str, object](), {column.name: column for column in request_columns(use_case)}
    for text in texts:
        name, is_pair, value = text.partition("=")
        if text.lstrip()[:1] in ("{", "["):
            rows += _objects(text)
        elif not is_pair or not name.strip():
            legal = """'{"column": value, …}', or column=value for each column"""
            raise IllegalRow(f"--row {shlex.quote(text)} · legal: {legal}. The columns are {', '.join(columns)}.")
        elif name in values:
            raise IllegalRow(f"--row · {name} comes twice; legal: once in a row. Send several rows as JSON objects.")
        else:
            values[name] = _value(value, columns.get(name))
    return [*rows, *([values] if values else [])]


def _objects(text: str) -> list[Row]:
    try:
        parsed = json.loads(text)
    except ValueError as error:
        raise IllegalRow(f"--row {shlex.quote(text)} · it is not JSON: {error}. Correct it; quote it for the shell.") from None
    rows = cast(list[Any], parsed if isinstance(parsed, list) else [parsed])
    if any(not isinstance(row, dict) for row in rows):
        raise IllegalRow(f"--row {shlex.quote(text)} · legal: a JSON object, or a list of them. Correct it.")
    return rows


def _value(text: str, column: Column | None) -> object:
    """As the type of the column reads it; null of an empty one. What is no such value stays text: the service names it."""
    if not text:
        return None
    with suppress(ValueError):
        return text if column and column.dtype in TEXTS else json.loads(text)
    return text


def sample_rows(use_case: UseCase, tables: "DeltaTables", count: int) -> list[Row]:
    """At most `count` of the newest validated rows; without any, the one of the contract's examples. Raises IllegalRow."""
    import polars as pl

    table, columns = use_case.features.request_table, request_columns(use_case)
    asset, calendar, rows = names.validated(use_case.name, table), table_calendar(use_case, table), list[Row]()
    stored = tables.scan(asset)
    known = stored.collect_schema().names()
    values = [pl.col(one.name) if one.name in known else pl.lit(None).alias(one.name) for one in columns]
    for partition in sorted(tables.partitions(asset, calendar), reverse=True):
        newest = stored.filter(pl.col(calendar.column) == partition).select(values).head(count - len(rows))
        rows += newest.collect().to_dicts()
        if len(rows) >= count:
            break
    return rows or [_example(use_case, columns)]


def _example(use_case: UseCase, columns: Sequence[Column]) -> Row:
    examples = {one.name: next(iter(one.allowed), None) if one.example is None else one.example for one in columns}
    if missing := [column.name for column in columns if examples[column.name] is None and not column.nullable]:
        problem = f"no rows of {use_case.features.request_table} are validated yet, and these columns have no example"
        remedy = f"Land rows and use `mlops run {use_case.name}`, or use --row"
        raise IllegalRow(f"{use_case.name} · {problem}: {', '.join(missing)}. {remedy}.")
    return examples


def curl_line(url: str, use_case: str, rows: Sequence[Row], *, explain: bool = False, key: str | None) -> str:
    """The request for a shell, in which `key` may be a variable."""
    body = msgspec.json.encode({"rows": rows} | ({"explain": True} if explain else {})).decode()
    address = shlex.quote(f"{url.rstrip('/')}/{use_case}/predict")
    header = f' -H "Authorization: Bearer {key}"' if key else ""
    return f"curl -s {address}{header} -H 'Content-Type: application/json' -d {shlex.quote(body)}"
