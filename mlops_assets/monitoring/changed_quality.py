"""What has changed in quality since the champion's evaluation: metrics, with calibration among them, and wrong decisions."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from mlops_assets.foundation.wording import some
from mlops_assets.statistics.metrics import Interval
from mlops_assets.tasks.task import Task

MAX_CHANCE = 0.001  # of a wrong decision whose share has not changed, over all of them together
SHOWN = 3


class Changes(NamedTuple):
    """Sentences, and tables by name."""

    messages: Sequence[str]
    tables: Mapping[str, Sequence[Mapping[str, Any]]]


def changed_since(
    evaluation: Mapping[str, Any], task: Task[Any], rows: pl.DataFrame, *, label: str, metrics: Mapping[str, Interval]
) -> Changes:
    """`evaluation` is as in its JSON; nothing is compared with an empty one. `rows` have labels, and these `metrics`."""
    if not evaluation:
        return Changes([], {})
    compared = [*_compare_metrics(evaluation["metrics"], metrics)]
    details = task.details(task.truth(rows[label]), task.logged(rows))
    decided = [*_compare_shares(task.cells(evaluation), task.cells(details))]
    changed = [f"{row['metric']} {row['evaluated']} to {row['window']}" for row in compared if row["changed"]]
    wrong = [f"{row['decided']} {row['evaluated']:.1%} to {row['window']:.1%}" for row in decided if row["changed"]]
    sentences = {"Changed since the evaluation": changed, "Shares of wrong decisions that changed": wrong}
    messages = [f"{title}: {some(texts, SHOWN)}." for title, texts in sentences.items() if texts]
    return Changes(messages, {"against_evaluation": compared} | ({"wrong_decisions": decided} if decided else {}))


def _compare_metrics(evaluated: Mapping[str, Mapping[str, Any]], metrics: Mapping[str, Interval]) -> Iterator[dict[str, Any]]:
    """Changed where the intervals do not overlap, which chance does to about 1 in 180 unchanged metrics."""
    for name, now in metrics.items():
        fields = evaluated.get(name, {})
        before = Interval(**{key: math.nan if value is None else value for key, value in fields.items()})
        yield {
            "metric": name,
            "evaluated": str(before),
            "window": str(now),
            "changed": bool(now.low > before.high or now.high < before.low),
        }


def _compare_shares(evaluated: Mapping[str, tuple[int, int]], now: Mapping[str, tuple[int, int]]) -> Iterator[dict[str, Any]]:
    """By the test of two proportions, with Bonferroni's correction."""
    for name in (name for name in now if name in evaluated):
        (hits, rows), (hits_now, rows_now) = evaluated[name], now[name]
        if not (rows and rows_now):
            continue
        share, share_now, pooled = hits / rows, hits_now / rows_now, (hits + hits_now) / (rows + rows_now)
        spread = math.sqrt(pooled * (1 - pooled) * (1 / rows + 1 / rows_now))
        chance = math.erfc(abs(share - share_now) / spread / math.sqrt(2)) if spread else 1.0
        is_changed = chance * len(now) < MAX_CHANCE
        yield {"decided": name, "evaluated": share, "window": share_now, "of_rows": rows_now, "changed": is_changed}
