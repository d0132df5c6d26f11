"""Drift of the served inputs, the predictions and the labels against the champion's training. Imports matplotlib, and Evidently
for a page.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from mlops_assets.foundation.names import PREDICTION_ID
from mlops_assets.foundation.verdict import Verdict
from mlops_assets.foundation.wording import some
from mlops_assets.monitoring.monitor_result import MonitorResult, constant_answers, too_few
from mlops_assets.monitoring.training_window import TrainingWindow
from mlops_assets.monitoring.window import Window
from mlops_assets.spec.monitor import Drift
from mlops_assets.statistics import plots
from mlops_assets.statistics.distances import PairChange, compare_correlations
from mlops_assets.statistics.drift import ColumnDrift, compare_profiles
from mlops_assets.statistics.mergeable_profile import Bins, Profile
from mlops_assets.statistics.profile import ColumnProfile, NumericProfile, profile_reference
from mlops_assets.tasks.task import IllegalLabels, Task

PAGE_INPUTS = 12  # those that moved most: the page takes time and space for each, and hundreds of pictures are not read
SHOWN, SHOWN_PAIRS = 4, 10  # drifted inputs in a sentence, pairs of inputs in a table
SAMPLE_ROWS = 5000  # as many as Evidently's page has
PREDICTION, LABEL = "predictions", "labels"


class Served(NamedTuple):
    """The answers of one window: their `rows`, of which only a sample is read, how to get their profile, and the known labels."""

    window: Window
    rows: pl.LazyFrame
    profile: Callable[[Bins], Profile]
    labels: pl.Series

    def number(self) -> int:
        """Of the rows."""
        return self.rows.select(pl.len()).collect().item()

    def sample(self, count: int, seed: int) -> pl.DataFrame:
        """About SAMPLE_ROWS of the `count` rows, by the hash of their id: not all are in memory at once."""
        if count <= SAMPLE_ROWS:
            return self.rows.collect()
        return self.rows.filter(pl.col(PREDICTION_ID).hash(seed) < int(SAMPLE_ROWS / count * 2**64)).collect()


class Judged(NamedTuple):
    """One of the two distributions next to the inputs: of the predictions, or of the labels."""

    of: str
    verdict: Verdict
    column: ColumnDrift


class Comparison(NamedTuple):
    """Of one window with the champion's training; the inputs that moved most first."""

    inputs: Sequence[ColumnDrift]
    others: Sequence[Judged]
    pairs: Sequence[PairChange]
    note: str = ""

    def drifted(self) -> list[str]:
        return [column.name for column in self.inputs if column.drifted]

    def alarms(self) -> list[Judged]:
        return [one for one in self.others if one.verdict is Verdict.ALARM]

    def changed_pairs(self, spec: Drift) -> list[PairChange]:
        bound = spec.max_correlation_change
        return [one for one in self.pairs if bound and one.change > bound and one.p <= spec.false_discovery_rate]


def monitor_drift(
    spec: Drift, served: Served, read_window: Callable[[], TrainingWindow] | None, *, task: Task[Any], seed: int
) -> MonitorResult:
    """Compares profiles of what was served with those of the champion's training."""
    count = served.number()
    if read_window is None or count < spec.min_rows:
        return too_few(count, spec.min_rows, "served requests")
    sample = served.sample(count, seed)
    # Of equal answers in a sample, all are read.
    if constant_answers(task, sample) and (constant := constant_answers(task, served.rows.select(task.SCORES).collect())):
        return constant
    window, columns = read_window(), served.rows.collect_schema().names()
    profiles = {name: profile for name, profile in window.profiles.items() if name in columns}
    gone = sorted(window.profiles.keys() - profiles.keys())
    left_out = f" Not compared, as the log no longer has them: {some(gone)}." if gone else ""
    if not profiles:
        nothing = f"No input of version {window.version} can be compared.{left_out}"
        return MonitorResult(Verdict.ALARM, nothing, {"rows": count})
    compared = _compare(spec, served, window, profiles, task=task)
    page = _page(window, sample, compared, seed)
    return _result(spec, window, compared._replace(note=left_out + compared.note), count=count, page=page)


def _compare(
    spec: Drift, served: Served, window: TrainingWindow, profiles: dict[str, ColumnProfile], *, task: Task[Any]
) -> Comparison:
    reference = window.reference(spec, profiles, served.window)
    answers = _answers(window, task)
    merged = served.profile(Bins(profiles | answers))
    current = merged.columns()
    compared = compare_profiles(reference.profiles, current, spec, reference.bounds)
    inputs = sorted(compared, key=lambda one: (-one.drifted, -one.excess, one.name))
    others = [_judge(PREDICTION, spec, name, one, current[name]) for name, one in answers.items()]
    return Comparison(inputs, [*others, *_labels(spec, served, window, task)], _pairs(window, profiles, merged), reference.note)


def _answers(window: TrainingWindow, task: Task[Any]) -> dict[str, ColumnProfile]:
    if window.answers is None or task.SUMMARY not in window.answers.columns:  # of another task
        return {}
    return _profiles(window.answers[task.SUMMARY])


def _labels(spec: Drift, served: Served, window: TrainingWindow, task: Task[Any]) -> list[Judged]:
    try:
        before, now = (task.watched_truth(task.truth(labels)).alias(served.labels.name) for labels in (
            window.sample[served.labels.name], served.labels
        ))  # fmt: skip
    except (IllegalLabels, pl.exceptions.ColumnNotFoundError):  # of a version with other classes, or another label
        return []
    (reference,) = _profiles(before).values()
    return [_judge(LABEL, spec, before.name, reference, reference.like(now))]


def _profiles(values: pl.Series) -> dict[str, ColumnProfile]:
    is_number = values.dtype.is_numeric()
    return profile_reference(values.to_frame(), [values.name] * is_number, [values.name] * (not is_number))


def _judge(of: str, spec: Drift, name: str, reference: ColumnProfile, current: ColumnProfile) -> Judged:
    (column,) = compare_profiles({name: reference}, {name: current}, spec)
    enough = min(reference.rows, current.rows) >= spec.min_rows
    return Judged(of, Verdict.healthy_if(not column.drifted) if enough else Verdict.NOT_ENOUGH_DATA, column)


def _pairs(window: TrainingWindow, profiles: dict[str, ColumnProfile], current: Profile) -> Sequence[PairChange]:
    """Of the correlations in the sample of the training: its profiles have none."""
    bins = Bins({name: one for name, one in profiles.items() if isinstance(one, NumericProfile)})
    if len(bins.reference) < 2:
        return []
    rows = window.sample.select(pl.col(*bins.reference).cast(pl.Float64).fill_null(float("nan")))
    return compare_correlations(bins.profile(rows.lazy()), current, rows.to_numpy())


def _page(window: TrainingWindow, sample: pl.DataFrame, compared: Comparison, seed: int) -> str:
    from mlops_assets.evaluation.report import drift_report  # here, as Evidently takes 3 s of CPU

    inputs = _by_kind({column.name: window.profiles[column.name] for column in compared.inputs[:PAGE_INPUTS]})
    return drift_report(window.sample, sample, **inputs, drifted=compared.drifted(), seed=seed)


def _result(spec: Drift, window: TrainingWindow, compared: Comparison, *, count: int, page: str) -> MonitorResult:
    importance, drifted, alarms = window.importance(), compared.drifted(), compared.alarms()
    carried, pairs = sum(importance[name] for name in drifted), compared.changed_pairs(spec)
    rows = [_row(column) | {"importance": importance[column.name]} for column in compared.inputs]
    psi = {column.name: column.psi for column in compared.inputs}
    figures = {"drifted_share": len(drifted) / len(rows), "drifted_importance": carried, "max_psi": max(psi.values())}
    figures |= {f"psi_of_{one.of}": one.column.psi for one in compared.others if one.verdict is not Verdict.NOT_ENOUGH_DATA}
    figures |= {"max_correlation_change": compared.pairs[0].change} if compared.pairs else {}
    others = [{"of": one.of, "verdict": str(one.verdict)} | _row(one.column) for one in compared.others]
    correlations = [_pair(pair) for pair in compared.pairs[:SHOWN_PAIRS]]
    return MonitorResult(
        Verdict.healthy_if(not (drifted or alarms or pairs)),
        _message(spec, window, compared),
        {"rows": count, **figures},
        {"drifted": rows[: len(drifted)], "predictions_and_labels": others, "columns": rows, "correlations": correlations},
        {"psi": plots.drift_bars(compared.inputs)},
        page,
        reason_to_train=1.0 if alarms and spec.trains_on_answers else carried,
        symptoms=drifted or [one.of for one in alarms] or [" and ".join(pair.columns) for pair in pairs],
        lines=("PSI of each input", psi),
    )


def _message(spec: Drift, window: TrainingWindow, compared: Comparison) -> str:
    drifted, pairs = [column for column in compared.inputs if column.drifted], compared.changed_pairs(spec)
    importance = window.importance()
    carried = f", which carry {sum(importance[one.name] for one in drifted):.0%} of the importance"
    worst = f": {some([_evidence(column, spec) for column in drifted], SHOWN)}" if drifted else ""
    what = f"{len(drifted)} of {len(compared.inputs)} inputs have drifted from version {window.version}'s training window"
    others = "".join(f" The {one.of} have drifted: {_evidence(one.column, spec)}." for one in compared.alarms())
    others += f" The correlation has changed of {some([_changed(pair) for pair in pairs], SHOWN)}." if pairs else ""
    return f"{what}{carried if drifted and any(window.losses.values()) else ''}{worst}.{others}{compared.note}"


def _row(column: ColumnDrift) -> dict[str, Any]:
    return column._asdict() | {"changed": " and ".join(column.changed)}


def _pair(pair: PairChange) -> dict[str, Any]:
    return pair._asdict() | {"columns": " and ".join(pair.columns), "change": pair.change}


def _changed(pair: PairChange) -> str:
    """Such as `amount and age (0.62, was 0.11)`."""
    return f"{' and '.join(pair.columns)} ({pair.current:.2f}, was {pair.reference:.2f})"


def _evidence(column: ColumnDrift, spec: Drift) -> str:
    """Such as `amount (values: PSI 6.45, at most 0.25)`."""
    texts = {
        "values": f"PSI {column.psi:.2f}, at most {column.max_psi:.4g}",
        "new values": f"{column.new_share:.1%}, at most {spec.max_new_share:.1%}",
        "missing values": f"{column.missing_change:+.1%}, at most {spec.max_missing_change:.1%}",
    }
    return f"{column.name} ({'; '.join(f'{subject}: {texts[subject]}' for subject in column.changed)})"


def _by_kind(profiles: Mapping[str, ColumnProfile]) -> dict[str, list[str]]:
    """As the version was trained, whatever is declared by now."""
    numeric = [name for name, profile in profiles.items() if isinstance(profile, NumericProfile)]
    return {"numeric": numeric, "categorical": [name for name in profiles if name not in numeric]}
