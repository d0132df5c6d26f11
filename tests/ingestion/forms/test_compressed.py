"""Compressed deliveries: read like the plain file, under a limit on their content; damage is one clear error."""

import gzip
import io
import zipfile
from pathlib import Path

import pytest

from mlops_assets.ingestion.landing import Landing
from mlops_assets.spec.form import Csv, Form, JsonLines
from tests.ingestion.forms.delivered import DAY, Delivered, column, contract, deliver

CONTENT = b"k,v\n" + b"".join(f"{number},text {number}\n".encode() for number in range(5000))
TABLE = contract(column("k", "int"), column("v", "string"))


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def read(tmp_path: Path, content: bytes, suffix: str, form: Form | None = None, **limits: int) -> Delivered:
    return deliver(tmp_path, content, form or Csv(), TABLE, suffix, **limits)


def test_a_compressed_file_is_read_like_the_plain_one(tmp_path: Path) -> None:
    plain = read(tmp_path, CONTENT, ".csv")
    assert len(plain.rows) == 5000
    assert read(tmp_path, gzip.compress(CONTENT, mtime=0), ".csv.gz") == plain
    assert read(tmp_path, gzip.compress(CONTENT[:100], mtime=0) + gzip.compress(CONTENT[100:], mtime=0), ".csv.gz") == plain
    assert read(tmp_path, zipped(**{"any name": CONTENT}), ".csv.zip") == plain
    assert read(tmp_path, zipped(**{"folder/": b"", "folder/a.csv": CONTENT}), ".csv.zip") == plain
    lines = b'{"k": 1, "v": "a"}\n'
    assert read(tmp_path, gzip.compress(lines, mtime=0), ".jsonl.gz", JsonLines()).rows == [(1, "a")]


ENCRYPTED = bytearray(zipped(a=CONTENT))
for at in (ENCRYPTED.index(b"PK\3\4") + 6, ENCRYPTED.index(b"PK\1\2") + 8):
    ENCRYPTED[at] |= 1  # the flag of a member with a password


@pytest.mark.parametrize(
    ("content", "suffix", "problem"),
    [
        (gzip.compress(CONTENT, mtime=0)[:-10], ".csv.gz", "it cannot be decompressed: Compressed file ended before"),
        (gzip.compress(CONTENT, mtime=0)[:50], ".csv.gz", "it cannot be decompressed: Compressed file ended before"),
        (
            gzip.compress(CONTENT, mtime=0)[:3000] + b"\xff" * 100 + gzip.compress(CONTENT, mtime=0)[3100:],
            ".csv.gz",
            "it cannot be decompressed",
        ),
        (gzip.compress(CONTENT, mtime=0) + b"rest", ".csv.gz", "it cannot be decompressed: Not a gzipped file"),
        (CONTENT, ".csv.gz", "it cannot be decompressed: Not a gzipped file"),
        (b"", ".csv.gz", "the file is empty"),
        (zipped(a=CONTENT)[:-30], ".csv.zip", "it is no readable zip file: File is not a zip file"),
        (CONTENT, ".csv.zip", "it is no readable zip file: File is not a zip file"),
        (zipped(a=CONTENT)[:500] + b"\xff" * 100 + zipped(a=CONTENT)[600:], ".csv.zip", "it cannot be decompressed"),
        (zipped(a=CONTENT, b=CONTENT), ".csv.zip", "the archive has 2 members; legal: one file"),
        (zipped(), ".csv.zip", "the archive has 0 members; legal: one file"),
        (bytes(ENCRYPTED), ".csv.zip", "without a password"),
    ],
)
def test_damage_is_one_clear_error(tmp_path: Path, content: bytes, suffix: str, problem: str) -> None:
    result = read(tmp_path, content, suffix)
    assert (result.rows, [*result.reasons]) == ([], [0])
    assert (
        f"line/t/2024-03-01{suffix} · " in result.reasons[0] and problem in result.reasons[0] and result.reasons[0].endswith(".")
    )


@pytest.mark.parametrize("suffix", [".csv.gz", ".csv.zip"])
def test_the_limit_counts_what_is_decompressed(tmp_path: Path, suffix: str) -> None:
    bomb = b"k,v\n" + b"1," + b"0" * 10_000_000 + b"\n"
    content = gzip.compress(bomb, mtime=0) if suffix == ".csv.gz" else zipped(a=bomb)
    result = read(tmp_path, content, suffix, max_bytes=1_000_000)
    legal = "legal: at most 1,000,000. Deliver fewer rows, or raise max_bytes of the source."
    assert result.reasons[0].endswith(f"it has more than 1,000,000 bytes when it is decompressed; {legal}")


def test_a_broken_file_hides_no_other_day_and_two_of_one_day_are_a_fault(tmp_path: Path) -> None:
    folder = tmp_path / "line" / "t"
    folder.mkdir(parents=True)
    (folder / "2024-03-01.csv.gz").write_bytes(gzip.compress(CONTENT, mtime=0)[:50])
    (folder / "2024-03-02.csv").write_bytes(CONTENT)
    (folder / "2024-03-02.csv.bak").write_bytes(CONTENT)
    (folder / "2024-03-02.csv.gz").write_bytes(gzip.compress(CONTENT, mtime=0))
    landing = Landing(tmp_path)
    days = [DAY, DAY.replace(day=2)]
    raw = landing.read("line", TABLE, days, required=True)
    assert raw.group_by("day").len().sort("day").rows() == [(days[0], 1), (days[1], 5000)]
    landed = landing.scan("line", "t")
    assert [*landed.digests] == ["2024-03-01", "2024-03-02"]
    assert landed.faults["2024-03-02.csv.gz"] == "it is not read, as 2024-03-02.csv is of the same day. Remove one of them"
    assert landing.digest("line", "t", days[1]) == landed.digests["2024-03-02"]
