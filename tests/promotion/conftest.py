"""A model line for each test, and one Postgres for all."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.promotion.model_line import ModelLine
from tests.servers.postgres_server import PostgresServer, running_postgres


@pytest.fixture
def line(tmp_path: Path) -> ModelLine:
    return ModelLine(tmp_path)


@pytest.fixture
def risky(tmp_path: Path) -> ModelLine:
    """Its use case is of high risk."""
    return ModelLine(tmp_path, risk="high")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a ledger that does not exist yet."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'home' / 'ledger.db'}"
    return request.getfixturevalue("postgres").new_database()
