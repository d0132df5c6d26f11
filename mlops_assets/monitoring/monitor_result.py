"""The result of a monitor: its verdict and the evidence for people."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import polars as pl

from mlops_assets.foundation.verdict import Verdict
from mlops_assets.tasks.task import Task, as_text


class MonitorResult(NamedTuple):
    """`tables` are rows and `pictures` PNG bytes, by name; `page` is an HTML document. `reason_to_train` is how much an alarm is
    a reason to train, from 0 to 1, and `symptoms` are the names of what it is about, such as inputs. `lines` are a title and a
    number for each part of what is judged, such as an input, for the dashboard over time.
    """

    verdict: Verdict
    message: str
    figures: Mapping[str, Any]
    tables: Mapping[str, Sequence[Mapping[str, Any]]] = MappingProxyType({})
    pictures: Mapping[str, bytes] = MappingProxyType({})
    page: str | None = None
    reason_to_train: float = 1.0
    symptoms: Sequence[str] = ()
    lines: tuple[str, Mapping[str, float]] = ("", MappingProxyType({}))


def too_few(rows: int, needed: int, of: str) -> MonitorResult:
    """There is not enough data for a verdict."""
    message = f"{rows:,} {of} in the window; a verdict needs {needed:,}."
    return MonitorResult(Verdict.NOT_ENOUGH_DATA, message, {"rows": rows})


def constant_answers(task: Task[Any], recent: pl.DataFrame) -> MonitorResult | None:
    """An alarm where all answers are equal: what is served does not depend on its inputs, whatever those are."""
    answers = task.logged(recent.drop_nulls(task.SCORES)) if {*task.SCORES} <= {*recent.columns} else ()
    if len(answers) < 2 or not (answers == answers[0]).all():
        return None
    equal = f"All {len(answers):,} answers in the window are {as_text(answers[0])}, whatever their inputs."
    return MonitorResult(Verdict.ALARM, f"{equal} Roll back, or train on other rows or inputs.", {"rows": len(recent)})
