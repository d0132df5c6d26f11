"""A process that reads a source is killed at any moment: every landed file is whole, and the next run completes the rows."""

import random
import sqlite3
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from mlops_assets.foundation.home import PROJECT
from tests.ingestion.pulling.shop import SQL, Shop, day

KILLS, ROWS = 4, 4000
PULL = """
import sys
from pathlib import Path
from tests.ingestion.pulling.shop import SQL, Shop
shop = Shop(Path(sys.argv[1]), SQL, {"ORDERS_URL": sys.argv[2]})
print("ready", flush=True)
print(shop.pull(), flush=True)
"""


@pytest.mark.slow  # four processes that load Polars and SQLAlchemy
def test_killed_pulls_lose_and_double_nothing(tmp_path: Path) -> None:
    draw, database = random.Random(5), sqlite3.connect(tmp_path / "orders.db")
    database.execute("CREATE TABLE orders (number PRIMARY KEY, amount, note, paid, ordered_at, updated_at)")
    shop = Shop(tmp_path / "landing", SQL, {"ORDERS_URL": f"sqlite:///{tmp_path / 'orders.db'}"})
    amounts: dict[int, float] = {}
    for step in range(KILLS):
        new = {draw.randrange(ROWS): float(step) for _ in range(ROWS // 2)}
        updated = day(6, minutes=step).strftime("%Y-%m-%d %H:%M:%S")
        rows = [
            (number, amount, "x", 1, (day(0) + timedelta(minutes=number)).strftime("%Y-%m-%d %H:%M:%S"), updated)
            for number, amount in new.items()
        ]
        database.executemany("INSERT OR REPLACE INTO orders VALUES (?, ?, ?, ?, ?, ?)", rows)
        database.commit()
        amounts |= new
        command = [sys.executable, "-c", PULL, str(shop.root), shop.secrets["ORDERS_URL"]]
        with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(draw.uniform(0, 0.5))
            process.kill()
        assert shop.rows().quarantined.is_empty()
    shop.pull()
    assert shop.accepted() == dict(sorted(amounts.items()))
    assert shop.pull().files == []
