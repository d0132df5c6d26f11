"""The subject's value outside rows: masked in pages and logs of processes, and listed where a file cannot be edited."""

import mmap
import os
import re
from collections.abc import Iterator
from pathlib import Path

from mlops_assets.erasure.subject import Subject
from mlops_assets.foundation.home import Home

MASK = b"*"
MASKED = {".html", ".csv", ".log", ".out", ".err"}  # pages of reports, their long tables, and what processes print
# What erasure/stores.py searches row by row, and secrets.
ROWS = ("landing", "tables", "prediction_log", "shadow_log", "feast", "keys")
MIN_CHARACTERS = 5  # a shorter value occurs in other texts by chance


def is_searched(subject: Subject) -> bool:
    return len(subject.text) >= MIN_CHARACTERS


def mask_texts(home: Home, subject: Subject, *, dry_run: bool) -> int:
    """Occurrences in text files, masked in place with as many characters: processes that append to a file go on."""
    count = 0
    for file in _texts(home, subject):
        spans = _find(file, subject)
        count += len(spans)
        if spans and not dry_run:
            with file.open("rb+") as opened:
                for start, stop in spans:
                    os.pwrite(opened.fileno(), MASK * (stop - start), start)
                os.fsync(opened.fileno())
    return count


def find_others(home: Home, subject: Subject) -> list[str]:
    """The other files that contain the value, as paths in the home: databases, models, profiles, records."""
    masked = {*_texts(home, subject)}
    return [
        file.relative_to(home.root).as_posix() for file in _files(home, subject) if file not in masked and _find(file, subject)
    ]


def _texts(home: Home, subject: Subject) -> Iterator[Path]:
    # A number in a page may be a count, and a page without it cannot be drawn.
    return (file for file in _files(home, subject) if file.suffix in MASKED and not subject.is_number)


def _files(home: Home, subject: Subject) -> list[Path]:
    folders = [path for path in sorted(home.root.iterdir()) if path.name not in ROWS] if is_searched(subject) else []
    return [file for path in folders for file in (sorted(path.rglob("*")) if path.is_dir() else [path]) if file.is_file()]


def _find(file: Path, subject: Subject) -> list[tuple[int, int]]:
    """Start and end of each occurrence."""
    with file.open("rb") as opened:
        if not os.fstat(opened.fileno()).st_size:
            return []
        with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
            # A plain search first: it is some twenty times as fast as the expression.
            if all(content.find(text) < 0 for text in subject.spellings):
                return []
            return [match.span() for match in re.finditer(subject.spelled, content)]
