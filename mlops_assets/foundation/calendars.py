"""The calendar of each grain: its partitions, their keys, their first moments, and the columns that store them."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar
from zoneinfo import ZoneInfo

from mlops_assets.foundation.durations import ONE_DAY
from mlops_assets.spec.grain import ONE_HOUR, offsets
from mlops_assets.spec.moment import MAX_YEAR, MIN_YEAR

if TYPE_CHECKING:
    import polars as pl

# The first local day of a partition; of an hour, its first moment in UTC. Of one calendar all are of one type.
Partition = Any
DAY, HOUR_START = PARTITION_COLUMNS = ("day", "hour_start")
ONE_MICROSECOND = timedelta(microseconds=1)
WHOLE_TABLE = date(1970, 1, 1)  # on or before every day of a request, so that a snapshot is always known
DATES = r"\d{4}\D?\d{1,2}\D?\d{1,2}|\d{1,2}\D\d{1,2}\D\d{4}"


class IllegalKey(ValueError):
    """A text that names no partition."""


@dataclass(frozen=True)
class Calendar(ABC):
    """A key names a partition in Dagster and is the name of its landed file without the suffix. `noun`, `form` and `nearly`: what
    a partition is called, the legal form of its key, and a pattern of forms that people confuse with it. `format` and `cron`
    describe the partitions to Dagster; `cron` is empty where there is one alone.
    """

    tz: str = "UTC"

    column: ClassVar[str] = DAY  # by which partitions are ordered
    noun: ClassVar[str]
    form: ClassVar[str]
    nearly: ClassVar[str] = DATES
    format: ClassVar[str] = "%Y-%m-%d"
    cron: ClassVar[str]
    length: ClassVar[timedelta]  # the usual one

    def __str__(self) -> str:
        return f"{self.noun}s in {self.tz}" if self.cron else f"{self.noun}s"

    def key(self, partition: Partition) -> str:
        return format(partition, self.format)

    @lru_cache(maxsize=100_000)  # noqa: B019 - calendars are few; a sensor parses the names of all files every 5 s
    def parse(self, key: str) -> Partition:
        """Raises IllegalKey."""
        try:
            partition = self._parse(key)
        except (ValueError, OverflowError):
            partition = None
        if partition is None or self.key(partition) != key:
            raise IllegalKey(f"{key!r} is no {self.noun}; legal: {self.form}")
        return partition

    def in_run(self, keys: Iterable[str]) -> Sequence[Partition]:
        """The partitions of a run with these keys, in order."""
        return sorted(map(self.parse, keys))

    @abstractmethod
    def _parse(self, key: str) -> Partition: ...

    @abstractmethod
    def of(self, moment: datetime) -> Partition:
        """The partition of a moment."""

    @abstractmethod
    def of_column(self, moments: "pl.Expr") -> "pl.Expr":
        """As `of`, of a column of moments in UTC."""

    @abstractmethod
    def start(self, partition: Partition) -> datetime:
        """Its first moment, in UTC."""

    def end(self, partition: Partition) -> datetime:
        """The first moment after it."""
        return self.start(self.next(partition))

    def moment(self, partition: Partition) -> datetime:
        """Of a request without a moment of its own."""
        return self.start(partition)

    def known_at(self, partition: Partition) -> datetime:
        """The last moment at which its rows may have become known."""
        return self.end(partition) - ONE_MICROSECOND

    @abstractmethod
    def next(self, partition: Partition) -> Partition: ...

    @abstractmethod
    def before(self, partition: Partition, count: int = 1) -> Partition:
        """The partition that is `count` earlier."""

    @abstractmethod
    def count_back(self, lookback: timedelta) -> int:
        """How many partitions before any one hold all of `lookback`."""

    def stored(self, partition: Partition) -> dict[str, Any]:
        """The columns of its rows, among them `day`, by which tables are stored."""
        return {DAY: partition}

    def types(self) -> "dict[str, pl.DataType]":
        """Of the columns in `stored`."""
        import polars as pl

        return {DAY: pl.Date()}

    @property
    def has_whole_days(self) -> bool:
        """Whether every partition is made of whole days in UTC."""
        return bool(self.cron) and self.column == DAY and self.tz == "UTC"

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.tz)


class Days(Calendar):
    noun, form, cron, length = "day", "<YYYY-MM-DD>", "0 0 * * *", ONE_DAY
    shortest: ClassVar[timedelta] = ONE_DAY  # where no clock is changed
    longest: ClassVar[timedelta] = ONE_DAY

    def first_day(self, day: date) -> date:
        """Of the partition with that day."""
        return day

    def first_days(self, days: "pl.Expr") -> "pl.Expr":
        return days

    def _parse(self, key: str) -> Partition:
        return self.first_day(datetime.strptime(key, self.format).date())

    def of(self, moment: datetime) -> Partition:
        return self.first_day(moment.astimezone(self.zone).date())

    def of_column(self, moments: "pl.Expr") -> "pl.Expr":
        from mlops_assets.foundation.local_time import local_time

        local = moments if self.tz == "UTC" else local_time(moments, self.tz)
        return self.first_days(local.dt.date())

    def start(self, partition: Partition) -> datetime:
        return datetime.combine(partition, time(), self.zone).astimezone(UTC)

    def next(self, partition: Partition) -> Partition:
        return self.first_day(partition + self.longest)

    def before(self, partition: Partition, count: int = 1) -> Partition:
        for _ in range(count):
            partition = self.first_day(partition - ONE_DAY)
        return partition

    def count_back(self, lookback: timedelta) -> int:
        changed = max(offsets(self.tz)) - min(offsets(self.tz))  # a day with 23 hours does not hold 24
        return -(-(lookback + changed) // self.shortest) if lookback else 0


class Weeks(Days):
    noun, form, cron, length = "week", "<YYYY-MM-DD>, the Monday of the week", "0 0 * * 1", 7 * ONE_DAY
    nearly = rf"{DATES}|\d{{4}}\D?w(eek)?\D?\d{{1,2}}"
    shortest = longest = 7 * ONE_DAY

    def first_day(self, day: date) -> date:
        return day - day.weekday() * ONE_DAY

    def first_days(self, days: "pl.Expr") -> "pl.Expr":
        return days.dt.truncate("1w")


class Months(Days):
    noun, form, format, cron, length = "month", "<YYYY-MM>", "%Y-%m", "0 0 1 * *", 30 * ONE_DAY
    nearly = rf"{DATES}|\d{{4}}\D?\d{{1,2}}|\d{{1,2}}\D\d{{4}}"
    shortest, longest = 28 * ONE_DAY, 31 * ONE_DAY

    def first_day(self, day: date) -> date:
        return day.replace(day=1)

    def first_days(self, days: "pl.Expr") -> "pl.Expr":
        return days.dt.truncate("1mo")


class Hours(Calendar):
    column, noun, format, cron, length = HOUR_START, "hour", "%Y-%m-%dT%H", "0 * * * *", ONE_HOUR
    # As Dagster's own keys.
    form = "<YYYY-MM-DD>T<HH>, with the offset from UTC, such as -0500, the second time that a clock shows the hour"

    def key(self, partition: Partition) -> str:
        local = partition.astimezone(self.zone)
        return format(local, self.format + "%z" * local.fold)

    def _parse(self, key: str) -> Partition:
        local = datetime.strptime(key[: len("2013-07-01T14")], self.format)
        return local.replace(tzinfo=self.zone, fold=int(len(key) > len("2013-07-01T14"))).astimezone(UTC)

    def of(self, moment: datetime) -> Partition:
        local = moment.astimezone(self.zone)
        return moment.astimezone(UTC) - timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)

    def of_column(self, moments: "pl.Expr") -> "pl.Expr":
        from mlops_assets.foundation.local_time import local_time

        local = local_time(moments, self.tz)
        return moments - (local - local.dt.truncate("1h"))

    def start(self, partition: Partition) -> datetime:
        return partition

    def next(self, partition: Partition) -> Partition:
        return partition + ONE_HOUR

    def before(self, partition: Partition, count: int = 1) -> Partition:
        return partition - count * ONE_HOUR

    def count_back(self, lookback: timedelta) -> int:
        return -(-lookback // ONE_HOUR)

    def stored(self, partition: Partition) -> dict[str, Any]:
        return {DAY: partition.astimezone(self.zone).date(), HOUR_START: partition}

    def types(self) -> "dict[str, pl.DataType]":
        from mlops_assets.foundation.conversions import UTC as MOMENT

        return {**super().types(), HOUR_START: MOMENT}


class WholeTable(Calendar):
    """One partition, which has every moment."""

    noun, form, cron, length = "snapshot", "snapshot", "", timedelta.max
    nearly = rf"snapshot|{DATES}"

    def key(self, partition: Partition) -> str:
        return "snapshot"

    def _parse(self, key: str) -> Partition:
        return WHOLE_TABLE

    def in_run(self, keys: Iterable[str]) -> Sequence[Partition]:
        return [WHOLE_TABLE]

    def of(self, moment: datetime) -> Partition:
        return WHOLE_TABLE

    def of_column(self, moments: "pl.Expr") -> "pl.Expr":
        import polars as pl

        return pl.lit(WHOLE_TABLE)

    def start(self, partition: Partition) -> datetime:
        return datetime(MIN_YEAR, 1, 1, tzinfo=UTC)

    def end(self, partition: Partition) -> datetime:
        return datetime(MAX_YEAR, 1, 1, tzinfo=UTC)

    def moment(self, partition: Partition) -> datetime:
        return datetime.combine(WHOLE_TABLE, time(), UTC)  # before every other moment of a request

    known_at = moment

    def next(self, partition: Partition) -> Partition:
        return partition

    def before(self, partition: Partition, count: int = 1) -> Partition:
        return partition

    def count_back(self, lookback: timedelta) -> int:
        return 0


UTC_DAYS = Days()
