"""A real pgbouncer before a Postgres of the tests, where its binary is installed (.ci/run does)."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from mlops_assets.local.processes import free_port
from tests.servers.postgres_server import NOBODY, PASSWORD

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
needs_pgbouncer = pytest.mark.skipif(PGBOUNCER is None, reason="not installed: pgbouncer (.ci/run installs it on Debian)")
READY_S = 30


@contextmanager
def pooled(url: str) -> Iterator[str]:
    """The address of the same database by way of a pool that gives each transaction any of its connections."""
    address, port, folder = make_url(url), free_port(), Path(tempfile.mkdtemp(prefix="mlops-pgbouncer-"))
    (folder / "users").write_text(f'"postgres" "{PASSWORD}"\n')
    settings = {
        "listen_addr": "127.0.0.1", "listen_port": port, "unix_socket_dir": "", "auth_type": "plain",
        "auth_file": folder / "users", "pool_mode": "transaction", "default_pool_size": 4,
    }  # fmt: skip
    lines = ["[databases]", f"* = host=127.0.0.1 port={address.port}", "[pgbouncer]"]
    (folder / "pgbouncer.ini").write_text("\n".join([*lines, *(f"{name} = {value}" for name, value in settings.items())]))
    folder.chmod(0o755)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    user = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}  # it refuses to run as root
    process = subprocess.Popen([PGBOUNCER or "", folder / "pgbouncer.ini"], **quiet, **user)
    through = address.set(port=port).render_as_string(hide_password=False)
    try:
        _wait_for(through)
        yield through
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        with suppress(psycopg.OperationalError):
            psycopg.connect(url, connect_timeout=5).close()
            return
        time.sleep(0.05)
    raise TimeoutError(f"pgbouncer did not answer within {READY_S} s")
