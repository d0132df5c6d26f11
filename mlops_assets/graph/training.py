"""The assets training_set, candidate and blessing."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg

from mlops_assets.foundation import names
from mlops_assets.foundation.wording import counted
from mlops_assets.graph.kernel.asset_metadata import (
    asset_metadata,
    pictures_as_metadata,
    readable,
    rows_as_table,
    training_columns,
)  # fmt: skip
from mlops_assets.graph.kernel.assets import asset
from mlops_assets.graph.kernel.mlflow_run import link_of, tracked_run
from mlops_assets.graph.kernel.run_clock import run_started
from mlops_assets.graph.kernel.tables import DataFrame, LazyFrame
from mlops_assets.resources import FeatureStoreResource, RegistryResource, SigningKeysResource, WarehouseResource  # fmt: skip
from mlops_assets.spec.use_case import UseCase

if TYPE_CHECKING:
    from mlops_assets.foundation.delta_tables import DeltaTables


# Both classes are pickled between assets: their names, fields and module must not change.
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
    return [_training_set(use_case), _candidate(use_case), _blessing(use_case)]


def stage_inputs(use_case: UseCase, *stages: str) -> dict[str, names.AssetPath]:
    return {name: names.stage(use_case.name, name) for name in stages}


def _training_set(use_case: UseCase) -> dg.AssetsDefinition:
    # One input per table: requests and labels may be columns of one table.
    tables = dict.fromkeys((use_case.features.request_table, use_case.label.table))

    @asset(
        key=names.stage(use_case.name, "training_set"),
        ins={table: names.validated(use_case.name, table) for table in tables},
        deps=[names.feature(use_case.name, view.name) for view in use_case.features.views],
        description="Past requests with their features as known at the prediction moment, their label, and their split.",
        io_manager_key="tables",
        **asset_metadata(use_case, "training_set", "feast", "polars", "deltalake", code=use_case.fingerprint("training_set")),
    )
    def training_set(context: dg.AssetExecutionContext, feature_store: FeatureStoreResource, **tables: LazyFrame) -> DataFrame:
        from mlops_assets.features.featurize import add_features, describe_constant_inputs, training_rows

        requests, truths = tables[use_case.features.request_table], tables[use_case.label.table]
        rows = training_rows(use_case, requests, truths, now=run_started(context))
        if use_case.features.views:
            rows = add_features(use_case, rows, feature_store.open(use_case.features.service), now=run_started(context))
        rows = rows.sort(names.EVENT_TIMESTAMP, *use_case.label.key)
        inputs = {"numeric": [*use_case.features.numeric], "categorical": [*use_case.features.categorical]}
        context.add_output_metadata({**_counts(use_case, rows), **inputs, **training_columns(use_case, rows)})
        if warning := describe_constant_inputs(use_case, rows):
            context.log.warning(warning)
            context.add_output_metadata({"constant_inputs": warning})
        return rows

    return training_set


def _counts(use_case: UseCase, rows: DataFrame) -> dict[str, Any]:
    from mlops_assets.tasks import task_of
    from mlops_assets.training.fitted import TEST, TRAIN, VALIDATION

    task, label = task_of(use_case.task), use_case.label.name
    parts = {str(part["split"][0]): part for part in rows.partition_by("split")}
    splits = [
        {"split": part["split"][0], "rows": len(part)} | task.label_means(task.truth(part[label]))
        | {"first": part[names.EVENT_TIMESTAMP].min(), "last": part[names.EVENT_TIMESTAMP].max()}
        for part in (parts[name] for name in (TRAIN, VALIDATION, TEST) if name in parts)
    ]  # fmt: skip
    truth = task.truth(rows[label])
    counts = [f"{part['rows']:,} {part['split']}" for part in splits]
    return {
        "summary": f"{len(rows):,} labelled requests ({', '.join(counts)}), {task.describe_labels(truth)}.",
        "splits": rows_as_table(splits),
        **{name: readable(value) for name, value in task.label_means(truth).items()},
    }


def _candidate(use_case: UseCase) -> dg.AssetsDefinition:
    @asset(
        key=names.stage(use_case.name, "candidate"),
        ins=stage_inputs(use_case, "training_set"),
        description="A newly trained model version, tracked in MLflow and exported to ONNX, before its evaluation.",
        io_manager_key="values",
        **asset_metadata(use_case, "candidate", use_case.trainer.logo, "mlflow", "onnx", code=use_case.fingerprint("candidate")),
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
        last = {f"last_{name}": readable(value) for name, value in model.last.items()}
        epochs = f" in {counted(model.epochs, 'epoch')}" if model.epochs > 1 else ""
        learned = f"trained on {counted(model.rows, 'row')}{epochs}"
        summary = f"Version {model.version}: {use_case.trainer.kind}, {learned}."
        numbers = {"model_version": model.version, "epochs": model.epochs, **last, "digest": model.digest}
        pictures = pictures_as_metadata({"loss": model.loss})
        context.add_output_metadata({"summary": summary, **pictures, "mlflow_run": link_of(run, registry), **numbers})
        return Candidate(model.version, model.digest, model.training)

    return candidate


def _made_from(context: dg.AssetExecutionContext, warehouse: "DeltaTables", use_case: UseCase) -> dict[str, str]:
    """The Dagster run, and the Delta version of every table that the training set was made from."""
    paths = [names.validated(use_case.name, contract.table) for contract in use_case.contracts]
    paths += [names.feature(use_case.name, view.name) for view in use_case.features.views]
    paths += [names.stage(use_case.name, "training_set")]
    versions = {names.table_tag(path): str(warehouse.version(path)) for path in paths}
    reason = context.run.tags.get("mlops/reason", "materialized by hand")
    return {**versions, "dagster_run_id": context.run.run_id, "dagster_reason": reason}


def _blessing(use_case: UseCase) -> dg.AssetsDefinition:
    @asset(
        key=names.stage(use_case.name, "blessing"),
        ins=stage_inputs(use_case, "candidate", "evaluation"),
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
        from mlops_assets.promotion.blessing import Blessing, GateVerdict
        from mlops_assets.training.digest import digest

        fields = ("gate", "passed", "measured", "bound", "low", "high")
        signed = Blessing(
            use_case=use_case.name,
            version=candidate.version,
            model_digest=digest(registry.open().load(names.registered_model(use_case.name), candidate.version)),
            evaluation_digest=evaluation.evaluation_digest,
            gates=tuple(GateVerdict(*(verdict[name] for name in fields)) for verdict in evaluation.verdicts),
            training=candidate.training | {"code.evaluation": use_case.fingerprint("evaluation")},
            blessed_at=run_started(context).isoformat(),
        ).signed_by(signing_keys.open().private())
        lacking = [gate.name for gate in signed.gates if gate.lacks_data]
        without = f", {len(lacking)} of them without enough data ({', '.join(lacking)})," if lacking else ""
        gates = counted(len(evaluation.verdicts), "gate")
        summary = f"Version {candidate.version} passed {gates}{without} and was signed with key {signed.key_id}."
        numbers = {"model_version": candidate.version, "digest": candidate.digest, "key": signed.key_id}
        context.add_output_metadata({"summary": summary, **numbers})
        return signed.to_json()

    return blessing
