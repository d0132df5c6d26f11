"""One subject's rows in the bytes of a delivered file, of every form. All other rows stay, and all other bytes of a text file."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import io
import zipfile
from collections.abc import Callable
from pathlib import PurePath
from typing import Any, BinaryIO, NamedTuple, cast

import polars as pl
from pyarrow.parquet import ParquetFile, write_table

from mlops_assets.erasure.subject import Subject
from mlops_assets.ingestion.csv_lines import Line, columns_in, find_header_problem, is_utf_8, parse_lines, read_lines
from mlops_assets.ingestion.forms import read_table
from mlops_assets.ingestion.forms.decompressed import compressed, decompressed
from mlops_assets.ingestion.forms.json_lines import parse_line
from mlops_assets.ingestion.forms.table import UnreadableFile, read_all
from mlops_assets.spec.contract import Contract
from mlops_assets.spec.form import Csv, Excel, Form, JsonLines, Parquet

BOM = b"\xef\xbb\xbf"
COMPRESSED = (b"\x1f\x8b", b"PK\3\4")
NO_LIMIT = 2**62


class Kept(NamedTuple):
    content: bytes
    erased: int


Eraser = Callable[[bytes, Any, Contract, Subject], Kept | None]


def erase_from_file(content: bytes, name: str, form: Form, contract: Contract, subject: Subject) -> Kept | None:
    """None of a file that cannot be read, or has rows of the subject and cannot be edited."""
    try:
        plain = read_all(decompressed(cast(BinaryIO, io.BytesIO(content)), name, NO_LIMIT), NO_LIMIT)
        kept = ERASERS[type(form)](plain, form, contract, subject)
    except (UnreadableFile, UnicodeError):
        return None
    if kept is None or not kept.erased:
        return kept
    member = zipfile.ZipFile(io.BytesIO(content)).namelist()[-1] if PurePath(name).suffix == ".zip" else ""
    return kept._replace(content=compressed(kept.content, name, member))


def _from_csv(content: bytes, form: Csv, contract: Contract, subject: Subject) -> Kept | None:
    """A row may span lines."""
    if not _is_text(content, form):
        return None
    lines = [*parse_lines(read_lines(io.BytesIO(content), encoding=form.encoding), form)]
    header = [*form.names] or next((line.fields for line in lines if line.fields), list[str]())
    is_legal = find_header_problem(header, contract, delimiter=form.delimiter) is None
    names = columns_in(header, contract) if is_legal else None
    kept = [line.text for line in lines if not _is_in_line(subject, line, names)]
    mark = BOM if is_utf_8(form.encoding) and content.startswith(BOM) else b""
    encoding = "utf-8" if is_utf_8(form.encoding) else form.encoding
    return Kept(mark + "".join(kept).encode(encoding, "surrogateescape"), len(lines) - len(kept))


def _is_in_line(subject: Subject, line: Line, header: list[str] | None) -> bool:
    if header is None or line.problem or not line.fields:
        return subject.is_in_text(line.text)
    return line.fields != header and subject.is_in(dict(zip(header, line.fields, strict=False)))


def _from_json_lines(content: bytes, _: JsonLines, contract: Contract, subject: Subject) -> Kept | None:
    def is_in(line: bytes) -> bool:
        text = line.decode("utf-8-sig", "surrogateescape")
        row = parse_line(0, text, ())
        names = columns_in([*row.values], contract)
        return subject.is_in_text(text) if row.problem else subject.is_in(dict(zip(names, row.values.values(), strict=True)))

    if not _is_text(content, Csv()):
        return None
    lines = content.splitlines(keepends=True)
    kept = [line for line in lines if not is_in(line)]
    return Kept(b"".join(kept), len(lines) - len(kept))


def _from_parquet(content: bytes, form: Parquet, contract: Contract, subject: Subject) -> Kept:
    is_subject = _find_rows(content, form, contract, subject)
    if not is_subject.any():
        return Kept(content, 0)
    file, buffer = ParquetFile(io.BytesIO(content)), io.BytesIO()
    codec = file.metadata.row_group(0).column(0).compression
    write_table(file.read().filter((~is_subject).to_arrow()), buffer, compression=codec)
    return Kept(buffer.getvalue(), int(is_subject.sum()))


def _from_workbook(content: bytes, form: Excel, contract: Contract, subject: Subject) -> Kept | None:
    return None if _find_rows(content, form, contract, subject).any() else Kept(content, 0)


def _find_rows(content: bytes, form: Form, contract: Contract, subject: Subject) -> pl.Series:
    """Which rows are of the subject; of a file with another header, those that have the value as a word."""
    table = read_table(cast(BinaryIO, io.BytesIO(content)), "", form, contract=contract, max_bytes=NO_LIMIT)
    is_legal = find_header_problem(table.header, contract) is None
    names = columns_in(table.header, contract) if is_legal else [f"column {place}" for place in range(len(table.header))]
    needed = [name if name in subject.columns or not is_legal else None for name in names]
    if not any(needed):
        return pl.Series(dtype=pl.Boolean())
    frames = [pl.DataFrame(schema={"is_in": pl.Boolean()})]
    for frame in table.rows(needed):
        words = [] if is_legal else [subject.is_in_text(",".join(map(str, row))) for row in frame.drop("source_line").rows()]
        frames.append(frame.select(is_in=subject.is_in_rows(frame.schema) if is_legal else pl.Series(words, dtype=pl.Boolean())))
    return pl.concat(frames).to_series()


def _is_text(content: bytes, form: Csv) -> bool:
    return not (content.startswith(COMPRESSED) or (b"\0" in content[:8192] and form.encoding.lower().startswith("utf-8")))


ERASERS: dict[type[Form], Eraser] = {
    Csv: _from_csv, JsonLines: _from_json_lines, Parquet: _from_parquet, Excel: _from_workbook
}  # fmt: skip
