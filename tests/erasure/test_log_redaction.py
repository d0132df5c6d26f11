"""Lines are blanked in place, in real files, while a writer and readers go on."""

import fcntl
import json
import threading
from pathlib import Path

import msgspec
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.erasure.stores import erase_from_log
from mlops_assets.serving.log.keyed_hash import keyed_hash
from mlops_assets.serving.log.prediction_log import PredictionLog, without_erased
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.erasure.subjects import build_subject
from tests.serving.log.test_prediction_log import answers

SECRET = b"s" * 32
HIDDEN = keyed_hash("N1", SECRET)
N1 = build_subject("N1", "tailnum", "aircraft", hashed=HIDDEN)
VALUES = st.sampled_from(["N1", "N12", 'N"1', "é N1", HIDDEN, "", None, " N1 "])


def segment(tmp_path: Path) -> Path:
    return tmp_path / "flight_delay" / "000001.jsonl"


def rows_of(log: PredictionLog, *tails: str | None) -> list[dict[str, object]]:
    rows = answers(len(tails)).with_columns(tailnum=pl.Series(tails, dtype=pl.String))
    return [
        row | {"prediction_id": f"{tail}-{number}"} for number, (tail, row) in enumerate(zip(tails, rows.to_dicts(), strict=True))
    ]


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.fixed_dictionaries({"tailnum": VALUES, "other": VALUES}), max_size=8), unfinished=st.booleans())
def test_exactly_the_subjects_lines_become_blank_and_no_byte_moves(
    tmp_path_factory: object, rows: list[dict[str, str | None]], unfinished: bool
) -> None:
    folder = tmp_path_factory.mktemp("log")  # type: ignore[attr-defined]
    lines = [msgspec.json.encode(row) + b"\n" for row in rows]
    content = b"".join(lines) + (b'{"tailnum":"N1"' if unfinished else b"")
    (folder / "000001.jsonl").write_bytes(content)
    theirs = [row["tailnum"] is not None and row["tailnum"].strip() in ("N1", HIDDEN) for row in rows]
    assert erase_from_log(folder, N1, dry_run=True) == erase_from_log(folder, N1, dry_run=False) == sum(theirs)
    expected = b"".join(b" " * (len(line) - 1) + b"\n" if gone else line for line, gone in zip(lines, theirs, strict=True))
    after = (folder / "000001.jsonl").read_bytes()
    assert after == expected + content[len(expected) :]
    assert without_erased(expected) == b"".join(line for line, gone in zip(lines, theirs, strict=True) if not gone)
    assert erase_from_log(folder, N1, dry_run=True) == 0


def test_a_reader_continues_from_any_position_without_the_erased_rows(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, USE_CASE, segment_bytes=3000)
    tails = ["N1", "N2", "N1", "N3", "N1", None, "N2"]
    positions: list[dict[str, int]] = [{}]
    for row in rows_of(log, *tails):
        log.append([row])
        positions.append(log.read()[1])
    sizes = log.segments()
    assert len(sizes) > 1
    erase_from_log(tmp_path / "flight_delay", N1, dry_run=False)
    assert log.segments() == sizes
    for number, position in enumerate(positions):
        rows, after = log.read(position)
        assert rows["tailnum"].to_list() == [tail for tail in tails[number:] if tail != "N1"]
        assert after == positions[-1]


def test_a_log_with_erased_rows_only_reads_as_empty(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, USE_CASE)
    log.append(rows_of(log, "N1", "N1"))
    erase_from_log(tmp_path / "flight_delay", N1, dry_run=False)
    assert log.read()[0].equals(pl.DataFrame(schema=log.schema))
    assert segment(tmp_path).read_bytes().strip(b" \n") == b""


def test_values_in_clear_and_hashed_are_both_erased(tmp_path: Path) -> None:
    schedule = USE_CASE.contract("schedule")
    columns = tuple(column.but(pii="hashed") if column.name == "tailnum" else column for column in schedule.columns)
    contracts = tuple(table.but(columns=columns) if table is schedule else table for table in USE_CASE.contracts)
    clear, hashed = PredictionLog(tmp_path, USE_CASE), PredictionLog(tmp_path, USE_CASE.but(contracts=contracts), secret=SECRET)
    for log in (clear, hashed):
        log.append(rows_of(log, "N1", "N2"))
    assert erase_from_log(tmp_path / "flight_delay", N1, dry_run=False) == 2
    assert clear.read()[0].height == 2
    held = b"".join(path.read_bytes() for path in tmp_path.rglob("*.jsonl"))
    assert HIDDEN.encode() not in held and b'"N1"' not in held and b'"N2"' in held


def test_a_half_blanked_line_is_skipped_by_readers_and_completed_by_the_next_call(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, USE_CASE)
    log.append(rows_of(log, "N2", "N1", "N3"))
    whole = segment(tmp_path).read_bytes()
    start = whole.index(b"\n") + 1
    length = whole.index(b"\n", start) - start
    for done in range(1, length, 17):  # the mark comes first; then any part of the content may be gone
        segment(tmp_path).write_bytes(whole[:start] + b" " * done + whole[start + done :])
        assert log.read()[0]["tailnum"].to_list() == ["N2", "N3"]
        erase_from_log(tmp_path / "flight_delay", N1, dry_run=False)
        assert segment(tmp_path).read_bytes() == whole[:start] + b" " * length + whole[start + length :]


def test_a_concurrent_writer_and_reader_lose_and_repeat_no_other_row(tmp_path: Path) -> None:
    log, requests = PredictionLog(tmp_path, USE_CASE, segment_bytes=200_000), 300
    read_ids: list[str] = []
    failed: list[BaseException] = []
    done = threading.Event()

    def write() -> None:
        row = rows_of(log, None)[0]
        for number in range(requests):
            log.append([row | {"tailnum": tail, "prediction_id": f"{tail}-{number}"} for tail in ("N1", "N2")])
        done.set()

    def read() -> None:
        positions: dict[str, int] = {}
        reader = PredictionLog(tmp_path, USE_CASE)
        try:
            ended = False
            while not ended:
                ended = done.is_set()
                rows, positions = reader.read(positions)
                read_ids.extend(rows["prediction_id"])
        except BaseException as error:  # noqa: BLE001 - shown by the test
            failed.append(error)

    threads = [threading.Thread(target=task) for task in (write, read)]
    for thread in threads:
        thread.start()
    while not done.is_set():
        erase_from_log(tmp_path / "flight_delay", N1, dry_run=False)
    for thread in threads:
        thread.join()
    erase_from_log(tmp_path / "flight_delay", N1, dry_run=False)
    assert failed == []
    assert [row_id for row_id in read_ids if row_id.startswith("N2")] == [f"N2-{number}" for number in range(requests)]
    assert len(set(read_ids)) == len(read_ids)
    assert log.read()[0]["prediction_id"].to_list() == [f"N2-{number}" for number in range(requests)]
    assert b'"N1"' not in b"".join(path.read_bytes() for path in tmp_path.rglob("*.jsonl"))


def test_a_line_with_the_value_in_another_column_stays(tmp_path: Path) -> None:
    line = json.dumps({"tailnum": "N2", "trace_id": "N1"}) + "\n"
    (tmp_path / "000001.jsonl").write_text(line)
    erase_from_log(tmp_path, N1, dry_run=False)
    assert (tmp_path / "000001.jsonl").read_text() == line


def test_readers_share_the_log_and_write_nothing_to_its_folder(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, USE_CASE)
    log.append(rows_of(log, "N1", "N2"))
    with segment(tmp_path).open("rb") as reader:
        fcntl.flock(reader, fcntl.LOCK_SH)
        segment(tmp_path).parent.chmod(0o500)
        assert log.read()[0].height == 2
    segment(tmp_path).parent.chmod(0o700)
    assert list(segment(tmp_path).parent.iterdir()) == [segment(tmp_path)]


def test_redaction_waits_for_a_reader(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, USE_CASE)
    log.append(rows_of(log, "N1"))
    redaction = threading.Thread(target=erase_from_log, args=(tmp_path / "flight_delay", N1), kwargs={"dry_run": False})
    with segment(tmp_path).open("rb") as reader:
        fcntl.flock(reader, fcntl.LOCK_SH)
        redaction.start()
        redaction.join(0.2)
        assert b'"N1"' in reader.read()
    redaction.join()
    assert log.read()[0].is_empty()


def test_a_line_that_is_no_json_is_erased_where_it_contains_the_value(tmp_path: Path) -> None:
    (tmp_path / "000001.jsonl").write_bytes(b'{"tailnum":"N1","x\n{"tailnum":"N12",\n{"tailnum":"N1"}\n')
    assert erase_from_log(tmp_path, N1, dry_run=False) == 2
    assert (tmp_path / "000001.jsonl").read_bytes() == b" " * 18 + b'\n{"tailnum":"N12",\n' + b" " * 16 + b"\n"
