"""Which requests are admitted: API keys, the rate of each key, and the number of requests in flight."""

import logging
from collections.abc import Callable, Sequence

from mlops_assets.serving.http.api_keys import ApiKeys, UnreadableApiKeys, digest_of
from mlops_assets.serving.http.rate_limit import RateLimiter
from mlops_assets.spec.serving import Limits

ANONYMOUS = "anonymous"
CHECK_EVERY_S = 1.0
NEXT = "Ask the operator of this service for a key; `mlops keys add NAME` makes one."
HOW = "Authorization: Bearer TOKEN, or X-API-Key: TOKEN"

log = logging.getLogger("bentoml.mlops_assets")


class NotAdmitted(Exception):
    """A request that is refused with `status`, 401 (the default) or 429; `retry_after_s` are whole seconds."""

    def __init__(
        self, found: str, *, status: int = 401, legal: str = HOW, next: str = NEXT, retry_after_s: int | None = None
    ) -> None:
        super().__init__(f"{status}: {found}")
        self.status, self.found, self.legal, self.next, self.retry_after_s = status, found, legal, next, retry_after_s


class Admission:
    """Admits requests to one server process. `clock` is monotonic, in seconds.

    Until the first key is made, every request is `anonymous` and shares one rate (`open_without_keys`), or none is admitted.
    """

    def __init__(
        self,
        keys: ApiKeys,
        limits: Limits,
        *,
        clock: Callable[[], float],
        open_without_keys: bool,
        rates: RateLimiter | None = None,
    ) -> None:
        """Raises UnreadableApiKeys, OSError: a server must not start without its keys."""
        self._keys, self._limits, self._clock, self._open, self._rates = keys, limits, clock, open_without_keys, rates
        self._stamp, self._names = keys.stamp(), keys.active()
        self._check_at = clock() + CHECK_EVERY_S
        self._last_error = ""
        self.in_flight = 0

    async def admit(self, headers: Sequence[tuple[bytes, bytes]]) -> str:
        """The name of the key in the ASGI headers of a request. Raises NotAdmitted."""
        now = self._clock()
        if now >= self._check_at:
            self._reload(now)
        name = self._name(headers)
        if self._rates is not None and (retry_after_s := await self._rates.hit(name)):
            found, legal = f"too many requests with the key {name!r}", f"{self._limits.max_rate:g} requests a second for each key"
            raise NotAdmitted(found, status=429, legal=legal, next="Send fewer, larger requests.", retry_after_s=retry_after_s)
        return name

    def enter(self) -> None:
        """Counts one more request in flight, until `leave`. Raises NotAdmitted, after which `leave` must not be called."""
        if self.in_flight >= self._limits.max_in_flight:
            legal = f"at most {self._limits.max_in_flight} requests at once"
            raise NotAdmitted("the service is full", status=429, legal=legal, next="Try again later.", retry_after_s=1)
        self.in_flight += 1

    def leave(self) -> None:
        self.in_flight -= 1

    def _name(self, headers: Sequence[tuple[bytes, bytes]]) -> str:
        if self._names is None:
            if self._open:
                return ANONYMOUS
            raise NotAdmitted("this service has no API key yet and requires one")
        if (token := _token(headers)) is None:
            raise NotAdmitted("no API key")
        if (name := self._names.get(digest_of(token))) is None:
            raise NotAdmitted("an API key that is unknown or revoked")
        return name

    def _reload(self, now: float) -> None:
        """Keeps the known keys while the file cannot be read: a broken file must neither admit nor lock out callers."""
        self._check_at = now + CHECK_EVERY_S
        try:
            if (stamp := self._keys.stamp()) != self._stamp:
                names = self._keys.active()
                if names is None and self._names is not None:
                    raise UnreadableApiKeys("the file of the API keys is gone. Restore it; to refuse a key, revoke it.")
                self._names, self._stamp = names, stamp
            self._last_error = ""
        except (OSError, UnreadableApiKeys) as error:
            if str(error) != self._last_error:
                log.error("the API keys read before stay in force: %s", error)
                self._last_error = str(error)


def _token(headers: Sequence[tuple[bytes, bytes]]) -> bytes | None:
    """X-API-Key has precedence: a proxy may use Authorization for itself."""
    bearer = None
    for name, value in headers:
        if name == b"x-api-key":
            return value.strip()
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            bearer = value[7:].strip()
    return bearer
