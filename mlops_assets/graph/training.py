"""The assets from features to a blessed candidate: training_set, candidate, evaluation with its gates, blessing."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from mlops_assets.foundation import names
from mlops_assets.graph.kernel.asset_metadata import asset_metadata, rows_as_table, training_columns
from mlops_assets.graph.kernel.mlflow_run import link_of, tracked_run
from mlops_assets.graph.kernel.tables import DataFrame, LazyFrame
from mlops_assets.resources import (
    DeploymentResource,
    FeatureStoreResource,
    FolderResource,
    LedgerResource,
    RegistryResource,
    SigningKeysResource,
    WarehouseResource,
)
from mlops_assets.spec.gate import gate_names
from mlops_assets.spec.use_case import UseCase

if TYPE_CHECKING:
    from mlops_assets.evaluation.evaluate_candidate import CandidateEvaluation, ModelVersion
    from mlops_assets.evaluation.gates.case import Verdict
    from mlops_assets.features.parity import Parity
    from mlops_assets.foundation.delta_tables import DeltaTables
    from mlops_assets.promotion.deployment import Deployment
    from mlops_assets.promotion.promotions import Promotions

SEED = 0


@dataclass(frozen=True)
class Candidate:
    """A registered model version before its evaluation."""

    version: int
    digest: str
    training: dict[str, str]


@dataclass(frozen=True)
class Judged:
    """An evaluation's digest and the verdicts over it, as a blessing signs them."""

    evaluation_digest: str
    verdicts: tuple[dict[str, Any], ...]


def build_training(use_case: UseCase) -> list[dg.AssetsDefinition]:
    return [_training_set(use_case), _candidate(use_case), _evaluation(use_case), _blessing(use_case)]


def _key(use_case: UseCase, name: str) -> dg.AssetIn:
    return dg.AssetIn(names.stage(use_case.name, name))


def _training_set(use_case: UseCase) -> dg.AssetsDefinition:
    @dg.asset(
        key=names.stage(use_case.name, "training_set"),
        ins={
            "requests": dg.AssetIn(names.validated(use_case.name, use_case.features.request_table)),
            "truths": dg.AssetIn(names.validated(use_case.name, use_case.label.table)),
        },
        deps=[names.feature(use_case.name, view.name) for view in use_case.features.views],
        description="Past requests with their features as known at the prediction moment, their label, and their split by time.",
        io_manager_key="tables",
        **asset_metadata(use_case, "training_set", "feast", "polars", "deltalake", made_from="training_set"),
    )
    def training_set(
        context: dg.AssetExecutionContext, requests: LazyFrame, truths: LazyFrame, feature_store: FeatureStoreResource
    ) -> DataFrame:
        from mlops_assets.features.featurize import label_rows, last_known_day, midnight, split_by_time

        store = feature_store.open(use_case.features.service)
        end = midnight(last_known_day(truths) + timedelta(days=1))
        labelled = split_by_time(label_rows(use_case, requests, truths).collect(), use_case.split, end=end)
        rows = store.historical(labelled).sort(names.EVENT_TIMESTAMP, *use_case.label.key)
        context.add_output_metadata({**_counts(rows, use_case.label.name), **training_columns(use_case)})
        return rows

    return training_set


def _counts(rows: DataFrame, label: str) -> dict[str, Any]:
    import polars as pl

    by_split = rows.group_by("split").agg(
        rows=pl.len(),
        label_rate=pl.col(label).mean(),
        first=pl.col(names.EVENT_TIMESTAMP).min(),
        last=pl.col(names.EVENT_TIMESTAMP).max(),
    )
    label_rate = rows.select(pl.col(label).cast(pl.Float64).mean()).item()
    return {"splits": rows_as_table(by_split.sort("first").to_dicts()), "label_rate": label_rate or 0.0}


def _candidate(use_case: UseCase) -> dg.AssetsDefinition:
    @dg.asset(
        key=names.stage(use_case.name, "candidate"),
        ins={"training_set": _key(use_case, "training_set")},
        description="A newly trained model version, tracked in MLflow and exported to ONNX, before its evaluation.",
        io_manager_key="values",
        **asset_metadata(use_case, "candidate", use_case.trainer.kind.split("_")[0], "mlflow", "onnx", made_from="candidate"),
    )
    def candidate(
        context: dg.AssetExecutionContext, training_set: LazyFrame, *, registry: RegistryResource, warehouse: WarehouseResource
    ) -> Candidate:
        from mlops_assets.training.train_and_track import train_and_track

        rows, made_from = training_set.collect(), _made_from(context, warehouse.open(), use_case)
        with tracked_run(context, use_case, registry) as run:
            model = train_and_track(
                use_case, rows, run=run, registry=registry.open(), made_from=made_from, progress=context.log.info
            )
        about = {"model_version": model.version, "digest": model.digest, "epochs": model.epochs}
        last = {f"last_{name}": value for name, value in model.last.items()}
        context.add_output_metadata(about | last | {"mlflow_run": link_of(run, registry)})
        return Candidate(model.version, model.digest, model.training)

    return candidate


def _made_from(context: dg.AssetExecutionContext, warehouse: "DeltaTables", use_case: UseCase) -> dict[str, str]:
    """The Dagster run, and the Delta version of every table that the training set was made from."""
    paths = [names.validated(use_case.name, contract.table) for contract in use_case.contracts]
    paths += [names.feature(use_case.name, view.name) for view in use_case.features.views]
    paths += [names.stage(use_case.name, "training_set")]
    reason = context.run.tags.get("mlops/reason", "materialized by hand")
    versions = {f"table.{'.'.join(path[1:])}": str(warehouse.version(path)) for path in paths}
    return {**versions, "dagster_run_id": context.run.run_id, "dagster_reason": reason}


def _evaluation(use_case: UseCase) -> dg.AssetsDefinition:
    key = dg.AssetKey(names.stage(use_case.name, "evaluation"))

    @dg.asset(
        key=key,
        ins={"training_set": _key(use_case, "training_set"), "candidate": _key(use_case, "candidate")},
        description="The evidence about the candidate on unseen rows, against the champion on the same rows, and the gates.",
        check_specs=[
            dg.AssetCheckSpec(name, asset=key, blocking=True, description=repr(gate))
            for name, gate in zip(gate_names(use_case.gates), use_case.gates, strict=True)
        ],
        io_manager_key="values",
        **asset_metadata(use_case, "evaluation", "evidently", "onnx", made_from="evaluation"),
    )
    def evaluation(
        context: dg.AssetExecutionContext,
        training_set: LazyFrame,
        candidate: Candidate,
        *,
        registry: RegistryResource,
        deployment: DeploymentResource,
        reports: FolderResource,
        warehouse: WarehouseResource,
        ledger: LedgerResource,
        signing_keys: SigningKeysResource,
    ) -> Iterator[Any]:
        from mlops_assets.evaluation.evaluate_candidate import ModelVersion, evaluate_candidate
        from mlops_assets.promotion.promotions import Promotions

        deployed = deployment.open(use_case.name)
        onnx = registry.open().load(names.registered_model(use_case.name), candidate.version)
        result = evaluate_candidate(
            use_case,
            training_set.collect(),
            ModelVersion(candidate.version, onnx),
            champion=_champion(deployed),
            training=candidate.training,
            parity=_parity(use_case, warehouse.open()),
            folder=reports.open() / use_case.name,
            seed=SEED,
        )
        _record_refusal(context, Promotions(use_case, ledger.open(), deployed, signing_keys.open()), candidate, result.verdicts)
        verdicts = tuple(verdict.to_dict() for verdict in result.verdicts)
        yield dg.Output(Judged(result.evaluation.digest, verdicts), metadata=_evaluation_metadata(result))
        yield from (_check(key, verdict) for verdict in result.verdicts)

    return evaluation


def _champion(deployment: "Deployment") -> "ModelVersion | None":
    from mlops_assets.evaluation.evaluate_candidate import ModelVersion

    champion = deployment.champion()
    return ModelVersion(*champion) if champion else None


def _parity(use_case: UseCase, warehouse: "DeltaTables") -> "Parity | None":
    """The last result of the skew asset. It is no dependency: serving comes after the gates."""
    from mlops_assets.features.parity import Parity

    path = names.stage(use_case.name, "skew")
    return Parity.from_table(warehouse.scan(path).collect()) if warehouse.exists(path) else None


def _evaluation_metadata(result: "CandidateEvaluation") -> dict[str, Any]:
    from mlops_assets.statistics.plots import as_markdown

    evaluation = result.evaluation
    pictures = {f"plot_{name}": dg.MetadataValue.md(as_markdown(png, name)) for name, png in result.pictures.items()}
    metrics = {f"test_{name}": _rounded(interval.value) for name, interval in evaluation.metrics.items()}
    reference = {f"reference_{name}": _rounded(interval.value) for name, interval in (evaluation.reference or {}).items()}
    return {
        "verdict": result.summary,
        **pictures,
        **{name: rows_as_table(rows) for name, rows in result.tables.items()},
        **{name: dg.MetadataValue.path(page) for name, page in result.pages.items()},
        **metrics,
        **reference,
        "evidence": dg.MetadataValue.json(evaluation.to_dict()),
    }


def _record_refusal(
    context: dg.AssetExecutionContext, promotions: "Promotions", candidate: Candidate, verdicts: "tuple[Verdict, ...]"
) -> None:
    failed = [verdict for verdict in verdicts if not verdict.passed]
    if failed:
        reason = " ".join(verdict.message for verdict in failed)
        evidence = {"model_digest": candidate.digest, "gates": [verdict.to_dict() for verdict in failed]}
        by = f"run {context.run.run_id[:8]}"
        promotions.refuse(candidate.version, reason=reason, by=by, at=_started(context), evidence=evidence)


def _check(key: dg.AssetKey, verdict: "Verdict") -> dg.AssetCheckResult:
    measured = {name: _rounded(getattr(verdict, name)) for name in ("measured", "low", "high", "bound")}
    return dg.AssetCheckResult(
        passed=verdict.passed,
        asset_key=key,
        check_name=verdict.gate,
        metadata=measured | {"evidence": dg.MetadataValue.json(verdict.evidence)},
        description=verdict.message,
    )


def _rounded(value: float) -> float | str:
    """Four significant digits, or a word: the web UI's JSON has no nan."""
    return float(f"{value:.4g}") if math.isfinite(value) else "undefined"


def _blessing(use_case: UseCase) -> dg.AssetsDefinition:
    @dg.asset(
        key=names.stage(use_case.name, "blessing"),
        ins={"candidate": _key(use_case, "candidate"), "evaluation": _key(use_case, "evaluation")},
        description="The signed statement that exactly this candidate passed every gate on exactly this evidence.",
        io_manager_key="values",
        **asset_metadata(use_case, "blessing", "ed25519"),
    )
    def blessing(
        context: dg.AssetExecutionContext,
        candidate: Candidate,
        evaluation: Judged,
        registry: RegistryResource,
        signing_keys: SigningKeysResource,
    ) -> str:
        from mlops_assets.promotion.blessing import GateVerdict, bless

        signed = bless(
            use_case=use_case.name,
            onnx=registry.open().load(names.registered_model(use_case.name), candidate.version),
            evaluation_digest=evaluation.evaluation_digest,
            gates=tuple(
                GateVerdict(v["gate"], v["passed"], v["measured"], v["bound"], v["low"], v["high"]) for v in evaluation.verdicts
            ),
            training=candidate.training,
            blessed_at=_started(context),
            private_key=signing_keys.open().private(),
        )
        context.add_output_metadata({"model_version": candidate.version, "digest": candidate.digest, "key": signed.key_id})
        return signed.to_json()

    return blessing


def _started(context: dg.AssetExecutionContext) -> datetime:
    """When the run was created: the same for every asset of the run, and for a run that is retried."""
    record = context.instance.get_run_record_by_id(context.run.run_id)
    return record.create_timestamp if record else datetime.now(UTC)
