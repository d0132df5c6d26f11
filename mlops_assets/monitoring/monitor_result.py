"""The result of a monitor: its verdict and the evidence for people."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import polars as pl

from mlops_assets.tasks.task import Task, as_text


class MonitorResult(NamedTuple):
    """`tables` are rows and `pictures` PNG bytes, by name; `page` is an HTML document."""

    passed: bool
    message: str
    figures: Mapping[str, Any]
    tables: Mapping[str, Sequence[Mapping[str, Any]]] = MappingProxyType({})
    pictures: Mapping[str, bytes] = MappingProxyType({})
    page: str | None = None


NOT_ENOUGH = "; a verdict needs "  # in the message of a result without a verdict


def too_few(rows: int, needed: int, of: str) -> MonitorResult:
    """Passes: there is not enough data for a verdict."""
    return MonitorResult(True, f"{rows} {of} in the window{NOT_ENOUGH}{needed}.", {"rows": rows})


def constant_answers(task: Task[Any], recent: pl.DataFrame) -> MonitorResult | None:
    """Fails where all answers are equal: what is served does not depend on its inputs, whatever those are."""
    answers = task.logged(recent.drop_nulls(task.SCORES)) if {*task.SCORES} <= {*recent.columns} else ()
    if len(answers) < 2 or not (answers == answers[0]).all():
        return None
    equal = f"All {len(answers):,} answers in the window are {as_text(answers[0])}, whatever their inputs."
    return MonitorResult(False, f"{equal} Roll back, or train on other rows or inputs.", {"rows": len(recent)})
