"""Judging one candidate beside the champion on the same rows. Opens onnxruntime, matplotlib and Evidently.

Belongs here: fetching both models, and the evidence as a person reads it. Not here: the measures and the gates (stages/).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlops_assets import names
from mlops_assets.graph.words import rows_as_table
from mlops_assets.spec.use_case import UseCase
from mlops_assets.stages import plots
from mlops_assets.stages.evaluate import Evaluation, Rival, evaluate, permutation_importance
from mlops_assets.stages.gates.case import Case, Verdict
from mlops_assets.stages.judge import judge
from mlops_assets.stages.report import classification_report
from mlops_assets.stages.score import OnnxModel
from mlops_assets.stages.side_by_side import side_by_side
from mlops_assets.stages.side_by_side_page import as_html
from mlops_assets.stages.signature import digest
from mlops_assets.stages.skew import Parity
from mlops_assets.stages.train import fit

Probability = NDArray[np.float64]


@dataclass(frozen=True)
class JudgedCandidate:
    evaluation: Evaluation
    verdicts: tuple[Verdict, ...]
    metadata: dict[str, Any]


def judge_candidate(use_case: UseCase, rows: pl.DataFrame, candidate: Any, *, resources: Any, seed: int) -> JudgedCandidate:
    """Scores the test rows with candidate, champion and the reference trainer, and lets every gate speak."""
    test = rows.filter(pl.col("split") == "test")
    onnx = resources.registry.load(names.registered_model(use_case.name), candidate.version)
    model = OnnxModel.from_bytes(onnx)
    ours, rival, yardstick = (
        model.predict(test),
        _champion(use_case, test, candidate, resources),
        _reference(use_case, rows, test),
    )
    inputs, label = use_case.features.inputs, use_case.label.name
    importance = permutation_importance(model.predict, test, inputs=inputs, label=label, seed=seed)
    evaluation = evaluate(
        test, ours, candidate=candidate.digest, label=use_case.label.name, slices=use_case.slices, threshold=use_case.threshold,
        seed=seed, champion=rival, reference=yardstick, importance=importance,
    )  # fmt: skip
    truth = test[use_case.label.name].to_numpy()
    verdicts = judge(use_case.gates, Case(
        evaluation, truth, ours, rival.probability if rival else None, test, parity=_parity(use_case, resources.warehouse),
        model=model, onnx=onnx, training_rows=rows, use_case=use_case, training=candidate.training, seed=seed,
    ))  # fmt: skip
    page = resources.reports / use_case.name / f"evaluation_{candidate.version}.html"
    report = _report(page, use_case, test.with_columns(probability=pl.Series(ours)), seed)
    said = _said(evaluation, verdicts, report) | _pictures(truth, ours, rival, yardstick, evaluation)
    beside = page.with_name(f"side_by_side_{candidate.version}.html")
    said |= _beside(beside, use_case, evaluation, test, version=candidate.version, ours=ours, rival=rival)
    return JudgedCandidate(evaluation, verdicts, said)


def _parity(use_case: UseCase, warehouse: Any) -> Parity | None:
    """What the skew asset compared last. Read and not depended on: what is served comes after the gates."""
    path = names.stage(use_case.name, "skew")
    return Parity.from_table(warehouse.scan(path).collect()) if warehouse.exists(path) else None


def _champion(use_case: UseCase, test: pl.DataFrame, candidate: Any, resources: Any) -> Rival | None:
    """The version that answers now; None when nothing does, or when the candidate is that very model."""
    deployment = resources.deployment(use_case.name)
    plan = deployment.plan()
    if plan is None:
        return None
    onnx, _blessing = deployment.load(plan.champion)
    if digest(onnx) == candidate.digest:
        return None
    return Rival(str(plan.champion), OnnxModel.from_bytes(onnx).predict(test))


def _reference(use_case: UseCase, rows: pl.DataFrame, test: pl.DataFrame) -> Probability | None:
    if use_case.reference is None:
        return None
    features = use_case.features
    model = fit(
        use_case.reference, rows, numeric=features.numeric, categorical=features.categorical,
        label=use_case.label.name, progress=lambda _said: None,
    )  # fmt: skip
    return OnnxModel.from_bytes(model.onnx).predict(test)


def _said(evaluation: Evaluation, verdicts: tuple[Verdict, ...], report: Path) -> dict[str, Any]:
    metrics = {f"test_{name}": interval.value for name, interval in evaluation.metrics.items()}
    reference = {f"reference_{name}": interval.value for name, interval in (evaluation.reference or {}).items()}
    shown = ("gate", "passed", "measured", "low", "high", "bound")
    gates = rows_as_table({**{name: getattr(v, name) for name in shown}, "said": v.message} for v in verdicts)
    differences = (evaluation.comparison or {}).items()
    compared = [{"metric": name, "difference": str(found), "better": found.better} for name, found in differences]
    slices = [{"column": s["column"], "value": s["value"], "rows": s["rows"], **s["metrics"]} for s in evaluation.slices]
    return metrics | reference | {
        "auc": str(evaluation.metrics["auc"]),
        "reference_auc_interval": str((evaluation.reference or {}).get("auc", "none declared")),
        "champion": evaluation.champion or "none",
        "comparison": rows_as_table(compared),
        "gates": gates,
        "slices": rows_as_table(slices),
        "evidence": dg.MetadataValue.json(evaluation.to_dict()),
        "report": dg.MetadataValue.path(report),
    }  # fmt: skip


def _pictures(
    truth: Any, ours: Probability, rival: Rival | None, yardstick: Probability | None, evaluation: Evaluation
) -> dict[str, Any]:
    curves = {"candidate": ours} | ({f"champion {rival.version}": rival.probability} if rival else {})
    curves |= {"reference": yardstick} if yardstick is not None else {}
    drawn = {
        "roc": plots.roc_curve(truth, curves),
        "reliability": plots.reliability(truth, curves),
        "confusion": plots.confusion(evaluation.confusion),
        "importance": plots.importance(evaluation.importance),
    }
    return {f"plot_{name}": dg.MetadataValue.md(plots.as_markdown(png, name)) for name, png in drawn.items()}


def _report(path: Path, use_case: UseCase, scored: pl.DataFrame, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    label, threshold = use_case.label.name, use_case.threshold
    path.write_text(classification_report(scored, label=label, probability="probability", threshold=threshold, seed=seed))
    return path


def _beside(
    path: Path,
    use_case: UseCase,
    evaluation: Evaluation,
    test: pl.DataFrame,
    *,
    version: int,
    ours: Probability,
    rival: Rival | None,
) -> dict[str, Any]:
    """The page about candidate and champion side by side, where there is a champion."""
    if rival is None:
        return {}
    told = side_by_side(use_case, evaluation, test, version=version, candidate=ours, champion=rival.probability)
    truth, both = test[use_case.label.name].to_numpy(), {"champion": rival.probability, "candidate": ours}
    drawn = {"reliability": plots.reliability(truth, both), "scores": plots.score_distribution(both, evaluation.threshold)}
    path.write_text(as_html(told, drawn))
    return {"side_by_side": dg.MetadataValue.path(path)}
