"""A file that a use case is to be made from: its form, and its rows as the platform's own readers read them."""

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import polars as pl

from mlops_assets.ingestion.csv_lines import read_lines, shorten
from mlops_assets.ingestion.forms import read_table
from mlops_assets.ingestion.forms.decompressed import decompressed
from mlops_assets.ingestion.forms.kind import compression
from mlops_assets.ingestion.forms.table import PLACE, UnreadableFile
from mlops_assets.inspection.dialect import distinct_names, find_form
from mlops_assets.spec.contract import Column, Contract
from mlops_assets.spec.form import Csv, Excel, Form, JsonLines
from mlops_assets.spec.source import Files

HEAD_BYTES = 1 << 18
MAX_ROWS = 200_000  # are inspected, the first ones; reading them takes about 2 s
ROW_NUMBER = "row_number"
MAX_BYTES = 20_000_000_000
MAX_TITLE_LINES = 10  # above the header of a sheet
USUAL_MAX_BYTES = int(Files.model_fields["max_bytes"].default)


class NoTable(ValueError):
    """A file, an address or a wish from which no use case can be made: what was found, what is legal, what to do."""


@dataclass(frozen=True)
class TableFile:
    """`rows` are the sound rows as text, with the column `cN` for the place N of `headers`. `problems` are those of lines that
    are no row. `is_whole`: all rows were read, and not the first ones alone. `size`: in bytes, decompressed.
    """

    path: Path
    form: Form
    suffix: str
    headers: tuple[str, ...]
    rows: pl.DataFrame
    problems: tuple[str, ...]
    is_whole: bool
    size: int

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def distinct_headers(self) -> tuple[str, ...]:
        return self.form.names if isinstance(self.form, Csv) and self.form.names else self.headers


def read_table_file(path: Path, *, max_rows: int = MAX_ROWS) -> TableFile:
    """Raises NoTable."""
    try:
        if not path.is_file():
            raise NoTable(f"{path} · {'it is a folder' if path.is_dir() else 'there is no such file'}. Name a file with a table.")
        with path.open("rb") as file:
            suffix = compression(file.read(4096))  # the reader goes by the name that the file is going to have
            file.seek(0)
            head = _content(file, suffix).read(HEAD_BYTES)
            form = find_form(head, is_whole=len(head) < HEAD_BYTES)
        table = _read(path, form, form.SUFFIX + suffix, max_rows)
    except UnreadableFile as error:
        raise NoTable(f"{path.name} · {error}.") from None
    except OSError as error:
        raise NoTable(f"{path.name} · it cannot be read: {error.strerror or error}. Correct its permissions.") from None
    _require_rows(table)
    return table


def numbered(table: TableFile, path: Path) -> TableFile:
    """The rows with their numbers in a first column, written to a CSV file, of the form of the table where it is one: its later
    files are. Raises NoTable where another file has its name.
    """
    if not table.is_whole:
        found = f"no column identifies a row, and of more than {table.rows.height:,} rows no copy is made"
        raise NoTable(f"{table.name} · {found}. Name the columns that identify a row with --key, or add one with its number.")
    headers = (ROW_NUMBER, *table.distinct_headers)
    rows = table.rows.drop("source_line").with_row_index("row", offset=1).cast(pl.String())
    form = table.form if isinstance(table.form, Csv) else Csv()
    text = rows.rename(dict(zip(rows.columns, headers, strict=True))).write_csv(separator=form.delimiter)
    content = text.encode(form.encoding)
    if path.exists() and path.read_bytes() != content:
        raise NoTable(f"{path} · it exists, and would be replaced by the rows of {table.name} with a number each. Move it.")
    path.write_bytes(content)
    return read_table_file(path)


def _content(file: BinaryIO, suffix: str) -> BinaryIO:
    return io.BufferedReader(cast(Any, decompressed(io.BufferedReader(cast(Any, file)), f"table{suffix}", MAX_BYTES)))


def _read(path: Path, form: Form, suffix: str, max_rows: int) -> TableFile:
    form, headers = _with_header(path, form, suffix)
    contract = _any_contract(headers)
    with path.open("rb") as file:
        table = read_table(file, f"table{suffix}", form, contract=contract, max_bytes=MAX_BYTES)
        names = [f"c{place}" for place in range(len(table.header))]
        parts, count, is_whole = [pl.DataFrame(schema=dict.fromkeys(names, pl.String()) | PLACE)], 0, True
        for part in table.rows(names) if names else ():
            if count >= max_rows:
                is_whole = False
                break
            parts.append(part.head(max_rows - count))
            is_whole, count = part.height <= max_rows - count, count + parts[-1].height
    lines = pl.concat(parts)
    wrong = lines.filter(pl.col("problem").is_not_null())
    problems = tuple(f"line {line}: {problem}" for problem, line in wrong.select("problem", "source_line").rows())
    size = path.stat().st_size if is_whole else max(path.stat().st_size, USUAL_MAX_BYTES // 4)
    sound = lines.filter(pl.col("problem").is_null()).drop("problem")
    return TableFile(path, form, suffix, tuple(table.header), sound, problems, is_whole, size)


def read_column(table: TableFile, place: int) -> Iterator[pl.Series]:
    """The texts of one column in all rows, in parts."""
    names = [f"c{place}" if number == place else None for number in range(len(table.headers))]
    contract = _any_contract(table.headers if isinstance(table.form, JsonLines) else ())
    with table.path.open("rb") as file:
        read = read_table(file, f"table{table.suffix}", table.form, contract=contract, max_bytes=MAX_BYTES)
        yield from (part.filter(pl.col("problem").is_null())[f"c{place}"] for part in read.rows(names))


def _with_header(path: Path, form: Form, suffix: str) -> tuple[Form, Sequence[str]]:
    """The names of the columns, for a reader that needs them first, and the form with the lines above them."""
    if isinstance(form, JsonLines):
        return form, [*dict.fromkeys(_keys(path, suffix))]
    if not isinstance(form, Excel):
        return form, ()
    for skipped in range(MAX_TITLE_LINES):
        shifted = form.but(skip_lines=skipped) if skipped else form
        with path.open("rb") as file:
            header = read_table(file, f"table{suffix}", shifted, contract=_any_contract(()), max_bytes=MAX_BYTES).header
        if len(header) > 1 and len({*header} - {""}) == len(header):
            return shifted, ()
    return form, ()


def _keys(path: Path, suffix: str) -> Iterator[str]:
    compression = suffix.removeprefix(JsonLines.SUFFIX)
    with path.open("rb") as file:
        for number, line in enumerate(read_lines(_content(file, compression))):
            if number > MAX_ROWS:
                return
            with suppress(ValueError):
                row: Any = json.loads(line)
                if isinstance(row, dict):
                    yield from cast(dict[str, Any], row)


def _any_contract(headers: Sequence[str]) -> Contract:
    """Of text that may be missing."""
    columns = [
        Column(name=f"c{place}", dtype="string", nullable=True, source=header or None, description=".")
        for place, header in enumerate(headers or ("",))
    ]
    return Contract(table="any", description=".", columns=tuple(columns), unique=("c0",))


def _require_rows(table: TableFile) -> None:
    if len(table.headers) < 2:
        found = f"it has the columns {shorten(', '.join(table.headers)) or 'none'}"
        raise NoTable(f"{table.name} · {found}; legal: two or more, one of them the label. Export it as a table.")
    if not isinstance(table.form, Csv) and (repeated := [n for n in table.headers if not n or table.headers.count(n) > 1]):
        named = ", ".join(repr(name) for name in distinct_names(repeated)) if "" in repeated else repr(repeated[0])
        raise NoTable(f"{table.name} · columns without a name or with the same one: {named}. Rename them in the file.")
    if table.rows.height > 1:
        return
    if table.problems:
        problem = table.problems[0].partition(";")[0]
        raise NoTable(
            f"{table.name} · no row can be read; the header has {len(table.headers)} names, and {problem}. Correct the file."
        )
    found = "one row alone" if table.rows.height else "a header, and no row"
    raise NoTable(f"{table.name} · it has {found}; a model needs some hundred. Name a file with more rows.")
