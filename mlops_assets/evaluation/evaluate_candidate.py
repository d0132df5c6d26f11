"""Evaluates one candidate on the test rows: evidence, gates, pictures, tables and report pages, as plain values."""

from io import BytesIO
from typing import Any, NamedTuple

import polars as pl
from threadpoolctl import threadpool_limits

from mlops_assets.evaluation.blind_answer import answer_blind, describe_little
from mlops_assets.evaluation.evaluate import Evaluation, Rival, evaluate, permutation_importance
from mlops_assets.evaluation.gates.case import Case, Verdict
from mlops_assets.evaluation.judge import judge
from mlops_assets.evaluation.report import quality_report
from mlops_assets.evaluation.side_by_side import side_by_side
from mlops_assets.features.parity import Parity
from mlops_assets.foundation.names import SEED
from mlops_assets.foundation.wording import counted
from mlops_assets.spec.use_case import UseCase
from mlops_assets.statistics import plots
from mlops_assets.statistics.metrics import Array
from mlops_assets.tasks import task_of
from mlops_assets.tasks.task import Task
from mlops_assets.training.digest import digest
from mlops_assets.training.fitted import TEST
from mlops_assets.training.onnx_model import OnnxModel
from mlops_assets.training.train import fit, training_columns

SCORED, MAX_SCORED = "scored.parquet", 100_000  # among the artifacts of the version's run
GATE_COLUMNS = ("gate", "result", "message", "measured", "low", "high", "bound")  # the sentence before the numbers


class ModelVersion(NamedTuple):
    """A registered version and its ONNX file."""

    version: int
    onnx: bytes


class CandidateEvaluation(NamedTuple):
    """`metric` is the task's main one, `pictures` are PNG bytes, `tables` rows, and `pages` HTML documents, each by name.
    `warning` says where the candidate has learned little.
    """

    metric: str
    evaluation: Evaluation
    verdicts: tuple[Verdict, ...]
    pictures: dict[str, bytes]
    tables: dict[str, list[dict[str, Any]]]
    pages: dict[str, str]
    scored: bytes
    warning: str

    @property
    def summary(self) -> str:
        """How many gates passed, which had not enough data, which failed, and the main metric, in one sentence."""
        failed = [verdict.gate for verdict in self.verdicts if not verdict.passed]
        gates = f"{len(self.verdicts) - len(failed)} of {counted(len(self.verdicts), 'gate')} passed"
        lacking = [verdict.gate for verdict in self.verdicts if verdict.passed and verdict.lacks_data]
        gates += f", {len(lacking)} of them without enough data ({', '.join(lacking)})" if lacking else ""
        gates += f", {', '.join(failed)} failed" if failed else ""
        rival = f"champion {self.evaluation.champion}" if self.evaluation.champion else "no champion"
        rival += ", which cannot be scored" if self.evaluation.champion_problem else ""
        return f"{gates}; test {self.metric} {self.evaluation.metrics[self.metric]} against {rival}."


# OpenBLAS splits sums of more than 10,000 rows over all cores: 4 times the CPU time, and other last digits on other machines.
@threadpool_limits.wrap(limits=1, user_api="blas")
def evaluate_candidate(
    use_case: UseCase,
    rows: pl.DataFrame,
    candidate: ModelVersion,
    *,
    champion: ModelVersion | None,
    training: dict[str, str],
    parity: Parity | None,
    served: int,
    seed: int,
) -> CandidateEvaluation:
    """Scores the test rows with candidate, champion and reference trainer, and judges every gate. `rows` are those of all splits;
    the other parameters are as in Case. A champion with the candidate's own model file is ignored, and one that cannot be scored
    on these rows is recorded as such.
    """
    label, task = use_case.label.name, task_of(use_case.task)
    test = rows.filter(pl.col("split") == TEST)
    model, rival = OnnxModel.from_bytes(candidate.onnx), _score_champion(task, candidate, champion, test)
    theirs = rival.output if rival else None
    scores, reference = model.predict(test), _reference(use_case, rows, test)
    importance = permutation_importance(model.predict, test, task=task, inputs=use_case.features.inputs, label=label, seed=seed)
    evaluation = evaluate(
        test, scores, task=task, candidate=digest(candidate.onnx), label=label, slices=use_case.slices, seed=seed,
        champion=rival, reference=reference, importance=importance,
    )  # fmt: skip
    truth, curves = task.truth(test[label]), {"candidate": scores}
    bars = {"importance": plots.importance(evaluation.importance, task.main_metric)}
    verdicts = judge(use_case.gates, Case(
        evaluation, truth, scores, theirs, test, parity=parity, served=served, model=model,
        onnx=candidate.onnx, training_rows=rows, use_case=use_case, training=training, seed=seed,
    ))  # fmt: skip
    pages = {"report": quality_report(task, test, truth, scores, seed=seed)}
    if theirs is not None:
        curves[f"champion {evaluation.champion}"] = theirs
        both = {"champion": theirs, "candidate": scores}
        page = side_by_side(use_case, evaluation, test, version=candidate.version, **both)
        pages["side_by_side"] = page.to_html({**task.curves(truth, both), **bars})
    if reference is not None:
        curves["reference"] = reference
    pictures = {**task.curves(truth, curves), **task.pictures(evaluation.details), **bars}
    tables, scored = _tables(evaluation, verdicts), scored_rows(truth, scores)
    warning = describe_little(task, truth, scores, answer_blind(use_case, rows, test))
    return CandidateEvaluation(task.main_metric, evaluation, verdicts, pictures, tables, pages, scored, warning)


def scored_rows(truth: Array, output: Array) -> bytes:
    """Truth and output of the test rows, at most MAX_SCORED of them, as Parquet, from which later metrics are estimated."""
    rows = pl.DataFrame({"truth": truth}).hstack(pl.DataFrame(output.reshape(len(truth), -1)))
    buffer = BytesIO()
    rows.sample(min(len(rows), MAX_SCORED), seed=SEED).write_parquet(buffer)
    return buffer.getvalue()


def _score_champion(task: Task[Any], candidate: ModelVersion, champion: ModelVersion | None, test: pl.DataFrame) -> Rival | None:
    """Never fails: a champion of an earlier declaration or release must not keep every later candidate from being judged."""
    if champion is None or champion.onnx == candidate.onnx:
        return None
    version = str(champion.version)
    try:
        model = OnnxModel.from_bytes(champion.onnx)
        if missing := [name for name in model.signature.inputs if name not in test.columns]:
            return Rival(version, problem=f"it reads {', '.join(missing)}, which the rows no longer have")
        output = model.predict(test)
        if illegal := len(test) - int(task.are_legal(output).sum()):
            return Rival(version, problem=f"it gives no {task.SCORES[0]} for {illegal:,} of {len(test):,} rows")
        return Rival(version, task.aligned(output, model.signature.facts))
    except Exception as error:  # noqa: BLE001 - onnxruntime's errors share no parent but Exception
        return Rival(version, problem=str(error))


def _reference(use_case: UseCase, rows: pl.DataFrame, test: pl.DataFrame) -> Array | None:
    if use_case.reference is None:
        return None
    return OnnxModel.from_bytes(fit(use_case.reference, rows, **training_columns(use_case)).onnx).predict(test)


def _tables(evaluation: Evaluation, verdicts: tuple[Verdict, ...]) -> dict[str, list[dict[str, Any]]]:
    reference, comparison = evaluation.reference or {}, evaluation.comparison or {}
    return {
        "gates": [{name: getattr(verdict, name) for name in GATE_COLUMNS} for verdict in verdicts],
        "metrics": [
            {"metric": name, "candidate": str(interval), "reference": str(reference.get(name, "none declared"))}
            for name, interval in evaluation.metrics.items()
        ],
        "comparison": [{"metric": name, "difference": str(found), "better": found.better} for name, found in comparison.items()],
        "importance": [one._asdict() for one in evaluation.importance],
        "slices": [{name: part[name] for name in ("column", "value", "rows")} | part["metrics"] for part in evaluation.slices],
    }
