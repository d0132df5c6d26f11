"""Many writers of one ledger, on SQLite and on Postgres: at once, too late, killed."""

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from mlops_assets.promotion.ledger import ConcurrentWrite, Ledger
from mlops_assets.promotion.ledger_chain import DamagedLedger, Record

AT = datetime(2013, 6, 1, 12, 30, tzinfo=UTC)
WRITE = """
import sys
from datetime import UTC, datetime
from mlops_assets.promotion.ledger import Ledger
url, by, times = sys.argv[1], sys.argv[2], int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
for turn in range(times):
    record = Ledger(url).append("flights", "step", {"turn": turn, "evidence": 5000 * "x"}, by=by, at=datetime.now(UTC))
    print(record.number, record.digest, flush=True)
"""


def wrote(ledger: Ledger, times: int = 1, use_case: str = "flights", **fields: Any) -> Record:
    record = [ledger.append(use_case, "plan", {"champion": turn}, by="ana", at=AT, **fields) for turn in range(times)]
    return record[-1]


def test_a_writer_with_an_old_state_gets_the_records_written_since(ledger_url: str):
    ledger = Ledger(ledger_url)
    wrote(ledger)
    ledger.append("flights", "rollback", {}, by="bob", at=AT + timedelta(hours=1))
    wrote(ledger)
    message = (
        r"flights · ledger · after record 1 came record 2 \(rollback by bob at 2013-06-01T13:30:00\+00:00\), record 3 \(plan"
    )
    with pytest.raises(ConcurrentWrite, match=message):
        wrote(ledger, after=1)
    with pytest.raises(ConcurrentWrite, match=r"after record 0 came record 1 \(plan by ana"):
        wrote(ledger, after=0)
    with pytest.raises(DamagedLedger, match="record 7 was read, and the newest is 3: records are gone"):
        wrote(ledger, after=7)
    assert len(ledger.records("flights")) == 3


def test_a_rival_between_reading_and_writing_wins_once(ledger_url: str):
    """The narrowest race, made certain: the rival writes just before our insert is sent."""
    ledger, rival, calls = Ledger(ledger_url), Ledger(ledger_url), []
    wrote(ledger), wrote(rival)

    def rush(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        if statement.startswith("INSERT") and not calls:
            calls.append(statement)
            rival.append("flights", "promotion", {}, by="rival", at=AT)

    event.listen(Engine, "before_cursor_execute", rush)
    try:
        with pytest.raises(ConcurrentWrite, match=r"after record 2 came record 3 \(promotion by rival"):
            wrote(ledger, after=2)
        calls.clear()
        assert wrote(ledger).number == 5
    finally:
        event.remove(Engine, "before_cursor_execute", rush)
    assert [record.by for record in ledger.records("flights")] == ["ana", "ana", "rival", "rival", "ana"]
    assert ledger.verify("flights") == []


def test_exactly_one_of_two_writers_who_read_the_same_wins_and_the_other_gets_its_name(ledger_url: str):
    ledgers = {"ana": Ledger(ledger_url), "bob": Ledger(ledger_url)}
    start = Barrier(2)

    def promote(by: str, after: int) -> Record | ConcurrentWrite:
        start.wait()
        try:
            return ledgers[by].append("flights", "promotion", {"by": by}, by=by, at=AT, after=after)
        except ConcurrentWrite as outrun:
            return outrun

    with ThreadPoolExecutor(2) as pool:
        for after in range(12):
            ended = [*pool.map(promote, ledgers, [after, after])]
            ((won, refused),) = [(a, b) for a in ended for b in ended if isinstance(a, Record) and isinstance(b, ConcurrentWrite)]
            assert won.number == after + 1
            assert f"record {won.number} (promotion by {won.by} at {won.at})" in str(refused)
    assert len(ledgers["ana"].records("flights")) == 12 and ledgers["ana"].verify("flights") == []


def test_threads_share_one_ledger(ledger_url: str):
    ledger = Ledger(ledger_url)
    with ThreadPoolExecutor(8) as pool:
        numbers = [*pool.map(lambda _: wrote(ledger).number, range(32))]
    assert sorted(numbers) == [*range(1, 33)] and ledger.verify("flights") == []


def writers(url: str, count: int, times: int) -> list[subprocess.Popen[bytes]]:
    """Processes that all begin at once, on a database that does not exist yet."""
    command = [sys.executable, "-c", WRITE, url]
    started = [
        # Without a buffer: lines that were read ahead would be lost to `communicate`.
        subprocess.Popen([*command, f"writer-{number}", str(times)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        for number in range(count)
    ]
    for process in started:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write(b"\n")
    return started


@pytest.mark.slow  # several processes
def test_processes_that_begin_at_once_lose_nothing_and_take_no_number_twice(ledger_url: str):
    printed = [line for writer in writers(ledger_url, 4, 15) for line in writer.communicate(timeout=120)[0].decode().splitlines()]
    records = Ledger(ledger_url).records("flights")
    assert sorted(printed) == sorted(f"{record.number} {record.digest}" for record in records)
    assert [record.number for record in records] == [*range(1, 61)]
    for writer in range(4):
        assert [record.body["turn"] for record in records if record.by == f"writer-{writer}"] == [*range(15)]
    assert Ledger(ledger_url).verify("flights") == []


@pytest.mark.slow  # several processes
def test_writers_killed_in_the_middle_leave_whole_records_or_none(ledger_url: str):
    killed, printed = writers(ledger_url, 3, 1_000_000), []
    for process in killed:
        assert process.stdout is not None
        printed += [process.stdout.readline().decode().strip() for _ in range(3)]
        process.kill()
        printed += process.communicate()[0].decode().splitlines()
        assert process.returncode == -signal.SIGKILL
    ledger = Ledger(ledger_url)
    records = ledger.records("flights")
    assert {*printed} <= {f"{record.number} {record.digest}" for record in records}
    assert len(records) <= len(printed) + len(killed), "each may have died between writing and printing, no more"
    assert wrote(ledger) in ledger.records("flights") and ledger.verify("flights") == []
