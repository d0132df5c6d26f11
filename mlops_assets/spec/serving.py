"""How the service of one use case answers: who goes to which model, what is logged, what is kept, what is refused.

Belongs here: the words of serving. Not here: which version answers now (ports/deployment.py) and the answering (serving/).
"""

from datetime import timedelta
from typing import Literal

from pydantic import Field

from mlops_assets.spec.word import Word


class AnswerLog(Word):
    """The prediction log. Every answer is handed to the operating system before it leaves, so that a killed process loses
    none; with `max_lost_rows` above 0 so many rows may wait in memory, for up to `flush_every`, and a kill loses them.

    All of it is forced to the disk every `flush_every`, which bounds what a power cut takes. `when_full` says what happens
    when the log cannot be written: refuse, or answer without a log. Both are counted.
    """

    max_lost_rows: int = Field(default=0, ge=0)
    flush_every: timedelta = Field(default=timedelta(seconds=5), gt=timedelta(0))  # each costs 20 ms of everybody's latency
    when_full: Literal["refuse", "answer"] = "refuse"


class Cache(Word):
    """Scores of inputs seen before, by inputs and model digest: at most `max_entries`, none older than `ttl`.

    In the memory of each server, where those used least recently go first; or in the Redis of the online store for all of
    them, where each has one of `max_entries` places and a newer one takes it, so that some go before the bound is reached.
    """

    where: Literal["memory", "redis"] = "memory"
    max_entries: int = Field(default=10_000, ge=1)
    ttl: timedelta = Field(default=timedelta(minutes=1), gt=timedelta(0))


class Limits(Word):
    """What a server takes. Above `max_in_flight` requests at once it answers 429 with Retry-After rather than later and
    later; `max_rate` is requests a second for each API key, with bursts of one second (None: no limit).
    """

    max_body_bytes: int = Field(default=16 * 1024 * 1024, ge=1)
    max_rows: int = Field(default=10_000, ge=1)
    max_in_flight: int = Field(default=256, ge=1)
    max_rate: float | None = Field(default=None, gt=0)
    timeout: timedelta = Field(default=timedelta(seconds=10), gt=timedelta(0))


class Serving(Word):
    """`sticky_key` are columns of the request that keep a client in one arm of an A/B rollout."""

    sticky_key: tuple[str, ...] = ()
    log: AnswerLog = AnswerLog()
    cache: Cache | None = None
    limits: Limits = Limits()
