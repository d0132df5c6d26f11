"""Metadata of assets for people: owner, group, kinds, column schema and lineage, row counts, pictures, short tables."""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypedDict

import dagster as dg

from mlops_assets.foundation import names
from mlops_assets.foundation.calendars import PARTITION_COLUMNS, Calendar
from mlops_assets.foundation.moments import MINUTE
from mlops_assets.foundation.wording import some
from mlops_assets.graph.kernel.pods import pod_tags
from mlops_assets.graph.kernel.tables import DataFrame, keys_in_run
from mlops_assets.spec.code_version import UNCHANGING
from mlops_assets.spec.column_type import bound_text
from mlops_assets.spec.contract import Column, Contract
from mlops_assets.spec.feature import FeatureView
from mlops_assets.spec.use_case import UseCase

STAGE = "mlops/stage"
CADENCE, WHEN_CHANGED = "mlops/cadence", "when_changed"
SCHEMA, LINEAGE, ROW_COUNT = "dagster/column_schema", "dagster/column_lineage", "dagster/row_count"
UNREADABLE = "unreadable_share"  # of the predictions: the part of the prediction log that they lack
WARNING = "warning"  # of the evaluation: that the candidate has learned little
ADDED_COLUMNS = {  # of the platform's own columns
    names.EVENT_TIMESTAMP: "When the values became known.",
    "known_at": "When the label became known.",
    "split": "The part of the rows: train, validation or test.",
    **{name: f"The {name.removesuffix('_start')} that the row is stored under." for name in PARTITION_COLUMNS},
}
# What fits on a screen of the web UI; longer tables become a picture and a CSV file.
MAX_ROWS = 20


class SpecMetadata(TypedDict):
    """The descriptive keyword arguments of an AssetSpec."""

    owners: list[str]
    group_name: str
    kinds: set[str]
    tags: dict[str, str]
    code_version: str


class AssetMetadata(SpecMetadata):
    """Those of @asset, with the tags of its step."""

    op_tags: dict[str, Any]


def asset_metadata(
    use_case: UseCase, stage: str, *kinds: str, code: str = UNCHANGING, tables: Sequence[str] = ()
) -> AssetMetadata:
    """As spec_metadata, with the pod that the stage is declared to get."""
    described = spec_metadata(use_case, stage, *kinds, code=code, tables=tables)
    return {**described, "op_tags": pod_tags(use_case, stage)}


def spec_metadata(use_case: UseCase, stage: str, *kinds: str, code: str = UNCHANGING, tables: Sequence[str] = ()) -> SpecMetadata:
    """Owner, group, kinds, lifecycle tags and code version. Assets of `tables` that land only when changed are tagged so."""
    cadence = {CADENCE: WHEN_CHANGED} if tables and not use_case.is_due(*tables) else {}
    return {
        "owners": [use_case.owner],
        "group_name": names.group(use_case.name, stage),
        "kinds": set(kinds),
        "tags": {STAGE: stage, **cadence},
        "code_version": code,
    }


def freshness(window: timedelta, calendar: Calendar) -> dg.FreshnessPolicy | None:
    """A longer window where no partition would ever be fresh: one and a half partitions. None where none is ever due."""
    if not calendar.cron:
        return None
    return dg.FreshnessPolicy.time_window(fail_window=window if window > calendar.length else calendar.length * 1.5)


def table_schema(contract: Contract) -> dg.TableSchema:
    return dg.TableSchema(columns=[_column(column) for column in contract.columns])


def delivered_schema(contract: Contract, *added: dg.TableColumn) -> dg.TableSchema:
    """The columns as delivered: text, without constraints."""
    return dg.TableSchema([*(dg.TableColumn(column.name, "string", column.description) for column in contract.columns), *added])


def _column(column: Column) -> dg.TableColumn:
    bounds = [f"{sign} {bound_text(bound)}" for sign, bound in ((">=", column.min), ("<=", column.max)) if bound is not None]
    rules = bounds + [f"one of {', '.join(column.allowed)}"] * bool(column.allowed)
    constraints = dg.TableColumnConstraints(nullable=column.nullable, other=rules)
    return dg.TableColumn(column.name, column.sql, column.description, constraints)


def same_columns(parent: names.AssetPath, columns: Iterable[str]) -> dict[str, Any]:
    """Each column comes from the column of the same name in `parent`."""
    return {LINEAGE: dg.TableColumnLineage({name: [dg.TableColumnDep(dg.AssetKey(parent), name)] for name in columns})}


def schema_of(rows: DataFrame) -> dg.TableSchema:
    from mlops_assets.foundation.conversions import sql_of

    return dg.TableSchema([dg.TableColumn(name, sql_of(dtype), ADDED_COLUMNS.get(name)) for name, dtype in rows.schema.items()])


def feature_columns(use_case: UseCase, view: FeatureView, rows: DataFrame) -> dict[str, Any]:
    """Schema of a feature table, and the validated columns that each of its columns is computed from."""
    from mlops_assets.features.lineage import view_columns_read

    texts = ADDED_COLUMNS | {name: _described(use_case, view, name) for name in rows.columns if name not in ADDED_COLUMNS}
    return _with_sources(rows, texts, _lineage(use_case, view_columns_read(use_case, view)).deps_by_column)


def _described(use_case: UseCase, view: FeatureView, column: str) -> str:
    return view.descriptions.get(column) or use_case.description_of(column, view.tables)


def training_columns(use_case: UseCase, rows: DataFrame) -> dict[str, Any]:
    """Schema of a training set, and the feature table, or the validated columns, that each of its columns comes from."""
    from mlops_assets.features.lineage import label_columns_read, request_lineage, view_columns_read

    label, views = use_case.label, use_case.features.views
    read = label_columns_read(use_case) | {name: lineage.values for name, lineage in request_lineage(use_case).items()}
    deps, texts = dict(_lineage(use_case, read).deps_by_column), {label.name: f"The label. {use_case.question}"}
    texts |= {name: text for name in read if (text := use_case.description_of(name, [use_case.features.request_table]))}
    for view in views:
        features = [name for name in view_columns_read(use_case, view) if name in rows.columns and name not in deps]
        deps |= same_columns(names.feature(use_case.name, view.name), features)[LINEAGE].deps_by_column
        texts |= {name: _described(use_case, view, name) for name in features}
    texts |= ADDED_COLUMNS | {names.EVENT_TIMESTAMP: "The prediction moment: features are as known then."}
    return _with_sources(rows, texts, deps)


def _with_sources(rows: DataFrame, texts: Mapping[str, str], deps: Mapping[str, Sequence[dg.TableColumnDep]]) -> dict[str, Any]:
    """Schema and lineage. Descriptions name the sources too, as the open-source web UI does not show the lineage of columns."""
    from mlops_assets.foundation.conversions import sql_of

    read = {name: of for name, of in deps.items() if name in rows.columns}
    sources = {name: some([f"{dep.asset_key.path[-1]}.{dep.column_name}" for dep in of]) for name, of in read.items()}
    whole = {name: " ".join(filter(None, [texts.get(name), f"From {of}."])) for name, of in sources.items()}
    columns = [dg.TableColumn(name, sql_of(dtype), whole.get(name, texts.get(name))) for name, dtype in rows.schema.items()]
    return {SCHEMA: dg.TableSchema(columns), LINEAGE: dg.TableColumnLineage(read)}


def _lineage(use_case: UseCase, sources: Mapping[str, Iterable[str]]) -> dg.TableColumnLineage:
    def dep(source: str) -> dg.TableColumnDep:
        table, column = source.split(".")
        return dg.TableColumnDep(dg.AssetKey(names.validated(use_case.name, table)), column)

    return dg.TableColumnLineage({column: [dep(source) for source in sorted(read)] for column, read in sources.items()})


def count_by_partition(
    context: dg.AssetExecutionContext, calendar: Calendar, rows: DataFrame, *, key: dg.AssetKey | None = None, moments: str = ""
) -> None:
    """Records each partition's row count on its materialization, so that a backfill plots as well as single runs. With `moments`,
    a row is in the partition of its moment in that column.
    """
    import polars as pl

    partition = calendar.of_column(pl.col(moments)) if moments else pl.col(calendar.column)
    counts = dict(rows.group_by(partition.alias(calendar.column)).len().iter_rows())
    for partition_key in keys_in_run(context, calendar):
        count = {"dagster/partition_row_count": counts.get(calendar.parse(partition_key), 0)}
        context.add_asset_metadata(count, asset_key=key or context.asset_key, partition_key=partition_key)


def pictures_as_metadata(pictures: Mapping[str, bytes]) -> dict[str, dg.MetadataValue]:
    """All PNG files as one entry, as the web UI opens each entry by a click of its own."""
    from mlops_assets.foundation.page import data_uri

    texts = [f"![{name}]({data_uri(png)})" for name, png in pictures.items()]
    return {"pictures": dg.MetadataValue.md("\n\n".join(texts))} if texts else {}


def rows_as_table(rows: Iterable[Mapping[str, Any]]) -> dg.TableMetadataValue | dg.TextMetadataValue:
    """A small table for the UI, its values as `readable`."""
    records = [dg.TableRecord({name: readable(value) for name, value in row.items()}) for row in rows]
    return dg.MetadataValue.table(records) if records else dg.MetadataValue.text("no rows")


def readable(value: Any) -> str | int | float | bool:
    """A float with four significant digits, a time to the minute, "undefined" for nan and infinity: JSON has no such number."""
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else "undefined"
    if isinstance(value, datetime):
        return f"{value:{MINUTE}}"
    return value if isinstance(value, (str, int, bool)) else "" if value is None else str(value)
