"""The form of a file by its first bytes, whatever its name: the kind of file, encoding, delimiter, header."""

import codecs
import csv
import json
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from itertools import takewhile

from mlops_assets.ingestion.csv_lines import SEPARATORS
from mlops_assets.ingestion.forms.kind import MARKS, OLD_WORKBOOK, binary_kind, is_workbook
from mlops_assets.ingestion.forms.table import UnreadableFile
from mlops_assets.spec.form import Csv, Excel, Form, JsonLines, Parquet

LEGAL = "legal: CSV, Parquet, JSON lines or Excel"
NUMBER = re.compile(r"[+-]?[\d.,]*\d")
YEAR = re.compile(r"(19|20)\d\d")
MAX_LINES = 500
MIN_FIT = 0.8  # of the lines have one number of fields


def find_form(head: bytes, *, is_whole: bool) -> Form:
    """`head` is the beginning of the decompressed file, or all of it. Raises UnreadableFile for what no form reads."""
    if not head.strip(b"\0 \r\n\t\xef\xbb\xbf\xff\xfe"):
        raise UnreadableFile("it is empty. Export it again")
    if head.startswith(b"PAR1"):
        return Parquet()
    if head.startswith(OLD_WORKBOOK) or is_workbook(head):
        return Excel()
    if kind := binary_kind(head):
        raise UnreadableFile(f"it is {kind}; {LEGAL}. Export it as one of these")
    encoding = find_encoding(head, is_whole=is_whole)
    text = head.decode("utf-8-sig" if encoding == "utf-8" else encoding, "ignore")
    lines = text.splitlines(keepends=True)
    return _json_form(text) or find_csv((lines if is_whole else lines[:-1] or lines)[:MAX_LINES], encoding)


def find_encoding(head: bytes, *, is_whole: bool) -> str:
    for mark, encoding in MARKS.items():
        if head.startswith(mark):
            return encoding
    # Text of two bytes without its mark: the high bytes of Latin letters are zero.
    for encoding, high in {"utf-16-le": head[1:2000:2], "utf-16-be": head[:2000:2]}.items():
        if high and high.count(0) > len(high) / 2:
            return encoding
    with suppress(UnicodeDecodeError):
        codecs.getincrementaldecoder("utf-8")().decode(head, final=is_whole)
        return "utf-8"
    # Of cp1252 five bytes are no character.
    with suppress(UnicodeDecodeError):
        head.decode("cp1252")
        return "cp1252"
    return "latin-1"


def _json_form(text: str) -> JsonLines | None:
    start = text.lstrip()
    if start.startswith(("<!", "<?", "<html")):
        raise UnreadableFile(f"it is a page of HTML or XML; {LEGAL}. Download the file itself")
    if re.match(r"\[\s*[{\]]", start):
        raise UnreadableFile(f"it is one JSON array; {LEGAL}. Convert it with: jq -c '.[]' FILE > FILE.jsonl")
    if re.match(r'\{\s*"', start):
        first = start.split("\n", 1)[0]
        try:
            json.loads(first)
        except ValueError:
            raise UnreadableFile("it is one JSON object over several lines; legal: one object a line. Convert it") from None
        return JsonLines()
    return None


def find_csv(lines: Sequence[str], encoding: str) -> Csv:
    """The delimiter is the one that parts most lines into the same number of fields, and of several the most fields."""
    fits = {separator: _fit(_rows(lines, separator)) for separator in (*SEPARATORS, " ")}
    delimiter = max(SEPARATORS, key=lambda separator: fits[separator])
    if not fits[delimiter][0] and fits[" "][0]:  # texts have blanks, too
        delimiter = " "
    rows = _rows(lines, delimiter)
    width = _usual_width(rows)
    titles = len([*takewhile(lambda row: _is_title(row, width), rows)])
    skipped = _lines_of(lines, delimiter, titles)
    form = Csv(delimiter=delimiter, encoding=encoding, skip_lines=skipped)
    table = [row for row in rows[titles:] if any(row)]
    if not table:
        return form
    header, body = table[0], [row for row in table[1:] if len(row) == len(table[0])]
    if has_header(header, body):
        distinct = {*header} - {""}
        if len(distinct) == len(header):
            return form
        return form.but(names=distinct_names(header), skip_lines=_lines_of(lines, delimiter, rows.index(header) + 1))
    return form.but(names=tuple(f"column_{place}" for place in range(1, len(header) + 1)))


def _rows(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    """A line with a broken quote ends what is read."""
    rows: list[list[str]] = []
    with suppress(csv.Error):
        rows.extend(csv.reader(lines, delimiter=delimiter))
    return rows


def _lines_of(lines: Sequence[str], delimiter: str, count: int) -> int:
    """How many lines of the file the first rows take: a quoted name may have several."""
    reader = csv.reader(lines, delimiter=delimiter)
    for _ in range(count):
        next(reader)
    return reader.line_num


def _usual_width(rows: Sequence[Sequence[str]]) -> int:
    widths = Counter(len(row) for row in rows if any(row))
    return widths.most_common(1)[0][0] if widths else 0


def _fit(rows: Sequence[Sequence[str]]) -> tuple[bool, int]:
    filled = [row for row in rows if any(row)]
    width = _usual_width(filled)
    share = sum(len(row) == width for row in filled) / max(1, len(filled))
    return width > 1 and share >= MIN_FIT, width


def _is_title(row: Sequence[str], width: int) -> bool:
    """A line above the table: it has one field at most."""
    return width > 1 and len(row) != width and len([*filter(None, row)]) <= 1


def has_header(header: Sequence[str], body: Sequence[Sequence[str]]) -> bool:
    """Not where the first row has a number in every column that has numbers below. Years may be names, and so are the places of
    the columns, which pandas writes.
    """
    numeric = [place for place in range(len(header)) if body and all(NUMBER.fullmatch(row[place].strip()) for row in body)]
    if not numeric or any(not NUMBER.fullmatch(header[place].strip()) for place in numeric):
        return True
    if len(header) > 2 and [*header] in [[str(start + place) for place in range(len(header))] for start in (0, 1)]:
        return True
    return all(YEAR.fullmatch(header[place]) for place in numeric)


def distinct_names(header: Sequence[str]) -> tuple[str, ...]:
    """A name for each column: those without one are numbered, and so are repeated ones."""
    names: list[str] = []
    for place, name in enumerate(header, start=1):
        base = name or f"column_{place}"
        taken = sum(other == base or other.startswith(f"{base}_") for other in names)
        names.append(f"{base}_{taken + 1}" if base in names else base)
    return tuple(names)
