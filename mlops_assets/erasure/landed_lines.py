"""One subject's lines in the landed files of a table; all other lines stay as delivered, byte for byte."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from mlops_assets.erasure.subject_matcher import SubjectMatcher
from mlops_assets.foundation.atomic_file import sync_folder, write_aside
from mlops_assets.ingestion.landing import BOM, Landing, Line, header_problem, parse_lines
from mlops_assets.spec.contract import Contract


@dataclass(frozen=True)
class LandedLines:
    """Of day files, and of what a killed process left next to them."""

    landing: Landing
    use_case: str
    contract: Contract
    matcher: SubjectMatcher

    def count(self) -> int:
        """A row that spans several lines counts once."""
        return sum(len(self._split(file.read_bytes())[1]) for file in self._files())

    def erase(self) -> None:
        """A file that is delivered again meanwhile stays as it is, for the next call."""
        for file in self._files():
            before, content = file.stat(), file.read_bytes()
            kept, erased = self._split(content)
            if erased:
                text = "".join(line.text for line in kept).encode("utf-8", "surrogateescape")
                _replace_unless_changed(file, (BOM if content.startswith(BOM) else b"") + text, before)

    def _files(self) -> list[Path]:
        return self.landing.files(self.use_case, self.contract.table, leftovers=True)

    def _split(self, content: bytes) -> tuple[list[Line], list[Line]]:
        """Kept and erased. Lines that cannot be parsed, and files without the contract's columns, are searched as text."""
        lines = parse_lines(content, len(self.contract.columns))
        header = next((line for line in lines if line.fields), Line(1, "", []))
        is_legal = header_problem(header.fields, self.contract) is None
        kept: list[Line] = []
        erased: list[Line] = []
        for line in lines:
            is_row = is_legal and line.problem is None
            is_subject = self._is_subject(header, line) if is_row else self.matcher.is_in_text(line.text)
            (erased if is_subject else kept).append(line)
        return kept, erased

    def _is_subject(self, header: Line, line: Line) -> bool:
        return line is not header and self.matcher.is_in(dict(zip(header.fields, line.fields, strict=bool(line.fields))))


def _replace_unless_changed(path: Path, content: bytes, before: os.stat_result) -> None:
    aside, now = write_aside(path, content), path.stat()
    if (now.st_ino, now.st_mtime_ns, now.st_size) != (before.st_ino, before.st_mtime_ns, before.st_size):
        return aside.unlink()
    shutil.copymode(path, aside)
    aside.rename(path)
    sync_folder(path.parent)
