"""Computes a logged answer again: from its logged inputs with the same model, and its features from the feature tables."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import polars as pl

from mlops_assets.features.offline.feature_table import MissingFeatureTable
from mlops_assets.features.parity import KEY, MOMENT, FeatureSkew, compare_features
from mlops_assets.promotion.blessing import UnblessedModel
from mlops_assets.promotion.deployment import Deployment, UnknownVersion
from mlops_assets.promotion.signing_keys import SigningKeys
from mlops_assets.provenance.logged import REQUEST, blessed_model, hidden, logged_request
from mlops_assets.spec.monitor import Skew
from mlops_assets.spec.use_case import UseCase
from mlops_assets.training.onnx_model import OnnxModel
from mlops_assets.training.signature import UnreadableRows

TOLERANCE = 1e-5
"""Of a probability. A model sums in float32, and by the rows beside one and the machine it does so in another order: measured
up to 1e-6 (tests/training/trainers/test_lightning.py)."""
Views = dict[str, tuple[str, ...]]


class Store(Protocol):
    """What gives features as they were known at a moment."""

    def historical(self, entity_rows: pl.DataFrame) -> pl.DataFrame: ...


@dataclass(frozen=True)
class Recomputed:
    """The inputs of one answer as the feature tables give them now: how many were compared, which differ, which follow
    from what the log hides (`left_out`), and what the model answers to them (None without a model).
    """

    compared: int
    differing: tuple[FeatureSkew, ...]
    left_out: tuple[str, ...]
    probability: float | None


@dataclass(frozen=True)
class Replayed:
    """One answer recomputed. `objections` says why it could not be, or what else is wrong; `again` is None then.

    `recomputed` is None where the caller gave the features, or where `objections` says why not.
    """

    prediction_id: str
    version: int
    logged: float
    again: float | None
    objections: tuple[str, ...]
    recomputed: Recomputed | None

    @property
    def same_answer(self) -> bool:
        return self.again is not None and abs(self.again - self.logged) <= TOLERANCE

    @property
    def is_same(self) -> bool:
        """The same answer, from features that are the same today."""
        return self.same_answer and not self.objections and not (self.recomputed and self.recomputed.differing)


def replay(
    use_case: UseCase,
    row: pl.DataFrame,
    *,
    deployment: Deployment,
    keys: SigningKeys,
    views: Views,
    open_store: Callable[[str], Store],
) -> Replayed:
    """Recomputes the answer of one logged row. `views` are the features of each view (logged.features_of_views)."""
    logged = row.row(0, named=True)
    model, no_model = _model(use_case, logged, deployment, keys)
    again, no_answer = _score(use_case, model, row) if model else (None, None)
    from_caller = logged["features_from"] == REQUEST
    recomputed, no_features = (None, None) if from_caller else _recompute(use_case, model, row, views, open_store)
    objections = (no_model, no_answer, no_features, _decided_otherwise(use_case, logged))
    return Replayed(
        prediction_id=logged[KEY],
        version=logged["model_version"],
        logged=logged["probability"],
        again=again,
        objections=tuple(objection for objection in objections if objection),
        recomputed=recomputed,
    )


def _model(
    use_case: UseCase, logged: dict[str, Any], deployment: Deployment, keys: SigningKeys
) -> tuple[OnnxModel | None, str | None]:
    try:
        onnx, _blessing = blessed_model(use_case, logged, deployment=deployment, keys=keys)
    except (UnknownVersion, UnblessedModel) as error:
        return None, f"the model is not run: {error}"
    return OnnxModel.from_bytes(onnx), None


def _score(use_case: UseCase, model: OnnxModel, row: pl.DataFrame) -> tuple[float | None, str | None]:
    unknown = [name for name in model.signature.inputs if name in hidden(use_case)]
    if unknown:
        return None, f"the model reads {', '.join(unknown)}, which the log hides as personal data"
    try:
        return float(model.predict(row)[0]), None
    except UnreadableRows as error:
        return None, f"the declared inputs are not those of version {row['model_version'][0]}: {error}"


def _recompute(
    use_case: UseCase, model: OnnxModel | None, row: pl.DataFrame, views: Views, open_store: Callable[[str], Store]
) -> tuple[Recomputed | None, str | None]:
    rows: pl.DataFrame = use_case.features.entity_rows(logged_request(use_case, row).lazy()).collect()
    try:
        recomputed = open_store(use_case.features.service).historical(rows.with_columns(row[KEY], row[MOMENT]))
    except MissingFeatureTable as error:
        return None, f"its features cannot be recomputed: {error}"
    unknown = _unknowable(use_case, views)
    compared = [name for name in use_case.features.inputs if name in recomputed.columns and name not in unknown]
    spec = use_case.skew or Skew()
    parity = compare_features(row, recomputed, features=compared, relative=spec.relative, absolute=spec.absolute)
    answer = _score(use_case, model, recomputed)[0] if model and not unknown else None
    return Recomputed(len(compared), tuple(parity.mismatched), unknown, answer), None


def _unknowable(use_case: UseCase, views: Views) -> tuple[str, ...]:
    """The inputs that follow from what the log hides: hidden columns themselves and the features of views keyed by them."""
    kept_back = {*hidden(use_case)}
    keyed = [view.name for view in use_case.features.views if {*view.entity} & kept_back]
    lost = kept_back | {name for view in keyed for name in views[view]}
    return tuple(name for name in use_case.features.inputs if name in lost)


def _decided_otherwise(use_case: UseCase, logged: dict[str, Any]) -> str | None:
    if logged["decision"] == (logged["probability"] >= use_case.threshold):
        return None
    return (
        f"{logged['probability']:.6g} was decided {'yes' if logged['decision'] else 'no'}, and the declared threshold of "
        f"{use_case.threshold:g} decides otherwise: another one was declared then, or the log was altered"
    )
