"""What triggers look at."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple, Protocol

from mlops_assets.foundation.verdict import Verdict
from mlops_assets.spec.use_case import UseCase


class Reading(NamedTuple):
    """The newest verdict of a monitor. `reason_to_train` is from 0, as of a log that cannot be read, to 1; `symptoms` are what an
    alarm is about, such as the drifted inputs, where the monitor names them.
    """

    monitor: str
    verdict: Verdict
    message: str
    judged_at: datetime
    reason_to_train: float
    symptoms: tuple[str, ...] = ()


class Situation(Protocol):
    """One use case at one moment. What costs time is read when it is asked for."""

    @property
    def use_case(self) -> UseCase: ...

    @property
    def now(self) -> datetime: ...

    @property
    def trained_from(self) -> datetime | None:
        """When the newest training began; None before the first."""
        ...

    @property
    def trained_until(self) -> datetime | None:
        """When it ended."""
        ...

    @property
    def readings(self) -> Mapping[str, Reading]:
        """By monitor, of those that have judged."""
        ...

    def healthy_at(self, monitor: str) -> datetime | None:
        """When the monitor was healthy for the last time."""
        ...

    @property
    def champion(self) -> int | None: ...

    @property
    def champion_record(self) -> Mapping[str, str]:
        """How the champion was made, as its blessing signs it."""
        ...

    @property
    def code(self) -> Mapping[str, str]:
        """The entries of such a record that are about code, as they are now."""
        ...

    @property
    def new_rows(self) -> int | None:
        """The labelled rows that the champion's training could not read; None where its record does not tell."""
        ...

    def last_time(self, cron: str) -> datetime: ...

    def next_time(self, cron: str) -> datetime: ...
