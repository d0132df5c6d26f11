"""One subject's lines in the landed files of a table; the other lines stay as delivered, byte for byte."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from mlops_assets.erasure.subject import SubjectMatcher
from mlops_assets.foundation.atomic_file import sync_folder, write_aside
from mlops_assets.ingestion.landing import BOM, NO_HEADER, Landing, Line, find_header_problem, parse_lines
from mlops_assets.spec.contract import Contract


@dataclass(frozen=True)
class LandedLines:
    """Rows in day files, and in partial files that a killed process left next to them. A row may span lines."""

    landing: Landing
    use_case: str
    contract: Contract
    matcher: SubjectMatcher

    def count(self) -> int:
        return sum(self._remove_rows(file.read_bytes())[1] for file in self._files())

    def erase(self) -> None:
        """A file that is delivered again meanwhile stays as it is, for the next call."""
        for file in self._files():
            before = file.stat()
            content, removed = self._remove_rows(file.read_bytes())
            if removed:
                _replace_unless_changed(file, content, before)

    def _files(self) -> list[Path]:
        return self.landing.files(self.use_case, self.contract.table, leftovers=True)

    def _remove_rows(self, content: bytes) -> tuple[bytes, int]:
        """The content without the subject's rows, and their number."""
        lines = parse_lines(content, len(self.contract.columns))
        header = next((line for line in lines if line.fields), NO_HEADER)
        legal_header = None if find_header_problem(header.fields, self.contract) else header
        kept = [line.text for line in lines if not self._is_subject(line, legal_header)]
        mark = BOM if content.startswith(BOM) else b""
        return mark + "".join(kept).encode("utf-8", "surrogateescape"), len(lines) - len(kept)

    def _is_subject(self, line: Line, header: Line | None) -> bool:
        if header is None or line.problem:
            return self.matcher.is_in_text(line.text)
        return line is not header and self.matcher.is_in(dict(zip(header.fields, line.fields, strict=False)))


def _replace_unless_changed(path: Path, content: bytes, before: os.stat_result) -> None:
    aside, now = write_aside(path, content), path.stat()
    if (now.st_ino, now.st_mtime_ns, now.st_size) != (before.st_ino, before.st_mtime_ns, before.st_size):
        return aside.unlink()
    shutil.copymode(path, aside)
    aside.rename(path)
    sync_folder(path.parent)
