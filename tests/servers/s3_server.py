"""An S3 server (moto). Its buckets are in memory."""

import sys

import httpx

from tests.servers.http_process import HttpProcess


class S3Server(HttpProcess):
    """`variables` are the environment that the AWS libraries read: its address, and a key that it admits to everything."""

    def __init__(self) -> None:
        super().__init__()
        self.variables = {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def start(self) -> None:
        self.run([sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(self.port)], "/moto-api/data.json")

    def check_credentials(self, *, after: int = 0) -> None:
        """From now on only users of its IAM are admitted, after this number of requests; it has none."""
        httpx.post(f"{self.url}/moto-api/reset-auth", content=str(after), trust_env=False).raise_for_status()
