"""A ledger whose database is down, locked, gone, or was never one."""

import os
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mlops_assets.foundation.home import read_environment
from mlops_assets.promotion import ledger_file
from mlops_assets.promotion.ledger import Ledger, LedgerDown
from mlops_assets.promotion.ledger_chain import Record
from tests.promotion.ledger_tamper import connected
from tests.servers.postgres_server import PASSWORD, PostgresServer

AT = datetime(2013, 6, 1, 12, 30, tzinfo=UTC)


def wrote(ledger: Ledger, times: int = 1, use_case: str = "flights", **fields: Any) -> Record:
    record = [ledger.append(use_case, "plan", {"champion": turn}, by="ana", at=AT, **fields) for turn in range(times)]
    return record[-1]


def test_a_database_that_is_down_is_reported_without_its_password_and_used_again_later(postgres: PostgresServer):
    url = postgres.new_database()
    ledger = Ledger(url)
    first = wrote(ledger)
    postgres.kill()
    try:
        calls: list[Callable[[], object]] = [
            lambda: wrote(ledger),
            lambda: ledger.records("flights"),
            lambda: ledger.verify("flights"),
            Ledger(url).use_cases,
        ]
        for call in calls:
            with pytest.raises(
                LedgerDown, match=r"ledger · postgresql://postgres:\*\*\*@127.0.0.1:\d+/db\d+ · does not answer"
            ) as refused:
                call()
            assert "correct MLOPS_LEDGER" in str(refused.value) and PASSWORD not in str(refused.value)
            assert refused.value.__suppress_context__
    finally:
        postgres.start()
    assert wrote(ledger).previous == first.digest


def test_a_wrong_password_is_reported_and_not_shown(postgres: PostgresServer):
    with pytest.raises(LedgerDown, match="password authentication failed") as refused:
        Ledger(postgres.url().replace("p%40ss", "sesame")).use_cases()
    assert "sesame" not in str(refused.value)


def test_a_role_that_may_only_read_and_insert_is_enough_once_the_table_is_there(postgres: PostgresServer):
    url = postgres.new_database()
    wrote(Ledger(url))
    with closing(connected(url)) as connection:
        connection.execute("CREATE ROLE writer LOGIN PASSWORD 'w'")
        connection.execute("GRANT SELECT, INSERT ON mlops_ledger TO writer")
    host = url.rpartition("@")[2]
    assert wrote(Ledger(f"postgresql://writer:w@{host}")).number == 2


def test_a_file_that_is_gone_or_no_database_is_down_and_never_a_new_ledger(tmp_path: Path):
    file = tmp_path / "ledger.db"
    ledger = Ledger(f"sqlite:///{file}")
    wrote(ledger)
    file.unlink()
    with pytest.raises(LedgerDown, match="unable to open database file"):
        wrote(ledger)
    assert not file.exists()
    file.write_bytes(5000 * b"x")
    with pytest.raises(LedgerDown, match="file is not a database"):
        Ledger(f"sqlite:///{file}").use_cases()
    with pytest.raises(LedgerDown, match="Not a directory|File exists"):
        Ledger(f"sqlite:///{file}/ledger.db").use_cases()


def test_a_writer_waits_for_a_locked_file_and_a_reader_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ledger_file, "BUSY_S", 0.2)
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    ledger = Ledger(url)
    wrote(ledger)
    with closing(connected(url)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerDown, match="database is locked"):
            wrote(ledger)
        assert len(ledger.records("flights")) == 1
    assert wrote(ledger).number == 2


def test_a_new_ledger_leaves_nothing_else_in_its_folder(tmp_path: Path):
    home = tmp_path / "a+b&c=d;e"
    ledger = Ledger(read_environment({"MLOPS_HOME": str(home)}, tmp_path).ledger_url)
    assert not [*tmp_path.iterdir()], "nothing is opened before it is used"
    wrote(ledger)
    assert os.listdir(home) == ["ledger.db"]


@pytest.mark.parametrize(
    "url",
    ["", "ledger.db", "sqlite://", "mysql://u:sesame@h/d", "postgresql://u:sesame@host", "postgresql://u:sesame@host:port/db",
     "postgres://u:sesame@host/db"],
)  # fmt: skip
def test_an_address_at_which_no_ledger_can_lie_is_refused_without_its_password(url: str):
    with pytest.raises(LedgerDown, match=r"ledger · address · .*legal: sqlite:///<file>, postgresql://") as refused:
        Ledger(url)
    assert "sesame" not in str(refused.value)
