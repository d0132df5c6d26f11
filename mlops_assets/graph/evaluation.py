"""The asset evaluation, whose checks are the gates."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from mlops_assets.foundation import names
from mlops_assets.graph.kernel.asset_metadata import (
    MAX_ROWS,
    WARNING,
    asset_metadata,
    pictures_as_metadata,
    readable,
    rows_as_table,
)  # fmt: skip
from mlops_assets.graph.kernel.assets import asset
from mlops_assets.graph.kernel.mlflow_run import publish
from mlops_assets.graph.kernel.run_clock import run_started
from mlops_assets.graph.kernel.tables import LazyFrame
from mlops_assets.graph.training import Candidate, Judged, stage_inputs
from mlops_assets.resources import (
    DeploymentResource,
    LedgerResource,
    RegistryResource,
    SigningKeysResource,
    WarehouseResource,
)  # fmt: skip
from mlops_assets.spec.gate import gate_names
from mlops_assets.spec.monitor import Skew
from mlops_assets.spec.use_case import UseCase

if TYPE_CHECKING:
    from mlops_assets.evaluation.evaluate_candidate import CandidateEvaluation, ModelVersion
    from mlops_assets.evaluation.gates.case import Verdict
    from mlops_assets.features.parity import Parity
    from mlops_assets.foundation.delta_tables import DeltaTables
    from mlops_assets.promotion.deployment import Deployment
    from mlops_assets.promotion.promotions import Promotions


def build_evaluation(use_case: UseCase) -> list[dg.AssetsDefinition]:
    key = dg.AssetKey(names.stage(use_case.name, "evaluation"))
    gates = zip(gate_names(use_case.gates), use_case.gates, strict=True)

    @asset(
        key=key,
        ins=stage_inputs(use_case, "training_set", "candidate"),
        description="The evidence about the candidate on unseen rows, against the champion on the same rows, and the gates.",
        check_specs=[dg.AssetCheckSpec(name, asset=key, blocking=True, description=repr(gate)) for name, gate in gates],
        io_manager_key="values",
        **asset_metadata(use_case, "evaluation", "evidently", "onnx", code=use_case.fingerprint("evaluation")),
    )
    def evaluation(
        context: dg.AssetExecutionContext,
        training_set: LazyFrame,
        candidate: Candidate,
        *,
        registry: RegistryResource,
        deployment: DeploymentResource,
        warehouse: WarehouseResource,
        ledger: LedgerResource,
        signing_keys: SigningKeysResource,
    ) -> Iterator[Any]:
        from mlops_assets.evaluation.evaluate import EVALUATION
        from mlops_assets.evaluation.evaluate_candidate import SCORED, ModelVersion, evaluate_candidate
        from mlops_assets.promotion.promotions import Promotions

        deployed = deployment.open(use_case.name)
        onnx = registry.open().load(names.registered_model(use_case.name), candidate.version)
        parity, served = _parity(use_case, warehouse.open())
        result = evaluate_candidate(
            use_case,
            training_set.collect(),
            ModelVersion(candidate.version, onnx),
            champion=_champion(deployed),
            training=candidate.training,
            parity=parity,
            served=served,
            seed=names.SEED,
        )
        pages = {f"{name}.html": page for name, page in result.pages.items()}
        links = publish(registry, use_case, candidate.version, {**pages, EVALUATION: result.evaluation.to_json()})
        publish(registry, use_case, candidate.version, {SCORED: result.scored})
        _record_refusal(context, Promotions(use_case, ledger.open(), deployed, signing_keys.open()), candidate, result.verdicts)
        verdicts = tuple(verdict.to_dict() for verdict in result.verdicts)
        metadata = _evaluation_metadata(candidate, result, links)
        yield dg.Output(Judged(result.evaluation.digest, verdicts), metadata=metadata)
        yield from (_check(key, verdict) for verdict in result.verdicts)

    return [evaluation]


def _champion(deployment: "Deployment") -> "ModelVersion | None":
    from mlops_assets.evaluation.evaluate_candidate import ModelVersion

    champion = deployment.champion()
    return ModelVersion(*champion) if champion else None


def _parity(use_case: UseCase, warehouse: "DeltaTables") -> "tuple[Parity | None, int]":
    """The last result of the Skew monitor, of several the one that compared most, and how many answers were served. They are no
    dependencies: serving comes after the gates.
    """
    from mlops_assets.features.parity import Parity

    stages = [stage for stage, monitor in use_case.monitor_stages.items() if isinstance(monitor, Skew)]
    tables = [path for path in (names.stage(use_case.name, stage) for stage in stages) if warehouse.exists(path)]
    parities = [Parity.from_table(warehouse.scan(path).collect()) for path in tables]
    served = warehouse.rows(names.stage(use_case.name, "predictions"))
    return max(parities, key=lambda parity: (parity.rows, parity.mismatch_rate), default=None), served


def _evaluation_metadata(
    candidate: Candidate, result: "CandidateEvaluation", links: dict[str, dg.MetadataValue]
) -> dict[str, Any]:
    """In the order in which people read: verdict, pictures, links, short tables, numbers to plot over versions."""
    parts = {"test": result.evaluation.metrics, "reference": result.evaluation.reference or {}}
    cut = {name: len(rows) for name, rows in result.tables.items() if len(rows) > MAX_ROWS}
    return {
        "verdict": result.summary,
        **({WARNING: result.warning} if result.warning else {}),
        "model_version": candidate.version,
        **pictures_as_metadata(result.pictures),
        **links,
        **{name: rows_as_table(rows[:MAX_ROWS]) for name, rows in result.tables.items() if rows},
        **{f"{name}_shown": f"The first {MAX_ROWS} of {rows} rows; evidence has the others." for name, rows in cut.items()},
        **{f"{part}_{name}": readable(interval.value) for part, metrics in parts.items() for name, interval in metrics.items()},
        "evidence": dg.MetadataValue.json(result.evaluation.to_dict()),
    }


def _record_refusal(
    context: dg.AssetExecutionContext, promotions: "Promotions", candidate: Candidate, verdicts: "tuple[Verdict, ...]"
) -> None:
    failed = [verdict for verdict in verdicts if not verdict.passed]
    if failed:
        reason = " ".join(verdict.message for verdict in failed)
        evidence = {"model_digest": candidate.digest, "gates": [verdict.to_dict() for verdict in failed]}
        evidence["code.evaluation"] = promotions.use_case.fingerprint("evaluation")
        by = f"run {context.run.run_id[:8]}"
        promotions.refuse(candidate.version, reason=reason, by=by, at=run_started(context), evidence=evidence)


def _check(key: dg.AssetKey, verdict: "Verdict") -> dg.AssetCheckResult:
    measured = {name: readable(getattr(verdict, name)) for name in ("measured", "low", "high", "bound")}
    evidence = {"evidence": dg.MetadataValue.json(verdict.evidence)}
    return dg.AssetCheckResult(
        passed=verdict.passed,
        asset_key=key,
        check_name=verdict.gate,
        metadata={"result": verdict.result, **measured, **evidence},
        description=verdict.message,
    )
