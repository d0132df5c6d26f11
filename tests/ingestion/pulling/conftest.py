"""One Postgres for all tests of this folder."""

from collections.abc import Iterator

import pytest

from tests.servers.postgres_server import PostgresServer, running_postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        yield server
