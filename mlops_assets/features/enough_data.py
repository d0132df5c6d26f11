"""Whether the validated tables hold enough for a training with the declared split, and what is missing otherwise."""

from datetime import datetime

from mlops_assets.features.featurize import IllegalFeatures, end_of_known, label_rows, training_rows
from mlops_assets.foundation.delta_tables import DeltaTables
from mlops_assets.foundation.names import validated
from mlops_assets.spec.use_case import UseCase
from mlops_assets.tasks import task_of
from mlops_assets.training.splits import split_of

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
        labelled = label_rows(use_case, requests, truths).collect()
        span = split_of(use_case).describe_span(labelled, end=end_of_known(use_case, truths, now=now)) if len(labelled) else ""
        return f"{span} {error}".strip()
    task = task_of(use_case.task)
    learned = {split: task.truth(rows.filter(split=split)[use_case.label.name]) for split in LEARNED_FROM}
    problems = [f"the {len(truth):,} labelled requests of {split} {problem}" for split, truth in learned.items()
             if (problem := task.untrainable(truth))]  # fmt: skip
    return f"training_set · {' '.join(problems)}" if problems else ""
