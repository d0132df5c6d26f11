"""What people read on every asset: owner, kinds, tags, counts and column schemas.

Belongs here: the translation of a declaration into Dagster's descriptive fields. Not here: any computation.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, TypedDict

import dagster as dg

from mlops_assets.graph.tables import DataFrame
from mlops_assets.spec.contract import Column, Contract
from mlops_assets.spec.use_case import Stage, UseCase

CADENCE, WHEN_CHANGED = "mlops/cadence", "when_changed"
SQL_TYPE = {"string": "string", "int": "bigint", "float": "double", "datetime": "timestamp (UTC)", "bool": "boolean"}


class Said(TypedDict):
    """The descriptive keyword arguments of @asset, AssetOut and AssetSpec."""

    owners: list[str]
    group_name: str
    kinds: set[str]
    tags: dict[str, str]
    code_version: str


def said_of(use_case: UseCase, stage: str, *kinds: str, made_from: Stage | None = None, tables: Sequence[str] = ()) -> Said:
    """Owner, group, kinds, lifecycle tag and code version, as keyword arguments of @asset or AssetSpec.

    What is made of `tables`, none of which is due each day, is tagged so.
    """
    cadence = {CADENCE: WHEN_CHANGED} if tables and not use_case.is_daily(*tables) else {}
    return {
        "owners": [use_case.owner],
        "group_name": use_case.name,
        "kinds": set(kinds),
        "tags": {"mlops/stage": stage, **cadence},
        "code_version": use_case.fingerprint(made_from) if made_from else "1",
    }


def table_schema(contract: Contract) -> dg.TableSchema:
    return dg.TableSchema(columns=[_column(column) for column in contract.columns])


def _column(column: Column) -> dg.TableColumn:
    bounds = [f"{sign} {bound:g}" for sign, bound in ((">=", column.min), ("<=", column.max)) if bound is not None]
    rules = bounds + [f"one of {', '.join(column.allowed)}"] * bool(column.allowed)
    return dg.TableColumn(
        name=column.name,
        type=SQL_TYPE[column.dtype],
        description=column.description,
        constraints=dg.TableColumnConstraints(nullable=column.nullable, other=rules),
    )


def count_by_day(context: dg.AssetExecutionContext, frame: DataFrame, key: dg.AssetKey | None = None) -> None:
    """Records each day's row count on that day's materialization, so that a backfill plots as well as daily runs."""
    counts = dict(frame.group_by("day").len().iter_rows())
    for partition in context.partition_keys:
        rows = counts.get(date.fromisoformat(partition), 0)
        said = {"dagster/partition_row_count": rows}
        context.add_asset_metadata(said, asset_key=key or context.asset_key, partition_key=partition)


def rows_as_table(rows: Iterable[Mapping[str, Any]]) -> dg.TableMetadataValue | dg.TextMetadataValue:
    """A small table for the UI; floats with four digits, and in words where they are no number: the page's JSON has no NaN."""
    records = [dg.TableRecord({name: _short(value) for name, value in row.items()}) for row in rows]
    return dg.MetadataValue.table(records) if records else dg.MetadataValue.text("no rows")


def _short(value: Any) -> str | int | float | bool:
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else "undefined"
    return value if isinstance(value, (str, int, bool)) else str(value)
