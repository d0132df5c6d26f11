"""A server in a process of its own that is called over HTTP."""

import contextlib
import subprocess
import time
from collections.abc import Sequence

import httpx

from mlops_assets.local.processes import free_port

READY_S = 60


class HttpProcess:
    """`start` returns once it answers at `probe` with a status below 500."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, command: Sequence[str], probe: str) -> None:
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                if not httpx.get(f"{self.url}{probe}", trust_env=False).is_server_error:
                    return
            time.sleep(0.05)
        raise TimeoutError(f"{command[0]} did not answer within {READY_S} s")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
