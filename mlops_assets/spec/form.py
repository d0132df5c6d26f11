"""Forms: how the bytes of a delivered file become rows and values. ingestion/forms/ has the reader of each."""

import re
from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field

from mlops_assets.spec.spec import Spec, TimeZone

COMPRESSIONS = ("", ".gz", ".zip")
# What a directive of a date form matches: exactly, where strptime would also accept other texts.
DIRECTIVES = {
    "%Y": r"\d{4}", "%y": r"\d\d", "%m": r"\d\d?", "%d": r"\d\d?", "%j": r"\d{3}", "%b": r"[A-Za-z]+", "%B": r"[A-Za-z]+",
    "%H": r"\d\d?", "%I": r"\d\d?", "%M": r"\d\d", "%S": r"[0-5]\d", ".%f": r"\.\d{1,6}", "%p": "[AaPp][Mm]",
    "%z": r"[+-]\d\d:?\d\d",
}  # fmt: skip
DATE = ("%Y or %y", "%m or %b or %B or %j", "%d or %j")
MARK = "one character that is no letter, digit or sign"
DIRECTIVE = re.compile(r"\.%f|%.?")


class Form(Spec):
    """What files of any form declare. A value that is one of `missing` is missing, as an empty one is. `date_format` and
    `datetime_format` are in the directives of Python's strptime (by default ISO 8601). A datetime without an offset is read in
    `time_zone`; where a clock change skips it, its row is refused, and where one repeats it, `doubled` decides.
    """

    SUFFIX: ClassVar[str] = ""
    LOGO: ClassVar[str] = "csv"  # the name of a logo in Dagster
    COMPRESSED: ClassVar[tuple[str, ...]] = COMPRESSIONS
    TYPED: ClassVar[bool] = False  # whether it has dates that are no text

    missing: tuple[str, ...] = ()
    date_format: str | None = None
    datetime_format: str | None = None
    time_zone: TimeZone = "UTC"
    doubled: Literal["refuse", "earlier", "later"] = "refuse"

    @property
    def suffixes(self) -> tuple[str, ...]:
        """How the name of a file ends, after the day: the first is the usual one."""
        return tuple(self.SUFFIX + compression for compression in self.COMPRESSED)

    @property
    def number_marks(self) -> tuple[str, str]:
        """The decimal mark, and the one between thousands ("": none)."""
        return ".", ""

    def contradictions(self) -> Iterator[str]:
        for field, needed in (("date_format", DATE), ("datetime_format", (*DATE, "%H or %I", "%M"))):
            if (value := getattr(self, field)) is not None:
                yield from _format_problems(field, value, needed)
            if value and self.TYPED and value.startswith("%Y-%d"):
                yield f"{field} · {value!r} reads dates of typed cells, which are %Y-%m-%d, too. Deliver these columns as dates."


class Csv(Form):
    """Lines of fields. `names` are the columns of files without a header. The first `skip_lines` lines are not part of the
    table.
    """

    SUFFIX = ".csv"

    delimiter: str = ","
    quote: str = '"'
    decimal: str = "."
    thousands: str = ""
    encoding: str = "utf-8"
    skip_lines: int = Field(default=0, ge=0)
    names: tuple[str, ...] = ()

    @property
    def number_marks(self) -> tuple[str, str]:
        return self.decimal, self.thousands

    def contradictions(self) -> Iterator[str]:
        yield from super().contradictions()
        for field, legal in (("delimiter", MARK), ("quote", MARK), ("decimal", "'.' or ','")):
            value = getattr(self, field)
            is_part_of_value = value.isalnum() or value in "+-"
            if len(value) != 1 or value in "\r\n\0" or is_part_of_value or (field == "decimal" and value not in ".,"):
                yield f"{field} · {value!r}; legal: {legal}. Correct it."
        if self.thousands not in ("", ".", ",", " ", "'", "_", "\xa0", "\u202f"):
            yield f"thousands · {self.thousands!r}; legal: none, or one of . , ' _ and a space. Correct it."
        if self.decimal == self.thousands:
            yield f"thousands · {self.thousands!r} is the decimal mark, too; legal: another one. Correct one of them."
        if self.delimiter == self.quote:
            yield f"quote · {self.quote!r} is the delimiter, too; legal: another one. Correct one of them."
        if self.delimiter == self.decimal:
            yield f"decimal · {self.decimal!r} is the delimiter, too; legal: another one. Correct one of them."
        yield from self._encoding_problems()

    def _encoding_problems(self) -> Iterator[str]:
        try:
            "a".encode(self.encoding).decode(self.encoding, "surrogateescape")
        except (LookupError, ValueError):
            legal = "names of Python's codecs, such as utf-8 or cp1252"
            yield f"encoding · {self.encoding!r} is unknown; legal: {legal}. Correct it."


class Parquet(Form):
    """One table with plain columns."""

    SUFFIX, LOGO = ".parquet", "parquet"
    COMPRESSED = ("",)  # it compresses itself
    TYPED = True


class JsonLines(Form):
    """One JSON object a line."""

    SUFFIX, LOGO = ".jsonl", "json"


class Excel(Form):
    """One sheet of a workbook (by default the first one), whose first row after `skip_lines` has the names."""

    SUFFIX, LOGO = ".xlsx", "excel"
    COMPRESSED = ("",)
    TYPED = True

    sheet: str | None = Field(default=None, min_length=1)
    skip_lines: int = Field(default=0, ge=0)


AnyForm = Csv | Parquet | JsonLines | Excel


def format_pattern(text: str) -> str:
    """The regular expression of what is written in a date form."""
    parts = DIRECTIVE.split(text)
    codes = [DIRECTIVES[code] for code in DIRECTIVE.findall(text)] + [""]
    return "".join(re.escape(part) + code for part, code in zip(parts, codes, strict=True))


def _format_problems(field: str, text: str, needed: tuple[str, ...]) -> Iterator[str]:
    directives = DIRECTIVE.findall(text)
    if unknown := [code for code in directives if code not in DIRECTIVES]:
        yield f"{field} · {unknown[0]!r} is no directive; legal: {', '.join(DIRECTIVES)}. Correct it."
        return
    if lacking := [part for part in needed if not {*part.split(" or ")} & {*directives}]:
        yield f"{field} · {text!r} has no {', no '.join(lacking)}; needed: {', '.join(needed)}. Add it."
    if "%I" in directives and "%p" not in directives:
        yield f"{field} · {text!r} has %I without %p, so that morning and evening are the same. Add it."
