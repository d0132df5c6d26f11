"""Who is let in: API keys, the rate of each, and how many requests at once.

Belongs here: the decision, a few microseconds long, in the one thread of the event loop. Not here: the file of the keys
(ports/api_keys.py), HTTP answers (web.py) and connections (patience.py).
"""

import logging
import math
from collections.abc import Callable, Sequence

from mlops_assets.ports.api_keys import ApiKeys, UnreadableApiKeys, digest_of
from mlops_assets.spec.serving import Limits

ANONYMOUS = "anonymous"
LOOK_EVERY_S = 1.0
BURST_S = 1.0
ROUNDING_S = 1e-6  # of the sums of floats below: a caller exactly at its rate is let in
NEXT = "Ask whoever runs this service for a key; `mlops keys add NAME` makes one."
HOW = "Authorization: Bearer TOKEN, or X-API-Key: TOKEN"

log = logging.getLogger("bentoml.mlops_assets")


class NotAdmitted(Exception):
    """A request that is answered with `status` (401 or 429) and nothing else; `retry_after_s` are whole seconds."""

    def __init__(self, status: int, found: str, *, legal: str, next: str, retry_after_s: int | None = None) -> None:
        super().__init__(f"{status}: {found}")
        self.status, self.found, self.legal, self.next, self.retry_after_s = status, found, legal, next, retry_after_s


class Admission:
    """The door of one server process. `clock` gives seconds that only grow.

    Where no key was ever made, everybody is `anonymous` and shares one rate (`open_without_keys`), or nobody is let in.
    Rates and requests in flight are counted in this process: with several replicas each key has its rate on each of them.
    """

    def __init__(self, keys: ApiKeys, limits: Limits, *, clock: Callable[[], float], open_without_keys: bool) -> None:
        """Raises UnreadableApiKeys: a server must not start without knowing whom it may let in."""
        self._keys, self._clock, self._open = keys, clock, open_without_keys
        self._stamp = keys.stamp()
        self._names = keys.active()
        self._look_at = clock() + LOOK_EVERY_S
        self._trouble = ""
        self._rates = _Rates(limits.max_rate) if limits.max_rate else None
        self._max_in_flight = limits.max_in_flight
        self.in_flight = 0

    def admit(self, headers: Sequence[tuple[bytes, bytes]]) -> str:
        """The name of the key in the headers of a request, as ASGI gives them. Raises NotAdmitted."""
        now = self._clock()
        if now >= self._look_at:
            self._look_again(now)
        name = self._name(headers)
        if self._rates is not None:
            self._rates.spend(name, now)
        return name

    def enter(self) -> None:
        """One more request in flight, until `leave`. Raises NotAdmitted, and then there is nothing to leave."""
        if self.in_flight >= self._max_in_flight:
            legal = f"at most {self._max_in_flight} requests at once"
            raise NotAdmitted(429, "the service is full", legal=legal, next="Try again later.", retry_after_s=1)
        self.in_flight += 1

    def leave(self) -> None:
        self.in_flight -= 1

    def _name(self, headers: Sequence[tuple[bytes, bytes]]) -> str:
        if self._names is None:
            if self._open:
                return ANONYMOUS
            raise NotAdmitted(401, "this service has no key yet and answers nobody without one", legal=HOW, next=NEXT)
        token = _token(headers)
        if token is None:
            raise NotAdmitted(401, "no API key", legal=HOW, next=NEXT)
        name = self._names.get(digest_of(token))
        if name is None:
            raise NotAdmitted(401, "an API key that is unknown or revoked", legal=HOW, next=NEXT)
        return name

    def _look_again(self, now: float) -> None:
        """Whatever happens to the file, what was known stays until it can be read: it must neither open nor close the door."""
        self._look_at = now + LOOK_EVERY_S
        try:
            stamp = self._keys.stamp()
            if stamp != self._stamp:
                self._names, self._stamp = self._read(), stamp
            self._trouble = ""
        except UnreadableApiKeys as error:
            if str(error) != self._trouble:
                log.error("the API keys read before stay in force: %s", error)
                self._trouble = str(error)

    def _read(self) -> dict[bytes, str] | None:
        names = self._keys.active()
        if names is None and self._names is not None:
            raise UnreadableApiKeys("the file of the API keys is gone. Restore it; to refuse a key, revoke it.")
        return names


class _Rates:
    """A token bucket a caller, which holds one second's worth (at least one request) and starts full.

    What is kept is one number a caller, when its bucket will be full again: the same bucket, without a refill to compute.
    Callers are names of keys, so that their number is bounded.
    """

    def __init__(self, a_second: float) -> None:
        self._a_second, self._interval_s = a_second, 1 / a_second
        self._slack_s = max(BURST_S - self._interval_s, 0.0) + ROUNDING_S
        self._full_at: dict[str, float] = {}

    def spend(self, name: str, now: float) -> None:
        full_at = max(self._full_at.get(name, now), now)
        if (wait_s := full_at - now - self._slack_s) > 0:
            found = f"too many requests with the key {name!r}"
            legal = f"{self._a_second:g} requests a second for each key"
            raise NotAdmitted(429, found, legal=legal, next="Send fewer, larger requests.", retry_after_s=math.ceil(wait_s))
        self._full_at[name] = full_at + self._interval_s


def _token(headers: Sequence[tuple[bytes, bytes]]) -> bytes | None:
    """X-API-Key goes first: a proxy may use Authorization for itself."""
    bearer = None
    for name, value in headers:
        if name == b"x-api-key":
            return value.strip()
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            bearer = value[7:].strip()
    return bearer
