"""Which requests are admitted: API keys, the rate of each key, and the number of requests in flight."""

import logging
from collections.abc import Callable

from mlops_assets.serving.http.api_keys import ApiKey, ApiKeys, UnreadableApiKeys, digest_of
from mlops_assets.serving.http.rate_limit import RateLimiter
from mlops_assets.serving.http.request import Headers, Refusal
from mlops_assets.spec.serving import Limits

ANONYMOUS = "anonymous"
CHECK_EVERY_S = 1.0
NEXT = "Ask the operator of this service for a key; `mlops keys add NAME --use-case USE_CASE` makes one."
UNREADABLE = "the API keys cannot be read, so no request is admitted; the log of the service has the cause"
RETRY_AFTER_S = 5
HOW = "Authorization: Bearer TOKEN, or X-API-Key: TOKEN"

log = logging.getLogger("bentoml.mlops_assets")


class Admission:
    """Admits requests to one use case of a server process. Until the first key is made, every request is `anonymous` and shares
    one rate (`is_open`), or none is admitted. While the keys cannot be read none is admitted either: a revoked key could not be
    refused.
    """

    def __init__(
        self,
        keys: ApiKeys,
        limits: Limits,
        *,
        use_case: str,
        clock: Callable[[], float],
        is_open: bool,
        rates: RateLimiter | None = None,
    ) -> None:
        self._keys, self._limits, self._clock, self._open, self._rates = keys, limits, clock, is_open, rates
        self._use_case, self._others = use_case, dict[bytes, ApiKey]()  # keys of other use cases
        self._names: dict[bytes, str] | None = None
        self._last_error = ""
        self._reload(clock())
        self.in_flight = 0

    @property
    def problem(self) -> str | None:
        """Why no request is admitted, without paths; None where requests are. Looks at the file once a second at most."""
        if (now := self._clock()) >= self._check_at:
            self._reload(now)
        return UNREADABLE if self._last_error else None

    async def admit(self, headers: Headers) -> str:
        """The name of the key in the ASGI headers of a request. Raises Refusal."""
        now = self._clock()
        if now >= self._check_at:
            self._reload(now)
        name = self._name(headers)
        if self._rates is not None and (retry_after_s := await self._rates.hit(name)):
            found, legal = f"too many requests with the key {name!r}", f"{self._limits.max_rate:g} requests a second for each key"
            raise Refusal(429, found, legal=legal, next="Send fewer, larger requests.", headers=retry_after(retry_after_s))
        return name

    def enter(self) -> None:
        """Counts one more request in flight, until `leave`. Raises Refusal, after which `leave` must not be called."""
        if self.in_flight >= self._limits.max_in_flight:
            legal = f"at most {self._limits.max_in_flight} requests at once"
            raise Refusal(429, "the service is full", legal=legal, headers=retry_after(1))
        self.in_flight += 1

    def leave(self) -> None:
        self.in_flight -= 1

    def _name(self, headers: Headers) -> str:
        if self._names is None and self._open:
            return ANONYMOUS
        if self._names is None:
            found = "this service has no API key yet and requires one"
        elif (token := _token(headers)) is None:
            found = "no API key"
        elif name := self._names.get(digest_of(token)):
            return name
        elif other := self._others.get(digest_of(token)):
            raise Refusal(403, f"an API key of {other.scope}", legal=f"an API key of {self._use_case}", next=NEXT)
        else:
            found = "an API key that is unknown or revoked"
        if self._last_error:
            raise Refusal(503, UNREADABLE, headers=retry_after(RETRY_AFTER_S))
        raise Refusal(401, found, legal=HOW, next=NEXT, headers=((b"www-authenticate", b"Bearer"),))

    def _reload(self, now: float) -> None:
        """A file that cannot be read, or is gone after it was there, counts as one without active keys."""
        self._check_at = now + CHECK_EVERY_S
        try:
            keys = self._keys.active()
            if keys is None and self._names is not None:
                raise UnreadableApiKeys("the file of the API keys is gone. Restore it; to refuse a key, revoke it.")
            own = {digest: key.name for digest, key in (keys or {}).items() if key.is_valid_for(self._use_case)}
            self._others = {digest: key for digest, key in (keys or {}).items() if digest not in own}
            self._names, self._last_error = None if keys is None else own, ""
        except UnreadableApiKeys as error:
            if str(error) != self._last_error:
                log.error("no request is admitted: %s", error)
            self._names, self._others, self._last_error = {}, {}, str(error)


def retry_after(seconds: int) -> Headers:
    return ((b"retry-after", b"%d" % seconds),)


def _token(headers: Headers) -> bytes | None:
    """X-API-Key has precedence: a proxy may use Authorization for itself."""
    bearer = None
    for name, value in headers:
        if name == b"x-api-key":
            return value.strip()
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            bearer = value[7:].strip()
    return bearer
