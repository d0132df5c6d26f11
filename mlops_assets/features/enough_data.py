"""Whether the validated tables hold enough for a training with the declared split, and what is missing otherwise."""

from datetime import datetime, timedelta

import polars as pl

from mlops_assets.features.featurize import IllegalFeatures, label_rows, last_known_day, midnight, part_windows, training_rows
from mlops_assets.foundation.delta_tables import DeltaTables
from mlops_assets.foundation.durations import ONE_DAY, in_words
from mlops_assets.foundation.names import EVENT_TIMESTAMP, validated
from mlops_assets.spec.use_case import UseCase
from mlops_assets.tasks import task_of

LEARNED_FROM = ("train", "validation")


def describe_missing(use_case: UseCase, tables: DeltaTables, *, now: datetime) -> str:
    """Empty when every part of the split has labelled rows, and those that a trainer reads have rows of both labels."""
    paths = [validated(use_case.name, table) for table in (use_case.features.request_table, use_case.label.table)]
    if absent := [path[-1] for path in paths if not tables.exists(path)]:
        return f"No row has been accepted yet: {', '.join(dict.fromkeys(absent))}."
    requests, truths = (tables.scan(path) for path in paths)
    try:
        rows = training_rows(use_case, requests, truths, now=now)
    except IllegalFeatures as error:
        return f"{_describe_span(use_case, requests, truths)} {error}".strip()
    task = task_of(use_case.task)
    learned = {split: task.truth(rows.filter(split=split)[use_case.label.name]) for split in LEARNED_FROM}
    found = [f"the {len(truth):,} labelled requests of {split} {problem}" for split, truth in learned.items()
             if (problem := task.untrainable(truth))]  # fmt: skip
    return f"training_set · {' '.join(found)}" if found else ""


def _describe_span(use_case: UseCase, requests: pl.LazyFrame, truths: pl.LazyFrame) -> str:
    """How many more days must land; empty when the labelled requests already span all parts."""
    first: datetime | None = label_rows(use_case, requests, truths).select(pl.col(EVENT_TIMESTAMP).min()).collect().item()
    if first is None:
        return ""
    missing = first - part_windows(use_case.split, midnight(last_known_day(truths) + ONE_DAY))["train"].stop
    return f"about {in_words((missing // ONE_DAY + 1) * ONE_DAY)} more must land." if missing >= timedelta(0) else ""
