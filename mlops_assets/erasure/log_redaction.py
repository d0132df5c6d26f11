"""One subject's lines in a prediction log, blanked in place: readers' positions and writers' open files stay valid."""

import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from mlops_assets.erasure.subject import SubjectMatcher
from mlops_assets.serving.log.prediction_log import BLANK


@dataclass(frozen=True)
class LoggedRows:
    """Rows in the segments `folder`/<number>.jsonl."""

    folder: Path
    matcher: SubjectMatcher

    def count(self) -> int:
        return sum(not line.startswith(BLANK) for segment in self._segments() for _, line in self._find_lines(segment))

    def erase(self) -> None:
        for segment in self._segments():
            if lines := list(self._find_lines(segment)):
                with segment.open("rb+") as file:
                    fcntl.flock(file, fcntl.LOCK_EX)  # readers hold a shared lock: none reads half of a row
                    # Every line is marked, durably, before its content is blanked: a reader skips marked lines after a kill.
                    for blanks in ([1] * len(lines), [len(line) for _, line in lines]):
                        for (start, _), length in zip(lines, blanks, strict=True):
                            os.pwrite(file.fileno(), BLANK * length, start)
                        os.fsync(file.fileno())

    def _segments(self) -> list[Path]:
        return sorted(self.folder.glob("*.jsonl"))

    def _find_lines(self, segment: Path) -> Iterator[tuple[int, bytes]]:
        """Start and content, without the line feed, of each line to blank; an unfinished last line is not in the log yet."""
        start, decode = 0, msgspec.json.Decoder(dict[str, object]).decode
        spellings = (msgspec.json.encode(self.matcher.text)[1:-1], self.matcher.hashed.encode())
        with segment.open("rb") as file:
            for line in file:
                is_half_blanked = line.startswith(BLANK) and not line.isspace()
                # Only lines that contain the text are decoded: a segment of 256 MB has 200,000 lines.
                is_likely = any(text in line for text in spellings) and line.endswith(b"\n") and not line.startswith(BLANK)
                if is_half_blanked or (is_likely and self.matcher.is_in(decode(line))):
                    yield start, line[:-1]
                start += len(line)
