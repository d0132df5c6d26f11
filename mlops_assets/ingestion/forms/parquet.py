"""Reads Parquet files: a typed value becomes the text that means exactly the same."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false

from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import Any, BinaryIO, cast

import polars as pl
import pyarrow as pa
from pyarrow import types
from pyarrow.parquet import ParquetFile

from mlops_assets.ingestion.forms.table import LINES_AT_ONCE, PLACE, Table, UnreadableFile, float_text, read_all, too_large
from mlops_assets.spec.contract import Contract
from mlops_assets.spec.form import Parquet

DAMAGES = (pa.ArrowException, OSError)
PLAIN = (
    types.is_string, types.is_large_string, types.is_boolean, types.is_integer, types.is_floating, types.is_decimal,
    types.is_date, types.is_timestamp, types.is_time, types.is_null,
)  # fmt: skip


def read_parquet(file: BinaryIO, _: Parquet, /, *, contract: Contract, max_bytes: int) -> Table:
    content = file if file.seekable() else BytesIO(read_all(file, max_bytes))
    try:
        table = ParquetFile(content)
    except DAMAGES as error:
        raise _unreadable(error) from None

    def rows(columns: Sequence[str | None]) -> Iterator[pl.DataFrame]:
        number, size, needed = 1, 0, {place: name for place, name in enumerate(columns) if name}
        _require_plain(table.schema_arrow, needed)
        for batch in _batches(table):
            size += batch.nbytes
            if size > max_bytes:
                raise UnreadableFile(too_large(max_bytes))
            yield _frame(batch, needed, number)
            number += batch.num_rows

    return Table([*table.schema_arrow.names], rows)


def _require_plain(schema: Any, needed: dict[int, str]) -> None:
    for field in (schema.field(place) for place in needed):
        kind = field.type.value_type if types.is_dictionary(field.type) else field.type
        if not any(is_kind(kind) for is_kind in PLAIN):
            legal = "legal: text, numbers, true and false, dates and times"
            raise UnreadableFile(f"column {field.name!r} has the type {field.type}; {legal}. Deliver a plain column")


def _batches(table: ParquetFile) -> Iterator[Any]:
    try:
        yield from table.iter_batches(batch_size=LINES_AT_ONCE)
    except DAMAGES as error:
        raise _unreadable(error) from None


def _frame(batch: Any, needed: dict[int, str], number: int) -> pl.DataFrame:
    plain = pa.table({name: _in_utc(batch.column(place)) for place, name in needed.items()})
    try:
        frame = cast(pl.DataFrame, pl.from_arrow(plain))
    except pl.exceptions.PolarsError as error:
        raise _unreadable(error) from None
    numbers = pl.int_range(number, number + batch.num_rows, dtype=pl.Int64())
    texts = (_text(pl.col(name), dtype) for name, dtype in frame.schema.items())
    return frame.select(*texts, problem=pl.lit(None, PLACE["problem"]), source_line=numbers)


def _in_utc(array: Any) -> Any:
    """Polars knows no zones such as +05:30."""
    plain = array.dictionary_decode() if types.is_dictionary(array.type) else array
    zone = plain.type.tz if types.is_timestamp(plain.type) else None
    return plain.cast(pa.timestamp(plain.type.unit, "UTC")) if zone else plain


def _text(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    if isinstance(dtype, pl.Datetime):
        return column.dt.strftime(f"%Y-%m-%dT%H:%M:%S%.f{'Z' if dtype.time_zone else ''}")
    if dtype.is_float():
        return float_text(column.cast(pl.Float64()))  # a float of 32 bits by its exact value
    if isinstance(dtype, pl.Decimal) and dtype.scale:
        return column.cast(pl.String()).str.replace(r"\.?0+$", "")
    return column.cast(pl.String())


def _unreadable(error: Exception) -> UnreadableFile:
    reason = " ".join(str(error).split()).removesuffix(".")
    return UnreadableFile(f"it is no readable Parquet file: {reason}. It may be half a file: deliver it again")
