"""Evaluates one candidate on the test rows: evidence, gates, pictures, tables and report pages, as plain values."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from mlops_assets.evaluation.evaluate import Evaluation, Rival, evaluate, permutation_importance
from mlops_assets.evaluation.gates.case import Case, Verdict
from mlops_assets.evaluation.judge import judge
from mlops_assets.evaluation.report import classification_report
from mlops_assets.evaluation.side_by_side import as_html, side_by_side
from mlops_assets.features.parity import Parity
from mlops_assets.spec.use_case import UseCase
from mlops_assets.statistics import plots
from mlops_assets.statistics.metrics import Array
from mlops_assets.training.fitted import TEST
from mlops_assets.training.onnx_model import OnnxModel
from mlops_assets.training.signature import digest
from mlops_assets.training.train import fit

Row = dict[str, Any]


@dataclass(frozen=True)
class ModelVersion:
    """A registered version and its ONNX file."""

    version: int
    onnx: bytes


@dataclass(frozen=True)
class CandidateEvaluation:
    """`pictures` are PNG bytes, `tables` rows, and `pages` written HTML files, each by name."""

    evaluation: Evaluation
    verdicts: tuple[Verdict, ...]
    pictures: dict[str, bytes]
    tables: dict[str, list[Row]]
    pages: dict[str, Path]

    @property
    def summary(self) -> str:
        """How many gates passed, which failed, and the auc, in one sentence."""
        failed = [verdict.gate for verdict in self.verdicts if not verdict.passed]
        gates = f"{len(self.verdicts) - len(failed)} of {len(self.verdicts)} gates passed"
        gates += f", {', '.join(failed)} failed" if failed else ""
        rival = f"champion {self.evaluation.champion}" if self.evaluation.champion else "no champion"
        return f"{gates}; test auc {self.evaluation.metrics['auc']} against {rival}."


def evaluate_candidate(
    use_case: UseCase,
    rows: pl.DataFrame,
    candidate: ModelVersion,
    *,
    champion: ModelVersion | None,
    training: dict[str, str],
    parity: Parity | None,
    folder: Path,
    seed: int,
) -> CandidateEvaluation:
    """Scores the test rows with candidate, champion and reference trainer, judges every gate, writes the pages to `folder`.

    `rows` are those of all splits, `training` records how the candidate was made, `parity` is the newest comparison of
    served with recomputed features. A champion that is the same model as the candidate does not count as one.
    """
    test, label = rows.filter(pl.col("split") == TEST), use_case.label.name
    model, rival = OnnxModel.from_bytes(candidate.onnx), _rival(candidate, champion, test)
    scores, reference = model.predict(test), _reference(use_case, rows, test)
    importance = permutation_importance(model.predict, test, inputs=use_case.features.inputs, label=label, seed=seed)
    evaluation = evaluate(
        test, scores, candidate=digest(candidate.onnx), label=label, slices=use_case.slices, threshold=use_case.threshold,
        seed=seed, champion=rival, reference=reference, importance=importance,
    )  # fmt: skip
    truth = test[label].to_numpy()
    verdicts = judge(use_case.gates, Case(
        evaluation, truth, scores, rival.probability if rival else None, test, parity=parity, model=model,
        onnx=candidate.onnx, training_rows=rows, use_case=use_case, training=training, seed=seed,
    ))  # fmt: skip
    pages = _pages(use_case, evaluation, test, version=candidate.version, scores=scores, rival=rival, folder=folder, seed=seed)
    return CandidateEvaluation(
        evaluation, verdicts, _pictures(truth, scores, rival, reference, evaluation), _tables(evaluation, verdicts), pages
    )


def _rival(candidate: ModelVersion, champion: ModelVersion | None, test: pl.DataFrame) -> Rival | None:
    if champion is None or champion.onnx == candidate.onnx:
        return None
    return Rival(str(champion.version), OnnxModel.from_bytes(champion.onnx).predict(test))


def _reference(use_case: UseCase, rows: pl.DataFrame, test: pl.DataFrame) -> Array | None:
    if use_case.reference is None:
        return None
    features, label = use_case.features, use_case.label.name
    inputs = {"numeric": features.numeric, "categorical": features.categorical}
    model = fit(use_case.reference, rows, **inputs, label=label, progress=lambda _message: None)
    return OnnxModel.from_bytes(model.onnx).predict(test)


def _pictures(
    truth: Array, scores: Array, rival: Rival | None, reference: Array | None, evaluation: Evaluation
) -> dict[str, bytes]:
    curves = {"candidate": scores} | ({f"champion {rival.version}": rival.probability} if rival else {})
    curves |= {"reference": reference} if reference is not None else {}
    return {
        "roc": plots.roc_curve(truth, curves),
        "reliability": plots.reliability(truth, curves),
        "confusion": plots.confusion(evaluation.confusion),
        "importance": plots.importance(evaluation.importance),
    }


def _tables(evaluation: Evaluation, verdicts: tuple[Verdict, ...]) -> dict[str, list[Row]]:
    columns = ("gate", "passed", "measured", "low", "high", "bound", "message")
    reference = evaluation.reference or {}
    return {
        "gates": [{name: getattr(verdict, name) for name in columns} for verdict in verdicts],
        "metrics": [
            {"metric": name, "candidate": str(interval), "reference": str(reference.get(name, "none declared"))}
            for name, interval in evaluation.metrics.items()
        ],
        "comparison": [
            {"metric": name, "difference": str(found), "better": found.better}
            for name, found in (evaluation.comparison or {}).items()
        ],
        "slices": [
            {"column": part["column"], "value": part["value"], "rows": part["rows"], **part["metrics"]}
            for part in evaluation.slices
        ],
    }


def _pages(
    use_case: UseCase,
    evaluation: Evaluation,
    test: pl.DataFrame,
    *,
    version: int,
    scores: Array,
    rival: Rival | None,
    folder: Path,
    seed: int,
) -> dict[str, Path]:
    """Evidently's report, and with a champion the page that compares both."""
    folder.mkdir(parents=True, exist_ok=True)
    label, scored = use_case.label.name, test.with_columns(probability=pl.Series(scores))
    report = classification_report(scored, label=label, probability="probability", threshold=use_case.threshold, seed=seed)
    pages = {"report": folder / f"evaluation_{version}.html"}
    pages["report"].write_text(report)
    if rival:
        both = {"champion": rival.probability, "candidate": scores}
        pictures = {
            "reliability": plots.reliability(test[label].to_numpy(), both),
            "scores": plots.score_distribution(both, evaluation.threshold),
        }
        page = side_by_side(use_case, evaluation, test, version=version, candidate=scores, champion=rival.probability)
        pages["side_by_side"] = folder / f"side_by_side_{version}.html"
        pages["side_by_side"].write_text(as_html(page, pictures))
    return pages
