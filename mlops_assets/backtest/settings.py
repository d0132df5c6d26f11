"""What a backtest replays: a use case, the time, its steps and the declared costs."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from mlops_assets.backtest.history import History
from mlops_assets.backtest.schedules import Cost
from mlops_assets.foundation.durations import ONE_DAY
from mlops_assets.foundation.grains import table_calendar
from mlops_assets.spec.use_case import UseCase, stable_text

WEEK, UNIT_COST = 7 * ONE_DAY, Cost(training=1.0, point=1.0)


class IllegalBacktest(ValueError):
    """A backtest of a time or a use case that has no such history."""


@dataclass(frozen=True)
class Settings:
    """From the start of `first` to the end of `last`, both in UTC. The last step may be shorter than `every`."""

    use_case: UseCase
    first: date
    last: date
    every: timedelta = WEEK
    cost: Cost = UNIT_COST

    @property
    def start(self) -> datetime:
        return datetime.combine(self.first, time(), UTC)

    @property
    def end(self) -> datetime:
        return datetime.combine(self.last, time(), UTC) + ONE_DAY

    @property
    def steps(self) -> list[tuple[datetime, datetime]]:
        count = -(-(self.end - self.start) // self.every)
        bounds = [self.start + number * self.every for number in range(count)]
        return [(start, min(start + self.every, self.end)) for start in bounds]

    @property
    def fingerprint(self) -> str:
        """Of all that decides what happens; the costs do not."""
        text = f"{self.first} {self.last} {self.every} {stable_text(self.use_case)}"
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def require_time(self) -> None:
        """Raises IllegalBacktest, before anything is read."""
        name = self.use_case.name
        if self.first > self.last:
            raise IllegalBacktest(f"{name} · --from {self.first} is after --to {self.last}. Swap them.")
        if self.every < ONE_DAY or self.every % ONE_DAY:
            raise IllegalBacktest(
                f"{name} · --step-days {self.every / ONE_DAY:g}; legal: a whole number of days from 1. Correct it."
            )
        for table in dict.fromkeys((self.use_case.features.request_table, self.use_case.label.table)):
            if not table_calendar(self.use_case, table).cron:
                problem = f"{table} is a snapshot, which has no time, so there is no past to replay"
                raise IllegalBacktest(
                    f"{name} · {problem}. Backtest a use case whose requests and labels land by hour, day, week or month."
                )

    def require_history(self, history: History) -> None:
        """Raises IllegalBacktest where the days are not in the history."""
        name, table = self.use_case.name, self.use_case.features.request_table
        if history.days is None:
            place = f"landing/{name}/{table}/ of the home"
            raise IllegalBacktest(f"{name} · no file of {table} has landed, and no example is declared. Put files into {place}.")
        first, end = history.days
        if self.start <= first or self.end > end:
            found = f"--from {self.first} --to {self.last}"
            legal = f"the history is {first:%Y-%m-%d} to {end - ONE_DAY:%Y-%m-%d}, and the first model needs some days of it"
            raise IllegalBacktest(f"{name} · {found}; {legal}. Choose days inside it.")
