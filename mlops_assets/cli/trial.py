"""`mlops try`: what a quick model learns from the data of a use case."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mlops_assets.cli.arguments import FileOfRows, Name, declared, environment, files_of
from mlops_assets.foundation.terminal import show, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from mlops_assets.evaluation.trial import Trial
    from mlops_assets.inspection.inspected import Inspected

MOST_INPUTS, MOST_REASONS = 10, 5
LEAKS = ("leak", "time travel")


def try_(use_case: Name, *, file: FileOfRows) -> None:
    """Train a quick model in this process, and judge it by its gates. Nothing is stored or registered."""
    from mlops_assets.evaluation.read_rows import read_rows
    from mlops_assets.evaluation.trial import run_trial

    declaration = declared(use_case)
    home = environment(creates_home=True).home  # which is read only, and may be missing
    data = read_rows(declaration, home=home, files=files_of(declaration, file), now=datetime.now(UTC))
    show(f"Data: {data.describe()}", *_refused(data))
    show(*_describe(data, run_trial(data)))


def _refused(data: "Inspected") -> list[str]:
    from mlops_assets.inspection.suspicious_rows import count_reasons

    lines: list[str] = []
    for name, refused in data.refused.items():
        reasons = [*count_reasons(refused).items()]
        lines.append(f"Refused: {len(refused):,} of {len(refused) + len(data.tables[name]):,} rows of {name}.")
        lines += [f"  {count:,} × {reason}" for reason, count in reasons[:MOST_REASONS]]
    return lines or ["Refused: no row."]


def _describe(data: "Inspected", trial: "Trial") -> "list[RenderableType]":
    from mlops_assets.inspection.findings import find

    metric, findings = data.task.main_metric, find(data)
    leaks = [finding for finding in findings if finding.kind in LEAKS]
    steps = trial.shortened(data.use_case.trainer)
    shortened = "".join(f", {name} {quick} of {full}" for name, (quick, full) in steps.items())
    model = f"Model: {trial.trainer.kind}{shortened}, trained on {trial.rows:,} rows in {trial.seconds:.1f} s. Nothing is stored."
    gates = f"Gates: {sum(verdict.passed for verdict in trial.judged)} of {len(trial.judged)} passed."
    return [
        model, "", _metrics(trial), "", _importance(trial, metric), "", _gates(trial, title=gates),
        *(f"  {verdict.message}" for verdict in trial.judged if not verdict.passed),
        *(f"Not judged: {verdict.message}" for verdict in trial.not_judged), "",
        f"Leaks: {len(leaks) or 'none'}.", *(f"  {leak}" for leak in leaks),
        *([f"Warning: {trial.warning}"] if trial.warning else []),
        f"Other warnings, which `mlops check {data.use_case.name}` lists: {len(findings) - len(leaks)}.",
    ]  # fmt: skip


def _metrics(trial: "Trial") -> "RenderableType":
    blind = trial.evaluation.reference or {}
    rows = ((name, value, blind[name]) for name, value in trial.evaluation.metrics.items())
    return table(("metric of the test rows", "model", "without inputs"), rows)


def _gates(trial: "Trial", *, title: str) -> "RenderableType":
    rows = ((one.gate, one.result, f"{one.measured:.4g}", f"{one.bound:.4g}") for one in trial.judged)
    return table(("gate", "", "measured", "bound"), rows, title=title, numbers=("measured", "bound"))


def _importance(trial: "Trial", metric: str) -> "RenderableType":
    heads = ("most important inputs", f"loss of {metric} when shuffled")
    return table(heads, ((one.input, f"{one.loss:+.4f}") for one in trial.evaluation.importance[:MOST_INPUTS]), numbers=heads[1:])
