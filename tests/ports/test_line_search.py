"""One line found from the end of a file: the same line as a plain reading finds, whatever the blocks; bounded memory."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.ports.line_search import last_line

FIND = """
import resource, sys
from pathlib import Path
from mlops_assets.ports.line_search import last_line
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert last_line(Path(sys.argv[1]), b"<0>") and not last_line(Path(sys.argv[1]), b"<none>")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@given(
    st.lists(st.tuples(st.integers(0, 12), st.text("ab\u00e9", max_size=9))),
    st.text("<>0", max_size=4).filter(lambda text: "<0>" not in text),  # which stands at the start of a line alone
    st.integers(0, 12),
    st.integers(1, 40),
)
def test_a_line_is_found_as_by_reading_all_lines(
    tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[int, str]], unfinished: str, sought: int, block: int
):
    path = tmp_path_factory.mktemp("log") / "lines"
    path.write_bytes("".join(f"<{number}>{text}\n" for number, text in lines).encode() + f"~{unfinished}".encode())
    start = f"<{sought}>".encode()
    expected = [line for line in path.read_bytes().splitlines(keepends=True) if line.startswith(start)]
    assert last_line(path, start, block_bytes=block) == (expected[-1] if expected else None)


def test_an_unfinished_line_is_not_there(tmp_path: Path):
    path = tmp_path / "lines"
    path.write_bytes(b"<1>whole\n<2>cut o")
    assert last_line(path, b"<1>") == b"<1>whole\n"
    assert last_line(path, b"<2>") is None


def test_the_oldest_line_of_a_large_file_is_found_fast_and_in_little_memory(tmp_path: Path):
    path, lines = tmp_path / "lines", 100_000
    path.write_bytes(b"".join(b'<%d>{"temp":%d,%s}\n' % (number, number, b"x" * 600) for number in range(lines)))
    took = []
    for _ in range(3):
        started = time.perf_counter()
        assert last_line(path, b"<0>") is not None
        took.append(time.perf_counter() - started)
    assert min(took) < 1  # of 60 MB; measured 0.05 s
    said = subprocess.run(
        [sys.executable, "-c", FIND, str(path)], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert float(said.stdout) < 30, "MB; the file has 60"
