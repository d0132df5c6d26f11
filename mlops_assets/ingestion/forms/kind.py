"""The kind of a file by its first bytes: people export Parquet as .csv, and gzip without its suffix."""

import codecs
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from mlops_assets.ingestion.forms.table import UnreadableFile
from mlops_assets.spec.form import Csv, Excel, Form, Parquet

OLD_WORKBOOK = b"\xd0\xcf\x11\xe0"  # .xls, and workbooks with a password
BINARY = {
    b"PAR1": "a Parquet file", OLD_WORKBOOK: "a workbook with a password, or of before 2007",
    b"\x1f\x8b": "compressed once more than its name says", b"PK\x03\x04": "a workbook or an archive", b"Obj\x01": "an Avro file",
    b"SQLite format 3": "a SQLite database", b"ARROW1": "an Arrow file", b"ORC": "an ORC file", b"\x89HDF": "an HDF5 file",
    b"%PDF": "a PDF", b"\x80\x04": "a pickle", b"\x93NUMPY": "a NumPy file", b"\x89PNG": "an image", b"\xff\xd8\xff": "an image",
    b"GIF8": "an image",
}  # fmt: skip
# UTF-32 first: its mark begins with that of UTF-16.
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16",
}  # fmt: skip
HEAD_BYTES = 4096


def is_workbook(head: bytes) -> bool:
    return head.startswith(b"PK") and (b"[Content_Types].xml" in head or b"xl/" in head)


def compression(head: bytes) -> str:
    """The suffix that the content calls for."""
    if head.startswith(b"\x1f\x8b"):
        return ".gz"
    return ".zip" if head.startswith(b"PK\x03\x04") and not is_workbook(head) else ""


def binary_kind(head: bytes) -> str | None:
    return next((kind for start, kind in BINARY.items() if head.startswith(start)), None)


def name_by_content(file: BinaryIO, path: Path) -> str:
    """The name in lower case with the suffixes that the content calls for; without one where text has that of another form."""
    head = file.read(HEAD_BYTES)
    file.seek(0)
    name, packed = path.name.lower(), compression(head)
    plain = name.removesuffix(".gz").removesuffix(".zip")
    for form, is_of in ((Parquet(), head.startswith(b"PAR1")), (Excel(), is_workbook(head))):
        if is_of:
            return plain if plain.endswith(form.suffixes) else plain + form.SUFFIX
        plain = plain if packed or binary_kind(head) else plain.removesuffix(form.SUFFIX)
    return plain + packed


def require_text(content: BufferedReader, form: Form) -> None:
    """Raises UnreadableFile for the content of another kind where lines of text are declared."""
    head = content.peek(HEAD_BYTES)[:HEAD_BYTES]
    declared = codecs.lookup(form.encoding).name if isinstance(form, Csv) else "utf-8"
    encoding = next((encoding for mark, encoding in MARKS.items() if head.startswith(mark)), declared)
    found = binary_kind(head) or (f"{encoding.upper()} text" if encoding[:5] != declared[:5] else None)
    if found:
        legal = f"{declared.upper()} text, as the form of {form.SUFFIX} files is declared"
        raise UnreadableFile(f"it is {found}; legal: {legal}. Deliver that, or declare another form")
