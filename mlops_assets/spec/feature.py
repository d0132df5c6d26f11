"""Features and labels: which features exist, which of them a model reads, and what it predicts."""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import Field

from mlops_assets.spec.request_feature import PredictionMoment, RequestFeature
from mlops_assets.spec.spec import Name, Spec, Text

Tables = Mapping[str, Any]  # table name -> polars.LazyFrame
ViewTransform = Callable[[Tables, datetime, datetime], Any]
RowTransform = Callable[[Any], Any]


class FeatureView(Spec):
    """One Feast feature view, filled partition by partition of the finest grain of its tables. `transform(tables, start, end)`
    returns a LazyFrame of `entity` columns, `event_timestamp` (UTC, when values became known, in [start, end)) and features. It
    gets whole partitions of each table, which hold at least the rows from `lookback` before `start`. Without `entity` its newest
    row holds for every request. A value expires `ttl` after its `event_timestamp` (zero: never). `descriptions` of features
    that are no columns of the tables, by name.
    """

    # `__` separates it from the use case in Feast's registry.
    name: str = Field(pattern=r"^[a-z](_?[a-z0-9])*_?$", max_length=63)
    description: Text
    tables: tuple[str, ...] = Field(min_length=1)
    entity: tuple[str, ...] = ()
    transform: ViewTransform
    lookback: timedelta = Field(default=timedelta(0), ge=timedelta(0))
    ttl: timedelta = Field(default=timedelta(0), ge=timedelta(0))
    descriptions: Mapping[str, str] = Field(default_factory=dict[str, str])

    def __hash__(self) -> int:
        return hash((self.name, self.transform))  # a mapping has none


WhenDown = Literal["refuse", "last_known"]
# Columns that the platform adds to requests and training rows.
ADDED = ("event_timestamp", "known_at", "split")


class Features(Spec):
    """The inputs of a model: one Feast feature service, and what the request itself contains. `request` are the columns of
    table `request_table` that a client sends. `request_features` add what follows from the request alone: the prediction moment,
    entity columns, features; a later one may read an earlier one. `entity_rows(frame)` adds what no word
    describes, to the frame with the request features, whose rows it returns in order. `numeric` and `categorical` are the
    model's inputs, by name, from the service or the request. `when_down`: while its online store does not answer, a server
    refuses, or uses the last values read. spec/defaults.py describes what is left out. Without a prediction moment, a request
    holds for the moment when it arrives.
    """

    service: str = ""
    views: tuple[FeatureView, ...] = ()
    request_table: str = ""
    request: tuple[str, ...] = ()
    request_features: tuple[RequestFeature, ...] = ()
    entity_rows: RowTransform | None = None
    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    when_down: WhenDown = "refuse"

    @property
    def inputs(self) -> tuple[str, ...]:
        return (*self.numeric, *self.categorical)

    @property
    def has_moment(self) -> bool:
        """Whether the prediction moment follows from the request."""
        return bool(self.entity_rows) or any(isinstance(feature, PredictionMoment) for feature in self.request_features)

    def contradictions(self) -> Iterator[str]:
        for name in (name for name in self.numeric if name in self.categorical):
            yield f"inputs · {name!r} is declared twice, in numeric and in categorical. Keep one."
        for field in ("request", "inputs"):
            for name in (name for name in getattr(self, field) if name in ADDED):
                yield f"{field} · {name!r} is a column that the platform adds ({', '.join(ADDED)}). Rename yours."
        for feature in self.request_features:
            if feature.name in ADDED and not isinstance(feature, PredictionMoment):
                found = f"{feature.name!r} is a column that the platform adds ({', '.join(ADDED)})"
                yield f"request_features · {found}. Rename yours, or declare it as PredictionMoment."


class Label(Spec):
    """The truth to predict: `transform(frame of table)` returns the `key` columns, `name` and `known_at` (UTC). Without a
    transform it is column `name` of `table`, known at the moment in its column `known_at` (None: by the end of the row's day).
    By default `table` is the request table, and `key` what the table's contract declares as `unique`.

    A row without a value (null or NaN) or without `known_at` is not known yet: neither training nor outcomes use it.

    With `by_row`, the transform makes the same of a row whatever other rows there are (no grouping, join or window). Outcomes
    then make only the labels that have changed; otherwise all, at every change of the table.
    """

    name: Name
    table: str = ""
    key: tuple[str, ...] = ()
    transform: RowTransform | None = None
    known_at: str | None = None
    by_row: bool = Field(default=False, exclude=True, repr=False)  # changes how fast outcomes are joined, not what they are

    def contradictions(self) -> Iterator[str]:
        if self.name in (*self.key, *ADDED):
            found = f"{self.name!r} is in the key or a column that the platform adds ({', '.join(ADDED)})"
            yield f"name · {found}; legal: any other name. Rename it."
        if self.transform and self.known_at:
            yield f"known_at · {self.known_at!r} is declared, and the transform returns it as well. Leave one out."
