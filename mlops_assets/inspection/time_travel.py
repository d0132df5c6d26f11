"""Labels, inputs and rows that are known only after the moment of the prediction, or before it."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, NamedTuple

import polars as pl

from mlops_assets.foundation.moments import to_minute
from mlops_assets.foundation.names import EVENT_TIMESTAMP, KNOWN_AT
from mlops_assets.inspection.finding import Finding, share
from mlops_assets.inspection.inspected import MOST_ROWS, Inspected
from mlops_assets.spec.request_feature import PredictionMoment
from mlops_assets.training.signature import MIN_ROWS

KIND = "time travel"
MAX_LATE = 0.01  # of the rows
MIN_AGREEMENT = 0.95  # Cohen's kappa of an input with a shifted label
SHIFTS = 3  # rows of one subject, in either direction
A_YEAR = timedelta(days=366)


def find_early_labels(data: Inspected) -> Iterator[Finding]:
    """A label that is known before its prediction may be in any feature."""
    early = share(data.rows[KNOWN_AT] < data.rows[EVENT_TIMESTAMP])
    if early > 0 and data.use_case.is_dated:
        message = f"{early:.1%} of the labels are known before the prediction moment of their row (bound 0%)"
        advice = "Correct the prediction moment or label.known_at, or drop these rows."
        yield Finding(KIND, data.label, early, 0, message, advice)


def find_late_moments(data: Inspected) -> Iterator[Finding]:
    """A request feature that is made from a moment after the prediction."""
    features, rows = data.use_case.features, data.rows
    if not features.has_moment or features.entity_rows:
        return
    planned = {name for one in features.request_features if isinstance(one, PredictionMoment) for name in one.columns}
    read = {name: one.name for one in features.request_features if one.name in features.inputs for name in one.columns}
    for name in read.keys() - planned:
        if not isinstance(rows.schema.get(name), pl.Datetime):
            continue
        if (late := share(rows[name] > rows[EVENT_TIMESTAMP])) > MAX_LATE:
            found = f"`{read[name]}` is made from `{name}`, which is after the prediction moment in {late:.1%} of the rows"
            advice = "Is it a plan that is known then? If not, remove the feature from the inputs."
            yield Finding(KIND, name, late, MAX_LATE, f"{found} (bound {MAX_LATE:.0%})", advice)


def find_dates_ahead(data: Inspected) -> Iterator[Finding]:
    """Rows that have a label before they have happened, and dates so far ahead that they stand for something else."""
    label = data.use_case.label
    # Undeclared, a label is known by the end of its partition, which is ahead while the partition goes on.
    moments = (EVENT_TIMESTAMP, KNOWN_AT) if label.known_at or label.transform else (EVENT_TIMESTAMP,)
    newest_of_row = pl.max_horizontal(moments)
    late = data.rows.filter(newest_of_row > data.now)
    if len(late):
        newest = late.select(newest_of_row.max()).item()
        rows = f"{len(late):,} row{'s' * (len(late) > 1)} with a label"
        message = f"{rows} dated in the future, the latest {to_minute(newest)} (bound 0)"
        yield Finding(KIND, data.label, len(late), 0, message, "Correct their dates or the declared time zone.")
    for column in (column for column in data.columns() if column.dtype in ("datetime", "date")):
        values, horizon = data.requests[column.name].drop_nulls(), data.now + A_YEAR
        later = values.filter(values > (horizon if column.dtype == "datetime" else horizon.date()))
        if len(later):
            found = f"`{column.name}` is more than a year ahead in {len(later):,} rows, up to {str(later.max())[:10]} (bound 0)"
            advice = "Such dates often stand for a missing value: deliver it as missing."
            yield Finding(KIND, column.name, len(later), 0, found, advice)


class _Shift(NamedTuple):
    """The label of another row of the same subject, by row, and whether it was not known at the prediction moment."""

    row: str
    label: pl.Series
    is_unknown: pl.Series


def find_shifted_labels(data: Inspected) -> Iterator[Finding]:
    """An input that is the label of a later row, or of an earlier one whose label was not known yet."""
    if not (data.use_case.is_dated and data.is_trainable):
        return
    rows = data.rows.sort(EVENT_TIMESTAMP, maintain_order=True).tail(MOST_ROWS)
    shifts = [*_shifts(data, rows)]
    for name, values in _like_label(data, rows).items():
        # Of a label that seldom changes, the next one resembles the last one, which may be known.
        agreements = [(_kappa(values, shift.label), -share(shift.is_unknown), shift) for shift in shifts]
        agreement, _, shift = max(agreements, key=lambda one: one[:2])
        if agreement > MIN_AGREEMENT and share(shift.is_unknown) > MAX_LATE:
            unknown = f"which is not known yet in {share(shift.is_unknown):.1%} of the rows"
            found = f"`{name}` equals the label of the {shift.row}, {unknown}"
            advice = "Remove it from the inputs, or use a label that is known at the prediction moment."
            message = f"{found} (agreement {agreement:.3f}, bound {MIN_AGREEMENT:g})"
            yield Finding(KIND, name, agreement, MIN_AGREEMENT, message, advice)


def _shifts(data: Inspected, rows: pl.DataFrame) -> Iterator[_Shift]:
    subject = [name for name in data.use_case.label.key if name in rows.columns and not rows.schema[name].is_temporal()]
    comes_back = subject and rows.select(subject).n_unique() <= len(rows) / 3  # such as a shop with a row for each day
    own = rows.select(pl.struct(subject).rank("dense")).to_series() if comes_back else pl.Series([0]).new_from_index(0, len(rows))
    truth = pl.Series("truth", data.task.truth(rows[data.label])).cast(pl.Float32)
    known = rows.select(EVENT_TIMESTAMP, KNOWN_AT, truth, own.alias("own"))
    for size in range(1, SHIFTS + 1):
        for steps, direction in ((-size, "later"), (size, "earlier")):
            moved = known.with_columns(pl.col("truth", KNOWN_AT).shift(steps).over("own"))
            unknown = moved.select(pl.col(KNOWN_AT) > pl.col(EVENT_TIMESTAMP)).to_series()
            yield _Shift(f"row {size} {direction}", moved["truth"], unknown)


def _like_label(data: Inspected, rows: pl.DataFrame) -> dict[str, pl.Series]:
    """The inputs that may hold labels, as the numbers that the task makes of them."""
    features, labels = data.use_case.features, rows[data.label].cast(pl.String).unique()
    values = {name: rows[name].cast(pl.Float32) for name in features.numeric}
    for name in features.categorical:
        column: Any = rows[name].cast(pl.String)
        if 1 < column.drop_nulls().n_unique() <= len(labels) and column.drop_nulls().is_in(labels.implode()).all():
            known = pl.Series(data.task.truth(column.drop_nulls())).cast(pl.Float32)
            values[name] = pl.Series([None] * len(column), dtype=pl.Float32).scatter(column.is_not_null().arg_true(), known)
    return {name: column for name, column in values.items() if column.drop_nulls().n_unique() > 1}


def _kappa(values: pl.Series, labels: pl.Series) -> float:
    """How often both are equal, beyond chance: 0 for independent columns, and 1 for equal ones; 0 of few rows."""
    both = pl.DataFrame({"value": values, "label": labels}).drop_nulls()
    if len(both) < MIN_ROWS:
        return 0.0
    counts = [both[name].value_counts().rename({name: "value"}) for name in both.columns]
    pairs = counts[0].join(counts[1], on="value").select(pl.col("count").cast(pl.Float64) * pl.col("count_right"))
    chance, equal = float(pairs.to_series().sum()) / len(both) ** 2, share(both["value"] == both["label"])
    return (equal - chance) / (1 - chance) if chance < 1 else 0.0
