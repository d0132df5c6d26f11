"""Reads one sheet of an Excel workbook: every row that is not blank is a row or has a problem."""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from io import BytesIO
from typing import Any, BinaryIO
from zipfile import ZipFile

import polars as pl

from mlops_assets.ingestion.forms.decompressed import AGAIN, DAMAGES, Limited
from mlops_assets.ingestion.forms.kind import OLD_WORKBOOK
from mlops_assets.ingestion.forms.table import PLACE, Table, UnreadableFile, float_text, read_all
from mlops_assets.spec.contract import Contract
from mlops_assets.spec.form import Excel


def read_excel(file: BinaryIO, form: Excel, /, *, contract: Contract, max_bytes: int) -> Table:
    content = read_all(file, max_bytes)
    _check_workbook(content, max_bytes)
    cells = _load(content, form)
    is_blank = pl.all_horizontal(pl.exclude(*PLACE).is_null())
    cells = cells.filter((pl.col("source_line") > form.skip_lines) & (pl.col("problem").is_not_null() | ~is_blank))
    values, header = cells.drop(*PLACE), cells.drop(*PLACE).head(1)
    # A column without a name and without a value is no column: formats alone make a cell.
    used = [name for name in values.columns if values[name].null_count() < values.height]

    def rows(columns: Sequence[str | None]) -> Iterator[pl.DataFrame]:
        names = {source: name for source, name in zip(used, columns, strict=True) if name}
        yield cells.slice(1).select(*(pl.col(source).alias(name) for source, name in names.items()), *PLACE)

    return Table([header[name].item() or "" for name in used] if header.height else [], rows)


def _check_workbook(content: bytes, max_bytes: int) -> None:
    """Reads every part once, so that a damaged or very large one is known before it is parsed."""
    if content.startswith(OLD_WORKBOOK):
        raise UnreadableFile("it is a workbook with a password, or of before 2007; legal: .xlsx. Save it without a password")
    try:
        archive = ZipFile(BytesIO(content))
        left = max_bytes
        for name in archive.namelist():
            part = Limited(archive.open(name), left)
            left -= sum(len(block) for block in iter(lambda part=part: part.read(1 << 20), b""))
    except DAMAGES as error:
        raise UnreadableFile(f"it is no readable workbook: {error}. {AGAIN}") from None


def _load(content: bytes, form: Excel) -> pl.DataFrame:
    try:
        import fastexcel  # of an extra
    except ImportError:
        raise UnreadableFile("the library for workbooks is not installed. Install mlops-assets[excel]") from None
    try:
        workbook = fastexcel.read_excel(content)
        if form.sheet not in (None, *workbook.sheet_names):
            sheets = ", ".join(workbook.sheet_names)
            raise UnreadableFile(f"it has no sheet {form.sheet!r}; sheets: {sheets}. Correct the file, or the sheet of the form")
        return _cells(partial(workbook.load_sheet, form.sheet or 0, header_row=None, skip_rows=0))
    except fastexcel.FastExcelError as error:
        reason = str(error).split("\n", maxsplit=1)[0]
        raise UnreadableFile(f"it is no readable workbook: {reason}. {AGAIN}") from None


def _cells(load: Callable[..., Any]) -> pl.DataFrame:
    """Each cell as text, with the row's number, and as its problem an error of a formula."""
    batch, errors = load(dtypes="string").to_arrow_with_errors()
    text, numbers, booleans = pl.DataFrame(batch), load(dtypes="float").to_polars(), load(dtypes="boolean").to_polars()
    cells = text.select(_exact(text[name], numbers[name], booleans[name]) for name in text.columns)
    problems = {error.position[0]: _problem(error) for error in reversed(errors.errors if errors else [])}
    lines = range(cells.height)
    place = {"problem": [problems.get(line) for line in lines], "source_line": [line + 1 for line in lines]}
    return cells.hstack(pl.DataFrame(place, schema=PLACE))


def _exact(text: pl.Series, number: pl.Series, boolean: pl.Series) -> pl.Series:
    """fastexcel writes a number with few digits. A cell of text is no boolean for it, and may be a number, such as 007."""
    is_number = boolean.is_not_null() & ~text.is_in(["true", "false"]).fill_null(value=False)
    return pl.select(float_text(pl.lit(number))).to_series().zip_with(is_number, text).alias(text.name)


def _problem(error: Any) -> str:
    kind = re.search(r"Error\((\w+)\)", error.detail)
    return f"line has the error {kind[1] if kind else error.detail} in column {error.position[1] + 1}"
