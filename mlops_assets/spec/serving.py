"""How the service of one use case serves: routing, prediction log, cache, limits."""

from datetime import timedelta
from typing import Literal

from pydantic import Field

from mlops_assets.spec.spec import Spec


class AnswerLog(Spec):
    """The prediction log. Every answer is passed to the operating system before it is sent, so that a killed process loses
    none; with `max_lost_rows` above 0 so many rows may wait in memory for up to `flush_every`, and a kill loses them. The log
    is synced to disk every `flush_every`, which bounds the loss of a power cut. `when_full`: while the log cannot be written,
    refuse requests, or answer without a log entry. Both are counted.
    """

    max_lost_rows: int = Field(default=0, ge=0)
    flush_every: timedelta = Field(default=timedelta(seconds=5), gt=timedelta(0))  # a flush delays all requests 20 ms
    when_full: Literal["refuse", "answer"] = "refuse"


class Cache(Spec):
    """Scores in the memory of every server, by inputs and model digest: the `max_entries` last used, none older than `ttl`."""

    max_entries: int = Field(default=10_000, ge=1)
    ttl: timedelta = Field(default=timedelta(minutes=1), gt=timedelta(0))


class Limits(Spec):
    """Above `max_in_flight` requests at once a server answers 429 with Retry-After. `max_rate` is requests a second per API key
    (None: no limit), counted in the shortest window of whole seconds that holds a whole number of them, over all servers that
    share a Redis (MLOPS_ONLINE_STORE); otherwise every server counts by itself. The prediction moment of a row is at most
    `max_ahead` after the server's clock and `max_past` before it (None: any time, as a replay needs).
    """

    max_body_bytes: int = Field(default=16 * 1024 * 1024, ge=1)
    max_rows: int = Field(default=10_000, ge=1)
    max_in_flight: int = Field(default=256, ge=1)
    max_rate: float | None = Field(default=None, gt=0)
    timeout: timedelta = Field(default=timedelta(seconds=10), gt=timedelta(0))
    max_ahead: timedelta = Field(default=timedelta(days=7), ge=timedelta(0))
    max_past: timedelta | None = Field(default=None, gt=timedelta(0))


class Serving(Spec):
    """`sticky_key` are columns of the request that keep a client in one arm of an A/B rollout."""

    sticky_key: tuple[str, ...] = ()
    log: AnswerLog = AnswerLog()
    cache: Cache | None = None
    limits: Limits = Limits()
