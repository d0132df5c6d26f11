"""One logged answer: its request, the features of each view, and the model that computed it."""

from typing import Any

import polars as pl

from mlops_assets.foundation import names
from mlops_assets.foundation.delta_tables import DeltaTables
from mlops_assets.promotion.blessing import Blessing, UnblessedModel, verify
from mlops_assets.promotion.deployment import Deployment
from mlops_assets.promotion.signing_keys import SigningKeys
from mlops_assets.serving.log.prediction_log import DTYPES
from mlops_assets.spec.feature import FeatureView
from mlops_assets.spec.use_case import UseCase

REQUEST = "request"  # where features come from when the caller gives them


def hidden(use_case: UseCase) -> dict[str, str]:
    """The request's columns that the log hides, each with how: hashed or left_out."""
    contract = use_case.contract(use_case.features.request_table)
    columns = [contract.column(name) for name in use_case.features.request]
    return {column.name: column.pii for column in columns if column.pii}


def logged_request(use_case: UseCase, row: pl.DataFrame) -> pl.DataFrame:
    """The request of one logged row in its original types; hidden columns are null."""
    contract, hidden_columns = use_case.contract(use_case.features.request_table), hidden(use_case)
    return row.select(
        pl.lit(None, DTYPES[contract.column(name).dtype]).alias(name) if name in hidden_columns else pl.col(name)
        for name in use_case.features.request
    )


def features_of_views(use_case: UseCase, tables: DeltaTables) -> dict[str, tuple[str, ...]]:
    """The model's inputs that each view brings, by its table's columns; none for a view whose table nobody has made yet."""
    return {view.name: _features(use_case, view, tables) for view in use_case.features.views}


def _features(use_case: UseCase, view: FeatureView, tables: DeltaTables) -> tuple[str, ...]:
    columns = tables.scan(names.feature(use_case.name, view.name)).collect_schema().names()
    return tuple(name for name in use_case.features.inputs if name in columns and name not in view.entity)


def blessed_model(use_case: UseCase, row: dict[str, Any], *, deployment: Deployment, keys: SigningKeys) -> tuple[bytes, Blessing]:
    """The model that gave a logged answer. Raises UnknownVersion where it is not placed, UnblessedModel where it is not the
    one: the blessing does not hold, or it speaks for another digest than the one logged.
    """
    onnx, text = deployment.load(row["model_version"])
    blessing = Blessing.from_json(text)
    verify(blessing, use_case=use_case.name, onnx=onnx, public_keys=keys.public())
    if blessing.model_digest != row["model_digest"]:
        raise UnblessedModel(
            f"{use_case.name} · version {row['model_version']} has the digest {blessing.model_digest[:12]}…; the answer was "
            f"logged with {row['model_digest'][:12]}…: the log or the model was altered."
        )
    return onnx, blessing
