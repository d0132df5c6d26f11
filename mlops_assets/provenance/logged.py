"""One logged prediction: its request, the features of each view, and the model that computed it."""

from typing import Any

import polars as pl

from mlops_assets.foundation import names
from mlops_assets.foundation.delta_tables import DeltaTables
from mlops_assets.promotion.blessing import Blessing, UnblessedModel, verify
from mlops_assets.promotion.deployment import Deployment, UnknownVersion
from mlops_assets.promotion.signing_keys import SigningKeys
from mlops_assets.serving.log.prediction_log import DTYPES
from mlops_assets.spec.use_case import UseCase


def find_hidden_columns(use_case: UseCase) -> dict[str, str]:
    """The request's columns that the log hides, by name: hashed or left_out."""
    contract = use_case.contract(use_case.features.request_table)
    columns = [contract.column(name) for name in use_case.features.request]
    return {column.name: column.pii for column in columns if column.pii}


def restore_request(use_case: UseCase, row: pl.DataFrame) -> pl.DataFrame:
    """The request of one logged row in its original types; hidden columns are null."""
    contract, hidden = use_case.contract(use_case.features.request_table), find_hidden_columns(use_case)
    return row.select(
        pl.lit(None, DTYPES[contract.column(name).dtype]).alias(name) if name in hidden else pl.col(name)
        for name in use_case.features.request
    )


def features_of_views(use_case: UseCase, tables: DeltaTables) -> dict[str, tuple[str, ...]]:
    """The model's inputs from each view, by the columns of its table; none for a view without a table."""
    schemas = {view: tables.scan(names.feature(use_case.name, view.name)).collect_schema() for view in use_case.features.views}
    return {
        view.name: tuple(name for name in use_case.features.inputs if name in schema and name not in view.entity)
        for view, schema in schemas.items()
    }


def load_blessed_model(
    use_case: UseCase, row: dict[str, Any], *, deployment: Deployment, keys: SigningKeys
) -> tuple[bytes, Blessing] | str:
    """The model that computed a logged prediction, or why the deployed one is not that model."""
    try:
        onnx, text = deployment.load(row["model_version"])
        blessing = Blessing.from_json(text)
        verify(blessing, use_case=use_case.name, onnx=onnx, public_keys=keys.public())
    except (UnknownVersion, UnblessedModel) as error:
        return str(error)
    if blessing.model_digest == row["model_digest"]:
        return onnx, blessing
    return (
        f"{use_case.name} · version {row['model_version']} has the digest {blessing.model_digest[:12]}…; the prediction was "
        f"logged with {row['model_digest'][:12]}…: the log or the model was altered."
    )
