"""The memory that the landed file of one day takes, compared with its size, in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

import pytest

SIZE = 50_000_000
NAMES = ["number", *(f"x{place}" for place in range(8))]
HEADER = ",".join(NAMES) + "\n"
MEASURE = """
import sys
from datetime import date
from pathlib import Path
from mlops_assets.ingestion.landing import Landing
from mlops_assets.ingestion.validate import split_rows
from mlops_assets.spec.contract import Column, Contract
from mlops_assets.spec.form import Csv, JsonLines
from tests.peak_memory import peak_bytes
columns = [Column(name=name, dtype="string", description="x") for name in sys.argv[3].split(",")]
contract = Contract(table="t", description="x", columns=tuple(columns), unique=("number",))
landing = Landing(Path(sys.argv[1])).of(JsonLines() if sys.argv[2] == ".jsonl" else Csv())
small, large = (landing.path("u", "t", date(2024, 3, day)) for day in (1, 2))
split_rows(landing.read("u", contract, [date(2024, 3, 1)], required=True), contract)  # what a first run loads
before = peak_bytes()
landing.scan("u", "t")
raw = landing.read("u", contract, [date(2024, 3, 2)], required=True)
print(raw.height, (peak_bytes() - before) / large.stat().st_size, raw["problem"][0] or "sound")
"""


def csv_rows() -> Iterator[str]:
    yield HEADER
    for number in count():
        yield f"{number}" + f",value {number % 97}" * 8 + "\n"


def json_rows() -> Iterator[str]:
    for number in count():
        yield json.dumps({"number": number} | {name: f"value {number % 97}" for name in NAMES[1:]}) + "\n"


def filled(lines: Iterator[str]) -> str:
    length = len(next(islice(lines, 1, None)))
    return "".join(islice(lines, SIZE // length))


LINE = "a" * SIZE
FILES: dict[str, tuple[str, str, float, str]] = {
    "rows": (".csv", HEADER + filled(csv_rows()), 6, "sound"),
    "a line": (".csv", f"{HEADER}1,{LINE},,,,,,,\n", 2, "1,000,000 characters"),
    "a line of separators": (".csv", f"{HEADER}{',' * SIZE}\n", 3, "1,000,000 characters"),
    "a header of separators": (".csv", f"{',' * SIZE}\n", 8, "'number' is missing"),
    "JSON rows": (".jsonl", filled(json_rows()), 8, "sound"),
    "a JSON line": (".jsonl", json.dumps(dict.fromkeys(NAMES, "a") | {"x1": LINE}) + "\n", 2, "1,000,000 characters"),
    "a JSON line of lists": (".jsonl", '{"number": [' + "[]," * (SIZE // 3) + "[]]}\n", 2, "1,000,000 characters"),
}


@pytest.mark.slow  # 30 s of CPU together
@pytest.mark.parametrize("name", FILES)
def test_a_file_takes_a_few_times_its_size_and_a_long_line_less(tmp_path: Path, name: str) -> None:
    suffix, content, most, expected = FILES[name]
    folder = tmp_path / "u" / "t"
    folder.mkdir(parents=True)
    (folder / f"2024-03-01{suffix}").write_text(content[: content.index("\n", 300) + 1] if expected == "sound" else content[:50])
    (folder / f"2024-03-02{suffix}").write_text(content)
    command = [sys.executable, "-c", MEASURE, str(tmp_path), suffix, ",".join(NAMES)]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    rows, ratio, problem = result.stdout.strip().split(" ", 2)
    assert expected in problem and (int(rows) > 100_000) is (expected == "sound")
    assert float(ratio) < most
