"""Writes workbooks by hand: the parts of an .xlsx file that hold one sheet, with cells of every kind."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from xml.sax.saxutils import escape

TYPES = "http://schemas.openxmlformats.org/package/2006/content-types"
LINKS = "http://schemas.openxmlformats.org/package/2006/relationships"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
SHEET = "application/vnd.openxmlformats-officedocument.spreadsheetml"
START = datetime(1899, 12, 30)
Cell = str | float | bool | date | Decimal | None | Exception


def build_workbook(rows: Mapping[int, Sequence[Cell]] | Sequence[Sequence[Cell]], sheet: str = "Sheet1") -> bytes:
    """Rows by their number, or from 1. An exception is the error of a formula."""
    numbered = rows if isinstance(rows, Mapping) else dict(enumerate(rows, start=1))
    lines = "".join(f'<row r="{number}">{"".join(map(_cell, cells))}</row>' for number, cells in numbered.items())
    overrides = "".join(
        f'<Override PartName="/xl/{part}.xml" ContentType="{SHEET}.{kind}+xml"/>'
        for part, kind in (("workbook", "sheet.main"), ("worksheets/sheet1", "worksheet"), ("styles", "styles"))
    )
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{TYPES}"><Default Extension="rels" ContentType='
        f'"application/vnd.openxmlformats-package.relationships+xml"/>{overrides}</Types>',
        "_rels/.rels": _links(("officeDocument", "xl/workbook.xml")),
        "xl/workbook.xml": f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}"><sheets><sheet name="{escape(sheet)}" sheetId="1" '
        'r:id="rId1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": _links(("worksheet", "worksheets/sheet1.xml"), ("styles", "styles.xml")),
        "xl/styles.xml": f'<styleSheet xmlns="{MAIN}"><cellXfs count="3"><xf numFmtId="0"/><xf numFmtId="14" '
        'applyNumberFormat="1"/><xf numFmtId="22" applyNumberFormat="1"/></cellXfs></styleSheet>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{MAIN}"><sheetData>{lines}</sheetData></worksheet>',
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, f'<?xml version="1.0" encoding="UTF-8"?>{content}')
    return buffer.getvalue()


def _links(*targets: tuple[str, str]) -> str:
    links = (
        f'<Relationship Id="rId{n}" Type="{OFFICE}/{kind}" Target="{target}"/>' for n, (kind, target) in enumerate(targets, 1)
    )
    return f'<Relationships xmlns="{LINKS}">{"".join(links)}</Relationships>'


def _cell(value: Cell) -> str:  # noqa: PLR0911
    match value:
        case None:
            return "<c/>"
        case Exception():
            return f'<c t="e"><v>{value}</v></c>'
        case bool():
            return f'<c t="b"><v>{int(value)}</v></c>'
        case str():
            return f'<c t="inlineStr"><is><t xml:space="preserve">{escape(value)}</t></is></c>'
        case datetime():
            return f'<c s="2"><v>{(value - START) / timedelta(days=1)!r}</v></c>'
        case date():
            return f'<c s="1"><v>{(datetime.combine(value, datetime.min.time()) - START).days}</v></c>'
        case _:
            return f"<c><v>{value!r}</v></c>"
