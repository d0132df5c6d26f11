"""Parts in time order, so that nothing later is trained on to predict something earlier."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple, cast

import polars as pl

from mlops_assets.foundation.durations import ONE_DAY, in_words
from mlops_assets.foundation.names import EVENT_TIMESTAMP, KNOWN_AT
from mlops_assets.spec.split import TimeSplit
from mlops_assets.training.fitted import TEST, TRAIN, VALIDATION
from mlops_assets.training.splits.split import VALIDATION_SHARE, MissingRows, ReadLabelled, Split, untrainable_fold

FIRST_SHARE = 0.4  # of the rows, in time order, come before the first scored fold


class Window(NamedTuple):
    """The requests of one part are from `start` (None: the first), before `stop`, with labels `known_before` (None: at all)."""

    start: datetime | None
    stop: datetime
    known_before: datetime | None

    def moments(self) -> pl.Expr:
        moment = pl.col(EVENT_TIMESTAMP)
        return moment < self.stop if self.start is None else moment.is_between(self.start, self.stop, closed="left")

    def rows(self) -> pl.Expr:
        return self.moments() & (True if self.known_before is None else pl.col(KNOWN_AT) < self.known_before)


class SplitByTime(Split[TimeSplit]):
    @property
    def how(self) -> str:
        return "by time"

    def divide(self, read: ReadLabelled, *, end: datetime) -> pl.DataFrame:
        parts = part_windows(self.declared, end)
        # A label that was corrected later is the one that was known when its part was used.
        known = [read(part.known_before).filter(part.moments()) for part in parts.values()]
        dated = pl.concat(known).sort(EVENT_TIMESTAMP, *self.use_case.label.key).collect()
        rows = split_by_time(dated, self.declared, end=end)
        if empty := parts.keys() - set(rows["split"]):
            windows = {name: window for name, window in parts.items() if name in empty}
            raise MissingRows(_describe_empty_parts(read(None).collect(), self.declared, windows))
        return rows

    def describe_span(self, rows: pl.DataFrame, *, end: datetime) -> str:
        first = cast("datetime | None", rows[EVENT_TIMESTAMP].min())
        missing = first - part_windows(self.declared, end)[TRAIN].stop if first else -ONE_DAY
        return f"about {in_words((missing // ONE_DAY + 1) * ONE_DAY)} more must land." if missing >= timedelta(0) else ""

    def folds(self, rows: pl.DataFrame, count: int) -> list[pl.DataFrame]:
        return time_folds(rows, count, self.declared.label_delay)


def part_windows(split: TimeSplit, end: datetime) -> dict[str, Window]:
    """The parts, the last first."""
    # A label that became known only when the next part had begun could not have been learned from: its row is dropped.
    test_stop = end - split.label_delay
    test_start = test_stop - split.test
    validation_stop = test_start - split.label_delay
    validation_start = validation_stop - split.validation
    train_stop = validation_start - split.label_delay
    train_start = None if split.max_train is None else train_stop - split.max_train
    return {
        TEST: Window(test_start, test_stop, None),
        VALIDATION: Window(validation_start, validation_stop, test_start),
        TRAIN: Window(train_start, train_stop, validation_start),
    }


def split_by_time(rows: pl.DataFrame, split: TimeSplit, *, end: datetime) -> pl.DataFrame:
    """Adds `split`, the name of the part; rows of no part are dropped."""
    parts = [pl.when(window.rows()).then(pl.lit(name)) for name, window in part_windows(split, end).items()]
    return rows.with_columns(split=pl.coalesce(parts)).filter(pl.col("split").is_not_null())


def _describe_empty_parts(rows: pl.DataFrame, split: TimeSplit, windows: Mapping[str, Window]) -> str:
    """`rows` are all labelled requests."""
    delay, moment = rows[KNOWN_AT] - rows[EVENT_TIMESTAMP], rows[EVENT_TIMESTAMP]
    median, longest = (in_words(cast(timedelta, value)) for value in (delay.median(), delay.max()))
    parts = "; ".join(_describe_empty(rows, name, window) for name, window in windows.items())
    return (
        f"training_set · {parts}. The {len(rows):,} labelled requests are from {moment.min()} to {moment.max()}; their labels "
        f"became known {median} later at the median, {longest} at most; split.label_delay is {in_words(split.label_delay)}. "
        "Set split.label_delay to the time that labels take, shorten the parts, or land more days."
    )


def _describe_empty(rows: pl.DataFrame, name: str, window: Window) -> str:
    since, late = f"from {window.start} " if window.start else "", len(rows.filter(window.moments()))
    needed = f"{name} has no row: it takes requests {since}to {window.stop}"
    if window.known_before is None:
        return needed
    return f"{needed} with labels known before {window.known_before}, but {late:,} labels there became known later"


def time_folds(rows: pl.DataFrame, folds: int, label_delay: timedelta) -> list[pl.DataFrame]:
    """`folds` training sets with growing windows: train, then validation, then test (what is scored), in time order.

    As in the split of the training set, each part ends `label_delay` before the next one begins, and a row whose label became
    known only after that is left out. Every moment of `event_timestamp` is on one side of each cut, so no row is scored by a
    model that was trained on its own moment. Raises UntrainableRows when the rows have too few moments.
    """
    if rows.is_empty():
        raise untrainable_fold("there are no train rows to fold")
    ordered = rows.sort(EVENT_TIMESTAMP, maintain_order=True)
    starts = [_moment(ordered, FIRST_SHARE + (1 - FIRST_SHARE) * index / folds) for index in range(folds)]
    ends = [ordered.filter(pl.col(EVENT_TIMESTAMP) < start) for start in starts[1:]]
    return [_fold(part, start, label_delay) for part, start in zip([*ends, ordered], starts, strict=True)]


def _fold(ordered: pl.DataFrame, start: datetime, label_delay: timedelta) -> pl.DataFrame:
    moment, known_at = pl.col(EVENT_TIMESTAMP), pl.col(KNOWN_AT)
    before = ordered.filter(moment < start - label_delay)
    cut = _moment(before, 1 - VALIDATION_SHARE) if len(before) else start
    parts = {
        TRAIN: (moment < cut - label_delay) & (known_at < cut),
        VALIDATION: moment.is_between(cut, start - label_delay, closed="left") & (known_at < start),
        TEST: moment >= start,
    }
    split = pl.coalesce(pl.when(is_in).then(pl.lit(name)) for name, is_in in parts.items())
    fold = ordered.with_columns(split=split).drop_nulls("split")
    if missing := parts.keys() - set(fold["split"]):
        moments = f"{len(ordered)} train rows have {ordered[EVENT_TIMESTAMP].n_unique()} moments; split.label_delay is"
        raise untrainable_fold(f"a fold has no {', '.join(sorted(missing))} rows: {moments} {in_words(label_delay)}")
    return fold


def _moment(ordered: pl.DataFrame, share: float) -> datetime:
    return ordered[EVENT_TIMESTAMP][int(len(ordered) * share)]
