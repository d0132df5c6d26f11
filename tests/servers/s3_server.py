"""An S3 server (moto) on a free loopback port, in a process of its own. Its buckets are in memory."""

import contextlib
import subprocess
import sys
import time

import httpx

from mlops_assets.local.processes import free_port


class S3Server:
    """`variables` are the environment that the AWS libraries read: its address, and a key that it admits to everything."""

    def __init__(self) -> None:
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self._port}"
        self.variables = {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def start(self) -> None:
        command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(self._port)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                httpx.get(f"{self.url}/moto-api/data.json", trust_env=False).raise_for_status()
                return
            time.sleep(0.05)
        raise TimeoutError("moto's server did not answer within 60 s")

    def check_credentials(self, *, after: int = 0) -> None:
        """From now on only users of its IAM are admitted, after this number of requests; it has none."""
        httpx.post(f"{self.url}/moto-api/reset-auth", content=str(after), trust_env=False).raise_for_status()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
