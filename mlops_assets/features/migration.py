"""Converts stored tables to the declared names and types, where a write alone may not: a narrower type, another name."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import cast

import polars as pl

from mlops_assets.features.declared_columns import returned_columns, view_place
from mlops_assets.features.lineage import column_types
from mlops_assets.foundation import names
from mlops_assets.foundation.calendars import WHOLE_TABLE
from mlops_assets.foundation.delta_tables import DeltaTables, rewrite
from mlops_assets.foundation.grains import table_calendar
from mlops_assets.foundation.stored_schema import converted
from mlops_assets.spec.contract import Contract
from mlops_assets.spec.use_case import UseCase

Types = Mapping[str, pl.DataType]


class LosesValues(ValueError):
    """A migration that would lose values."""


@dataclass(frozen=True)
class Change:
    """What is done to one column of a table of `rows` rows: `lost` values would be, the first on `first_day`."""

    asset: names.AssetPath
    old: str
    new: str
    stored: pl.DataType
    declared: pl.DataType
    rows: int
    lost: int
    first_day: date | None

    def __str__(self) -> str:
        column = self.old if self.old == self.new else f"{self.old} → {self.new}"
        types = f" · {self.stored} → {self.declared}" if self.stored != self.declared else ""
        return f"{self.asset[-1]} · {column}{types} · {self.rows:,} rows · {self._loss()}"

    def _loss(self) -> str:
        if not self.lost:
            return "no value changes"
        why = "has another value under the new name" if self.stored == self.declared else f"has no equal {self.declared}"
        first = f", the first on {self.first_day}" if self.first_day != WHOLE_TABLE else ""
        return f"{self.lost:,} values would be lost{first}: each {why}"


def find_changes(use_case: UseCase, tables: DeltaTables) -> list[Change]:
    """What differs between the stored tables and the declaration. New and dropped columns need nothing."""
    return [
        change
        for asset, declared, renamed in _declared_tables(use_case)
        if tables.exists(asset)
        for change in _compare(asset, tables.scan(asset), declared, renamed)
    ]


def apply_changes(changes: list[Change], tables: DeltaTables) -> None:
    """Rewrites each table in one commit, so that a killed migration is repeated. Raises LosesValues, and changes nothing."""
    require_lossless(changes)
    by_asset = {tuple(change.asset): [other for other in changes if other.asset == change.asset] for change in changes}
    for asset, own in by_asset.items():
        stored = tables.scan([*asset]).collect_schema().names()
        columns = [_converted(change, stored).alias(change.new) for change in own]
        renamed = [change.old for change in own if change.old != change.new]
        rewrite(tables.path([*asset]), partial(_with_columns, columns=columns, renamed=renamed))


def _with_columns(rows: pl.DataFrame, *, columns: list[pl.Expr], renamed: list[str]) -> pl.DataFrame:
    return rows.with_columns(columns).drop(renamed)


def require_lossless(changes: list[Change]) -> None:
    """Raises LosesValues."""
    if lost := sum(change.lost for change in changes):
        raise LosesValues(
            f"{lost:,} values would be lost; nothing was changed. Land those days corrected, or declare a wider type."
        )


def _declared_tables(use_case: UseCase) -> Iterator[tuple[names.AssetPath, Types, Mapping[str, str]]]:
    """Path, types and former names of every table whose rows outlive a change of the declaration."""
    for contract in use_case.contracts:
        text = dict.fromkeys(contract.names, pl.String())
        for name, types in (
            (names.raw, text),
            (names.validated, column_types(contract, table_calendar(use_case, contract.table))),
            (names.quarantine, text),
        ):
            yield name(use_case.name, contract.table), types, _renamed(contract)
    returned = returned_columns(use_case)[0]
    for view in use_case.features.views:
        yield names.feature(use_case.name, view.name), returned.get(view_place(view.name), {}), {}


def _renamed(contract: Contract) -> dict[str, str]:
    return {column.renamed_from: column.name for column in contract.columns if column.renamed_from}


def _compare(asset: names.AssetPath, rows: pl.LazyFrame, declared: Types, renamed: Mapping[str, str]) -> Iterator[Change]:
    stored = rows.collect_schema()
    for old, dtype in stored.items():
        new = renamed.get(old, old)
        if new in declared and (old != new or _differs(dtype, declared[new])):
            change = Change(asset, old, new, dtype, declared[new], 0, 0, None)
            is_lost = pl.col(old).is_not_null() & _converted(change, [*stored]).is_null()
            if old != new and new in stored:
                is_lost |= pl.col(old).is_not_null() & pl.col(new).is_not_null()
            count = rows.select(pl.len(), lost=is_lost.sum(), first=pl.col("day").filter(is_lost).min())
            row = count.collect(engine="streaming").row(0)  # a part of the table at a time
            yield Change(asset, old, new, dtype, declared[new], *cast(tuple[int, int, date | None], row))


def _converted(change: Change, stored: list[str]) -> pl.Expr:
    """The column as declared, with what is stored under the new name already."""
    column = converted(change.old, change.stored, change.declared)
    return pl.coalesce(change.new, column) if change.old != change.new and change.new in stored else column


def _differs(stored: pl.DataType, declared: pl.DataType) -> bool:
    """Whether the types mean other values: the sizes of numbers and the units of datetimes do not."""
    both_whole, both_float = (stored.is_integer() and declared.is_integer()), (stored.is_float() and declared.is_float())
    both_moments = (
        isinstance(stored, pl.Datetime) and isinstance(declared, pl.Datetime) and stored.time_zone == declared.time_zone
    )
    return stored != declared and not (both_whole or both_float or both_moments)
