"""Rows and labels that are too few, too uneven, repeated, refused or late."""

from collections.abc import Iterator
from datetime import timedelta
from typing import cast

import polars as pl

from mlops_assets.foundation.durations import ONE_DAY, in_words
from mlops_assets.foundation.names import EVENT_TIMESTAMP, KNOWN_AT
from mlops_assets.foundation.wording import some
from mlops_assets.inspection.finding import Finding, share
from mlops_assets.inspection.inspected import Inspected
from mlops_assets.spec.monitor import Performance
from mlops_assets.spec.split import TimeSplit
from mlops_assets.statistics.alone import FEWEST
from mlops_assets.statistics.metrics import Array
from mlops_assets.training.fitted import TEST, TRAIN, VALIDATION
from mlops_assets.training.signature import MIN_ROWS

SMALL_ROWS = 200
MIN_CLASS_SHARE = 0.05  # of yes and no; of one class of k: 2/k of it
MAX_UNLABELLED = 0.2
MAX_REPEATED = 0.01
NEARBY = 40  # a part of the rows, in the order of a column, in which its values are nearly the same
COPIED_KEY = "duplicate of key"  # how ingestion/validate.py begins the reason


def find_untrainable(data: Inspected) -> Iterator[Finding]:
    if data.problem:
        problem = data.problem.removeprefix("training_set · ").removesuffix(".")
        yield Finding("training set", data.label, 0, 1, problem, "")
    elif not data.is_trainable:
        labels, problem = data.rows[data.label], f"the {len(data.rows):,} labelled rows {data.task.untrainable(data.truth)}"
        if labels.n_unique() == 1:
            problem = f"all {len(labels):,} labels are {labels[0]!r}. A model needs both answers: land rows with another label"
        yield Finding("label", data.label, 0, 1, problem.rstrip(". "), "")


def find_few_rows(data: Inspected) -> Iterator[Finding]:
    if 0 < len(data.rows) < SMALL_ROWS:
        message = f"there are {len(data.rows):,} labelled rows (bound {SMALL_ROWS})"
        advice = "A model may learn nothing from so few, and no metric is certain: land more, and compare with a simple trainer."
        yield Finding("too little data", data.label, len(data.rows), SMALL_ROWS, message, advice)


def find_small_parts(data: Inspected) -> Iterator[Finding]:
    """Parts of the split in which a model learns or shows little."""
    parts = {name: data.part(name) for name in (TRAIN, VALIDATION, TEST)}
    fewest = {name: min(map(_rarer, data.questions(part).values()), default=FEWEST) for name, part in parts.items()}
    if not data.problem and min(fewest.values()) < FEWEST:
        counts = ", ".join(f"{fewest[name]:,} of {len(part):,} in {name}" for name, part in parts.items())
        advice = "Land more, or change the shares of the split: no metric is certain on so few."
        message = f"the rarest label has few rows: {counts} (bound {FEWEST} in each)"
        yield Finding("short part", "split", min(fewest.values()), FEWEST, message, advice)


def find_imbalance(data: Inspected) -> Iterator[Finding]:
    questions = data.questions(data.rows)
    bound = MIN_CLASS_SHARE * min(1, 2 / max(len(questions), 2))
    for question, truth in questions.items():
        is_class, is_rare = len(questions) > 1, truth.mean() < 0.5
        if (rarer := _rarer(truth) / len(truth)) < bound and (is_rare or not is_class):
            label = f"`{question}`" if is_class else f"{'yes' if is_rare else 'no'} to `{question}`"
            message = f"{rarer:.2%} of the labels are {label}: {_rarer(truth):,} of {len(truth):,} (bound {bound:.1%})"
            advice = "A model that never says so is right almost always: judge average_precision, set the threshold, land more."
            yield Finding("imbalance", question, rarer, bound, message, advice)


def _rarer(truth: Array) -> int:
    return int(min(truth.sum(), len(truth) - truth.sum()))


def find_unlabelled(data: Inspected) -> Iterator[Finding]:
    """Of the requests that are as old as those with a label."""
    key, requests, labels = [*data.use_case.label.key], data.requests, data.tables[data.use_case.label.table]
    if data.rows.is_empty() and data.label in labels.columns and labels[data.label].null_count() == len(labels) > 0:
        message = f"`{data.label}` is missing in all {len(labels):,} rows of {data.use_case.label.table}"
        yield Finding("label missing", data.label, 1, MAX_UNLABELLED, message, "Deliver the labels that are known.")
    if data.rows.is_empty() or not {*key} <= {*requests.columns}:
        return
    has_label = requests.select(pl.struct(key).is_in(data.rows.select(pl.struct(key)).to_series().implode())).to_series()
    due = has_label.filter(requests["day"] <= requests["day"].filter(has_label).max())
    if (unlabelled := share(~due)) > MAX_UNLABELLED:
        message = f"{unlabelled:.1%} of {len(due):,} requests have no label (bound {MAX_UNLABELLED:.0%})"
        advice = f"Compare {', '.join(key)} in requests and labels. Rows without a label may differ from those with one."
        yield Finding("label missing", data.label, unlabelled, MAX_UNLABELLED, message, advice)


def find_late_labels(data: Inspected) -> Iterator[Finding]:
    use_case, delays = data.use_case, (data.rows[KNOWN_AT] - data.rows[EVENT_TIMESTAMP]).drop_nulls()
    if not use_case.is_dated or delays.is_empty():
        return
    monitors = {name: one for name, one in use_case.monitor_stages.items() if isinstance(one, Performance)}
    windows = {f"monitors[{name}].window": (monitor.window, "") for name, monitor in monitors.items()}
    if isinstance(split := use_case.split, TimeSplit):
        part = min(split.test, split.validation) / 4
        windows["split.label_delay"] = (split.label_delay + part, " and a quarter of the shortest part")
    delay = cast(timedelta, delays.sort()[int(0.95 * (len(delays) - 1))])
    for field, (window, more) in windows.items():
        if delay > window:
            late = f"one label in 20 is known {in_words(delay)} after the prediction, or later"
            message = f"{late} (bound {in_words(window)}: {field}{more})"
            advice = f"Rows whose label comes later than that are not used: raise {field}."
            yield Finding("label delay", field, delay / ONE_DAY, window / ONE_DAY, message, advice)


def find_repeated(data: Inspected) -> Iterator[Finding]:
    """Rows that are equal in all but the key, more than by chance, among them a column whose values seldom repeat otherwise."""
    table, rows = data.use_case.features.request_table, data.requests
    key = dict.fromkeys((*data.use_case.contract(table).unique, *data.use_case.label.key))
    names = [name for name in data.use_case.contract(table).names if name not in key]
    if len(rows) < MIN_ROWS or not any(rows[name].drop_nulls().n_unique() > len(rows) / 4 for name in names):
        return
    copies = len(rows) - rows.select(names).n_unique()
    if copies - _copies_by_chance(rows.select(names)) > MAX_REPEATED * len(rows):
        counts = f"{copies:,} of {len(rows):,} rows of {table} equal an earlier one in all but {', '.join(key)}"
        advice = "Drop the copies: one in train and one in test make a model look better than it is."
        message = f"{counts} ({copies / len(rows):.1%}, bound {MAX_REPEATED:.0%})"
        yield Finding("duplicates", table, copies / len(rows), MAX_REPEATED, message, advice)


def _copies_by_chance(rows: pl.DataFrame) -> int:
    """How many rows of a few whole numbers equal another one: values of the most varied column are replaced with ones nearby, so
    that nothing is copied and the columns depend on each other as before.
    """
    widest = max(rows.columns, key=lambda name: rows[name].n_unique())
    moved = rows.sort(widest, maintain_order=True).with_columns(pl.col(widest).shift(steps := len(rows) // NEARBY))[steps:]
    return len(moved) - moved.n_unique()


def find_refused(data: Inspected) -> Iterator[Finding]:
    for table, refused in data.refused.items():
        contract, total = data.use_case.contract(table), len(refused) + len(data.tables[table])
        reasons = count_reasons(refused)
        if copies := sum(count for reason, count in reasons.items() if reason.startswith(COPIED_KEY)):
            message = (
                f"{copies:,} of {total:,} rows of {table} have the key ({', '.join(contract.unique)}) of an earlier row (bound 0)"
            )
            advice = "Only the first one is used: deliver one row for each key, or correct unique of the contract."
            yield Finding("duplicates", table, copies, 0, message, advice)
        if (broken := (len(refused) - copies) / total) > contract.max_bad_share:
            why = some([f"{reason} ({count:,})" for reason, count in reasons.items()], 3)
            message = f"{broken:.1%} of {total:,} rows of {table} break its contract (bound {contract.max_bad_share:.1%}): {why}"
            yield Finding("refused rows", table, broken, contract.max_bad_share, message, "Correct the file or the contract.")


def count_reasons(refused: pl.DataFrame) -> dict[str, int]:
    """How many rows have each reason, the most frequent first. Without the values, which may be personal data."""
    reasons = refused["reasons"].str.replace_all(r"(?s): '.*?' (is |does )", " $1").str.split("; ").explode()
    counts = reasons.drop_nulls().value_counts(sort=True)
    return dict(zip(counts["reasons"].to_list(), counts["count"].to_list(), strict=True))
