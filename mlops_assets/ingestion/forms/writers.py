"""Writes rows of text as a file of a form, which its reader reads as the same rows with the same problems."""

import csv
import io
import json
from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from mlops_assets.spec.form import Csv, Excel, Form, JsonLines, Parquet


class Unwritable(ValueError):
    """Rows that a file of the form cannot have."""


Writer = Callable[[pl.DataFrame, Mapping[str, str], Any], bytes]
"""Of the rows with `problem`, the headers by the names of the columns, and the form."""


def write_csv(rows: pl.DataFrame, headers: Mapping[str, str], form: Csv) -> bytes:
    """A row with a problem has that as one more field, so that it is no row of the table: as rows that are pulled."""
    names = {header: name for name, header in headers.items()}
    columns = {one: pl.col(names[one]) if one in names else pl.lit(None, pl.String()) for one in form.names or names}
    has_problems = rows["problem"].null_count() < rows.height  # a filter costs as much as the writing of a small file
    sound = (rows.filter(pl.col("problem").is_null()) if has_problems else rows).select(**columns)
    text = io.StringIO("\n" * form.skip_lines)
    text.seek(0, io.SEEK_END)
    text.write(sound.write_csv(separator=form.delimiter, quote_char=form.quote, include_header=not form.names))
    if has_problems:
        writer = csv.writer(text, delimiter=form.delimiter, quotechar=form.quote, lineterminator="\n")
        writer.writerows(rows.filter(pl.col("problem").is_not_null()).select(**columns, problem="problem").iter_rows())
    try:
        return text.getvalue().encode(form.encoding)
    except UnicodeEncodeError as error:
        raise Unwritable(f"{error}. Declare another encoding, such as utf-8") from None


def write_json_lines(rows: pl.DataFrame, headers: Mapping[str, str], _: JsonLines) -> bytes:
    """A row with a problem is an array, which is no row: of its fields, or of the line."""
    sound = rows.filter(pl.col("problem").is_null()).select(pl.col(name).alias(header) for name, header in headers.items())
    faulty = rows.filter(pl.col("problem").is_not_null()).select(*headers, "problem")
    lines = [json.dumps([value for value in row if value is not None], ensure_ascii=False) for row in faulty.iter_rows()]
    return (sound.write_ndjson() + "".join(f"{line}\n" for line in lines)).encode()


def write_parquet(rows: pl.DataFrame, headers: Mapping[str, str], _: Parquet) -> bytes:
    if (faulty := rows.filter(pl.col("problem").is_not_null())).height:
        found = f"line {faulty['source_line'][0]}: {faulty['problem'][0]}"
        raise Unwritable(f"{found}; legal in a Parquet file: whole rows. Correct the line")
    buffer = io.BytesIO()
    rows.select(pl.col(name).alias(header) for name, header in headers.items()).write_parquet(buffer)
    return buffer.getvalue()


def write_excel(_: pl.DataFrame, __: Mapping[str, str], ___: Excel) -> bytes:
    raise Unwritable(
        "it is declared as workbooks, which are not written. Deliver one for each partition, or declare another form"
    )


WRITERS: dict[type[Form], Writer] = {Csv: write_csv, Parquet: write_parquet, JsonLines: write_json_lines, Excel: write_excel}
