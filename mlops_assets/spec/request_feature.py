"""Request features: the words for what follows from one row of a request alone. features/request_features.py computes them."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from itertools import pairwise
from typing import ClassVar, Literal

from pydantic import Field

from mlops_assets.spec.column_type import COLUMN_TYPES, NUMBERS, TEXTS, DType
from mlops_assets.spec.spec import Name, Spec, TimeZone

ANY = tuple(COLUMN_TYPES)
TEN_YEARS = timedelta(days=3653)


class RequestFeature(Spec):
    """One column, computed from request columns or earlier request features of the same row. All numbers are floats. A value is
    missing where one that it needs is missing or NaN, or where no finite number results. To add a word: a subclass here,
    and a line in COMPUTATIONS of features/request_features.py.
    """

    READS: ClassVar[tuple[DType, ...]] = NUMBERS
    RETURNS: ClassVar[DType] = "float"
    OTHERS: ClassVar[tuple[str, ...]] = ()  # the fields besides `column` that name a column

    name: Name
    column: str

    @property
    def columns(self) -> tuple[str, ...]:
        """What it is computed from."""
        return (self.column, *(getattr(self, field) for field in self.OTHERS))

    def dtype(self, types: Mapping[str, DType]) -> DType:
        """The type of its values, where `types` are those of the columns before it."""
        return self.RETURNS


class PredictionMoment(RequestFeature):
    """The moment as of which features are known, `before` the datetime of the column (negative: after it)."""

    READS = ("datetime",)
    RETURNS = "datetime"

    name: Literal["event_timestamp"] = "event_timestamp"  # pyright: ignore[reportIncompatibleVariableOverride]
    before: timedelta = Field(default=timedelta(0), ge=-TEN_YEARS, le=TEN_YEARS)


class OfLocalTime(RequestFeature):
    """What is read from the wall clock or the calendar in a time zone, such as America/New_York."""

    READS = ("datetime",)

    zone: TimeZone = "UTC"


class MinuteOfDay(OfLocalTime):
    """0 to 1439."""


class Hour(OfLocalTime):
    """0 to 23."""


class Weekday(OfLocalTime):
    """Mon to Sun, also of a date."""

    READS = ("datetime", "date")
    RETURNS = "string"


class Month(OfLocalTime):
    """1 to 12, also of a date."""

    READS = ("datetime", "date")


class HoursBetween(RequestFeature):
    """Hours from the datetime `since` to the datetime of the column, or from one date to another."""

    READS = ("datetime", "date")
    OTHERS = ("since",)

    since: str


class Difference(RequestFeature):
    """The column minus the column `minus`."""

    OTHERS = ("minus",)

    minus: str


class Ratio(RequestFeature):
    """The column divided by the column `by`."""

    OTHERS = ("by",)

    by: str


class Log(RequestFeature):
    """The natural logarithm of the number `plus` a constant, such as 1 where zero is usual."""

    plus: float = 0.0


class Bucket(RequestFeature):
    """Which interval between ascending `bounds` has the number, as text; an interval has its lower bound."""

    RETURNS = "string"

    bounds: tuple[float, ...] = Field(min_length=1)

    @property
    def labels(self) -> tuple[str, ...]:
        """One more than bounds."""
        first, *_, last = texts = [repr(bound).removesuffix(".0") for bound in (*self.bounds, self.bounds[-1])]
        between = (f"{low} to {high}" for low, high in pairwise(texts[:-1]))
        return (f"below {first}", *between, f"{last} or more")

    def contradictions(self) -> Iterator[str]:
        if any(low >= high for low, high in pairwise(self.bounds)):
            yield f"bounds · {self.bounds} do not ascend; legal: each above the one before. Sort them."


class TextLength(RequestFeature):
    """The number of characters."""

    READS = TEXTS


class HashedWords(RequestFeature):
    """How many words of a text, in lower case, have the number `bucket` of `buckets` by a stable hash. The buckets together
    describe a text by a fixed number of columns: `hashed_words` declares them.
    """

    READS = TEXTS

    bucket: int = Field(ge=0)
    buckets: int = Field(ge=1, le=1024)

    def contradictions(self) -> Iterator[str]:
        if self.bucket >= self.buckets:
            yield f"bucket is {self.bucket}; legal: below buckets, which is {self.buckets}. Lower it."


def hashed_words(column: str, buckets: int = 16) -> tuple[HashedWords, ...]:
    """One feature for each bucket, named `column`_words_0 and so on."""
    return tuple(
        HashedWords(name=f"{column}_words_{bucket}", column=column, bucket=bucket, buckets=buckets) for bucket in range(buckets)
    )


class IsMissing(RequestFeature):
    """1 where the value is missing or NaN, 0 where there is one."""

    READS = ANY


class Renamed(RequestFeature):
    """The column under another name, such as that of an entity."""

    READS = ANY

    def dtype(self, types: Mapping[str, DType]) -> DType:
        return types[self.column]
