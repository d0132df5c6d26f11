"""The platform's own client of a running prediction service. Unlike Bento's, it waits and retries, and loads no Bento."""

import ssl
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import httpx
import msgspec

from mlops_assets.promotion.deployment import Plan
from mlops_assets.serving.http.answer import Answer

if TYPE_CHECKING:
    from mlops_assets.promotion.promotions import Promotions

TIMEOUT_S, POLL_S = 60, 0.2
TAKE_OVER_S = 10.0  # a server reads the plan four times a second, and loads a model within a few seconds
PLAN_TIMEOUT_S = 2  # a server has its plan in memory: one that takes longer hangs
EXPECTED = ("use_case", "plan", "champion", "last_load_error")  # what every service reports about its plan
MAX_TRIES = 4
MAX_WAIT_S = 30  # of a Retry-After; a longer one ends the attempts
RETRIED = (429, 503)


class ServiceUnavailable(ConnectionError):
    """The service is down, or is another kind of service."""


class RequestRefused(ValueError):
    """The service's error, with its message; `status` is the HTTP status, and `body` has every problem as JSON."""

    def __init__(self, message: str, status: int, body: str) -> None:
        super().__init__(message)
        self.status, self.body = status, body


@dataclass(frozen=True)
class Served:
    """What a service reports (None when it does not answer), and whether that is the plan in force of `use_case`."""

    url: str
    use_case: str
    reported: dict[str, Any] | None
    in_force: bool

    @property
    def is_of_another(self) -> bool:
        """Whether the service answers, for another use case."""
        return self.reported is not None and self.reported["use_case"] != self.use_case

    @property
    def problem(self) -> str:
        """Empty where the plan in force is served."""
        if self.in_force:
            return ""
        if self.reported is None:
            return f"{self.url} · it does not answer. Start it with `mlops up`, or look into the service's log."
        if self.is_of_another:
            remedy = f"Add a server of {self.use_case} to MLOPS_SERVICE_URL, or serve it there too (MLOPS_USE_CASE)"
            return f"{self.url} · it serves {self.reported['use_case']}, not {self.use_case}. {remedy}."
        version, plan = self.reported["champion"], self.reported["plan"]
        served = f"version {version} (plan {plan}), not the ledger's plan" if version else "no version yet"
        error = f"; last load error: {error}" if (error := self.reported["last_load_error"]) else ""
        return f"{self.url} · it serves {served}{error}. Look into the service's log."


def no_server(use_case: str, servers: Sequence[object]) -> str:
    """Why there are no servers; empty where there are."""
    return "" if servers else f"MLOPS_SERVICE_URL has no address of {use_case}. Add {use_case}=http://host:port to it."


@cache
def _certificates() -> ssl.SSLContext:
    """Loaded once: 100 clients load them in 2 s of CPU."""
    return httpx.create_ssl_context(trust_env=False)


class LiveService(AbstractContextManager["LiveService"]):
    """The service at `url`, such as http://127.0.0.1:3000, of `use_case` or of the only one there. A `with` closes it."""

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        use_case: str | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url, self.api_key, self._sleep, self._clock = url, api_key, sleep, clock
        base_url = f"{url.rstrip('/')}/{use_case}" if use_case else url
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        # trust_env off: two processes of one platform must not go through the machine's proxy
        self._client = httpx.Client(
            base_url=base_url, headers=headers, timeout=TIMEOUT_S, trust_env=False, verify=_certificates()
        )

    def predict(self, rows: Sequence[Mapping[str, object]], *, explain: bool = False) -> list[dict[str, Any]]:
        """One prediction a row, in order. NaN is sent as null. Raises RequestRefused, ServiceUnavailable."""
        response = self._post(msgspec.json.encode({"rows": rows, "explain": explain}))
        if response.is_error:
            message = f"{response.url} · HTTP {response.status_code} · {response.text[:2000]}"
            raise RequestRefused(message, response.status_code, response.text)
        try:
            return msgspec.json.decode(response.content, type=Answer).predictions
        except msgspec.DecodeError as error:
            raise ServiceUnavailable(f"{self.url} · is no prediction service: {error}. Correct the address.") from error

    def plan(self) -> dict[str, Any] | None:
        """What the service serves; None without an answer of a prediction service. Of other use cases, their names alone."""
        try:
            response = self._client.get("/plan", timeout=PLAN_TIMEOUT_S)
            reported = msgspec.json.decode(response.content, type=dict[str, Any])
        except (httpx.RequestError, msgspec.DecodeError):
            return None
        if response.status_code == HTTPStatus.NOT_FOUND and (others := reported.get("use_cases")):
            return dict.fromkeys(EXPECTED) | {"use_case": ", ".join(others)}
        return reported if reported.keys() >= {*EXPECTED} else None

    def metrics(self) -> str | None:
        """The page of all use cases there, in the text format of Prometheus; None without an answer."""
        try:
            response = self._client.get(f"{self.url.rstrip('/')}/metrics", timeout=PLAN_TIMEOUT_S)
        except httpx.RequestError:
            return None
        return response.text if response.is_success else None

    def follows(self, use_case: str, plan_in_force: Callable[[], Plan | None], timeout_s: float) -> "Served":
        """Whether the service, once it answers for the use case, serves exactly `plan_in_force`, which may change meanwhile."""

        def is_served(reported: dict[str, Any]) -> bool:
            plan = plan_in_force()
            return reported["use_case"] == use_case and (plan.is_served(reported) if plan else reported["plan"] is None)

        reported, deadline = self.plan(), self._clock() + timeout_s
        if reported and reported["use_case"] == use_case:
            while not (reported and is_served(reported)) and self._clock() < deadline:
                self._sleep(POLL_S)
                reported = self.plan()
        return Served(self.url, use_case, reported, reported is not None and is_served(reported))

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def _post(self, content: bytes, tries: int = MAX_TRIES) -> httpx.Response:
        """The last response of at most `tries`."""
        try:
            response = self._client.post("/predict", content=content, headers={"Content-Type": "application/json"})
        except httpx.TransportError as error:
            message = f"{self.url} · {str(error) or type(error).__name__}. Start it with `mlops up`."
            raise ServiceUnavailable(message) from error
        seconds = response.headers.get("Retry-After", "")
        # Without a short Retry-After, or with another status, the request may have been answered and logged.
        may_retry = response.status_code in RETRIED and seconds.isdecimal() and int(seconds) <= MAX_WAIT_S
        if tries == 1 or not may_retry:
            return response
        self._sleep(float(seconds))
        return self._post(content, tries - 1)


def confirm(promotions: "Promotions", services: Iterable[LiveService], *, before: int) -> tuple[list[Served], str]:
    """What each server serves, and why that is not the ledger's newest change, which came after record `before`; empty where
    every one, and one at least, follows, and before the first champion. Closes the `services`.
    """
    servers, name = list[Served](), promotions.use_case.name
    for service in services:
        with service:
            servers.append(service.follows(name, lambda: promotions.state().plan, TAKE_OVER_S))
    is_confirmed = any(server.in_force for server in servers)
    problems = [server.problem for server in servers if not (server.in_force or (server.is_of_another and is_confirmed))]
    problems += filter(None, [no_server(name, servers)])
    if not problems or not (plan := promotions.state().plan):
        return servers, ""
    who = "not every server" if is_confirmed else "no server"
    changed = _describe_changed(promotions, before) or f"nothing has changed in the ledger, where {plan.title} is in force"
    where = f"{name} · {changed}, and {who} confirmed it"
    return servers, f"{where} · {' '.join(problems)} `mlops status {name}` shows what servers serve."


def _describe_changed(promotions: "Promotions", before: int) -> str:
    """The newest record after `before`; empty where there is none."""
    *_, record = promotions.ledger.records(promotions.use_case.name, after=before) or [None]
    return f"the ledger has the change: record {record.number}, {record}" if record else ""
