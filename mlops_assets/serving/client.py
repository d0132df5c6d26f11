"""The platform's own client of a running prediction service: typed predictions, the plan, waiting for a version.

Bento's SyncHTTPClient calls the same route; this one waits and retries, and loads no Bento.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import httpx
import msgspec

POLL_S = 0.2
MAX_TRIES = 4
MAX_WAIT_S = 30  # of a Retry-After; a longer one ends the attempts
RETRIED = (429, 503)


class ServiceUnavailable(ConnectionError):
    """The service is down, is another kind of service, or does not serve the version that was waited for."""


class RequestRefused(ValueError):
    """The service's error, with its message; `status` is the HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Prediction:
    """The answer for one row. `explanation`, on request, has what each input adds to the log-odds."""

    prediction_id: str
    probability: float
    decision: bool
    model_version: int
    arm: str  # champion or challenger
    features_from: str
    warnings: tuple[str, ...]
    explanation: Mapping[str, Any] | None = None


class _Answer(msgspec.Struct):
    predictions: list[Prediction]


class LiveService:
    """The service at `url`, such as http://127.0.0.1:3000. Keeps its connections until `close` or the end of a `with`."""

    def __init__(
        self, url: str, api_key: str | None = None, timeout_s: float = 60, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.url, self.api_key, self._sleep = url, api_key, sleep
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        # trust_env off: two processes of one platform must not go through the machine's proxy
        self._client = httpx.Client(base_url=url, headers=headers, timeout=timeout_s, trust_env=False)

    def predict(self, rows: Sequence[Mapping[str, object]], *, explain: bool = False) -> list[Prediction]:
        """One prediction a row, in order, with the features of the feature store. NaN is sent as null.

        Raises RequestRefused with the service's message, ServiceUnavailable.
        """
        response = self._post(msgspec.json.encode({"rows": rows, "explain": explain}))
        if response.is_error:
            message = f"{self.url}/predict · HTTP {response.status_code} · {response.text[:2000]}"
            raise RequestRefused(message, response.status_code)
        try:
            return msgspec.json.decode(response.content, type=_Answer).predictions
        except msgspec.DecodeError as error:
            raise ServiceUnavailable(f"{self.url} · is no prediction service: {error}. Correct the address.") from error

    def plan(self) -> dict[str, Any] | None:
        """What the service serves; None when it does not answer."""
        try:
            response = self._client.get("/plan")
        except httpx.TransportError:
            return None
        return response.json() if response.is_success else None

    def wait_until_serving(self, version: int, timeout_s: float) -> dict[str, Any]:
        """The plan, once the service serves `version`. Raises ServiceUnavailable after about `timeout_s` seconds."""
        return self._wait(lambda plan: plan["champion"] == version, f"version {version}", timeout_s)

    def wait_until_taken(self, number: int, timeout_s: float) -> dict[str, Any]:
        """The plan, once the service serves the one of this number, or a newer one. Raises as `wait_until_serving`."""
        return self._wait(lambda plan: (plan["plan"] or 0) >= number, f"plan {number}", timeout_s)

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wait(self, holds: Callable[[dict[str, Any]], bool], what: str, timeout_s: float) -> dict[str, Any]:
        plan: dict[str, Any] | None = None
        for _ in range(max(1, math.ceil(timeout_s / POLL_S))):
            plan = self.plan()
            if plan is not None and holds(plan):
                return plan
            self._sleep(POLL_S)
        served = plan and f"it serves version {plan['champion']}; last load error: {plan['last_load_error']}"
        message = f"waited {timeout_s:g} s for {what}; {served or 'it does not answer'}. Look into the service's log."
        raise ServiceUnavailable(f"{self.url} · {message}")

    def _post(self, content: bytes) -> httpx.Response:
        """The last response of at most MAX_TRIES."""
        response = self._post_once(content)
        for _ in range(MAX_TRIES - 1):
            if (wait_s := _retry_after_s(response)) is None:
                break
            self._sleep(wait_s)
            response = self._post_once(content)
        return response

    def _post_once(self, content: bytes) -> httpx.Response:
        try:
            return self._client.post("/predict", content=content, headers={"Content-Type": "application/json"})
        except httpx.TransportError as error:
            message = f"{self.url} · {str(error) or type(error).__name__}. Start it with `mlops up`."
            raise ServiceUnavailable(message) from error


def _retry_after_s(response: httpx.Response) -> float | None:
    """None except for a 429 or 503 with a short Retry-After: any other request may have been answered and logged."""
    seconds = response.headers.get("Retry-After", "")
    if response.status_code not in RETRIED or not seconds.isdecimal() or int(seconds) > MAX_WAIT_S:
        return None
    return float(seconds)
