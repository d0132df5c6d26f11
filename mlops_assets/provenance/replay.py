"""The same answer once more: from the logged inputs with the very model, and its inputs from the feature tables.

Belongs here: the recomputation and what differs. Not here: the comparison of features (stages/skew.py), what is said
(replay_page.py). A feature that differs has one of the causes that graph/watch_skew.py names.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import polars as pl

from mlops_assets.ports.deployment import Deployment, UnknownVersion
from mlops_assets.ports.feature_table import MissingFeatureTable
from mlops_assets.ports.signing_keys import SigningKeys
from mlops_assets.provenance.logged import REQUEST, asked, blessed_model, hidden
from mlops_assets.spec.monitor import Skew
from mlops_assets.spec.use_case import UseCase
from mlops_assets.stages.bless import UnblessedModel
from mlops_assets.stages.score import OnnxModel
from mlops_assets.stages.signature import UnreadableRows
from mlops_assets.stages.skew import KEY, MOMENT, FeatureSkew, compare_features

TOLERANCE = 1e-5
"""Of a probability. A model sums in float32, and by the rows beside one and the machine it does so in another order: measured
up to 1e-6 (tests/stages/test_train_lightning.py)."""
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
    said = row.row(0, named=True)
    model, no_model = _model(use_case, said, deployment, keys)
    again, no_answer = _score(use_case, model, row) if model else (None, None)
    given = said["features_from"] == REQUEST
    recomputed, no_features = (None, None) if given else _recompute(use_case, model, row, views, open_store)
    objections = (no_model, no_answer, no_features, _decided_otherwise(use_case, said))
    return Replayed(
        prediction_id=said[KEY],
        version=said["model_version"],
        logged=said["probability"],
        again=again,
        objections=tuple(each for each in objections if each),
        recomputed=recomputed,
    )


def _model(
    use_case: UseCase, said: dict[str, Any], deployment: Deployment, keys: SigningKeys
) -> tuple[OnnxModel | None, str | None]:
    try:
        onnx, _blessing = blessed_model(use_case, said, deployment=deployment, keys=keys)
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
    rows: pl.DataFrame = use_case.features.entity_rows(asked(use_case, row).lazy()).collect()
    try:
        found = open_store(use_case.features.service).historical(rows.with_columns(row[KEY], row[MOMENT]))
    except MissingFeatureTable as error:
        return None, f"its features cannot be recomputed: {error}"
    unknown = _unknowable(use_case, views)
    compared = [name for name in use_case.features.inputs if name in found.columns and name not in unknown]
    spec = use_case.skew or Skew()
    parity = compare_features(row, found, features=compared, relative=spec.relative, absolute=spec.absolute)
    answer = _score(use_case, model, found)[0] if model and not unknown else None
    return Recomputed(len(compared), tuple(parity.mismatched), unknown, answer), None


def _unknowable(use_case: UseCase, views: Views) -> tuple[str, ...]:
    """The inputs that follow from what the log hides: hidden columns themselves and the features of views keyed by them."""
    kept_back = {*hidden(use_case)}
    keyed = [view.name for view in use_case.features.views if {*view.entity} & kept_back]
    lost = kept_back | {name for view in keyed for name in views[view]}
    return tuple(name for name in use_case.features.inputs if name in lost)


def _decided_otherwise(use_case: UseCase, said: dict[str, Any]) -> str | None:
    if said["decision"] == (said["probability"] >= use_case.threshold):
        return None
    return (
        f"{said['probability']:.6g} was decided {'yes' if said['decision'] else 'no'}, and the declared threshold of "
        f"{use_case.threshold:g} decides otherwise: another one was declared then, or the log was altered"
    )
