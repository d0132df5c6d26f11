"""A running prediction service, asked over HTTP.

Belongs here: asking for the plan and for predictions, waiting for a version. Not here: what the service does (serving/).
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import httpx

POLL_S = 0.2
STATUS_BAD_REQUEST = 400


class NobodyAnswers(ConnectionError):
    """The service is down, or does not serve what was waited for."""


class RequestRefused(ValueError):
    """The service answered, with an error."""


class LiveService:
    """The service at `url`, such as http://127.0.0.1:3000. Keeps its connection; `close` ends it."""

    def __init__(self, url: str, timeout_s: float = 60) -> None:
        self._url = url
        # trust_env off: a proxy of the machine must not stand between two processes of one platform
        self._client = httpx.Client(base_url=url, timeout=timeout_s, trust_env=False)

    def plan(self) -> dict[str, Any] | None:
        """What the service says that it serves; None when nobody answers."""
        try:
            response = self._client.get("/plan")
        except httpx.TransportError:
            return None
        return response.json() if response.is_success else None

    def predict(self, rows: Sequence[Mapping[str, object]]) -> list[dict[str, Any]]:
        """One prediction a row, in order. Raises RequestRefused with the service's own words, NobodyAnswers."""
        body = {"rows": [{name: _sayable(value) for name, value in row.items()} for row in rows]}
        try:
            response = self._client.post("/predict", json=body)
        except httpx.TransportError as error:
            raise NobodyAnswers(f"{self._url} · {error or type(error).__name__}. Start it with `mlops up`.") from error
        if response.status_code >= STATUS_BAD_REQUEST:
            raise RequestRefused(f"{self._url}/predict · HTTP {response.status_code} · {response.text[:2000]}")
        return response.json()["predictions"]

    def wait_until_serving(self, version: int, timeout_s: float, sleep: Callable[[float], None] = time.sleep) -> dict[str, Any]:
        """The plan, once the service answers with `version`. Raises NobodyAnswers after about `timeout_s` seconds."""
        plan: dict[str, Any] | None = None
        for _ in range(max(1, math.ceil(timeout_s / POLL_S))):
            plan = self.plan()
            if plan is not None and plan["champion"] == version:
                return plan
            sleep(POLL_S)
        found = _served(plan)
        raise NobodyAnswers(f"{self._url} · waited {timeout_s:g} s for version {version}; {found}. Look into the service's log.")

    def close(self) -> None:
        self._client.close()


def _sayable(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value


def _served(plan: Mapping[str, Any] | None) -> str:
    if plan is None:
        return "nobody answers"
    return f"version {plan['champion']} answers; last load error: {plan['last_load_error']}"
