"""Computes a logged prediction again: from its logged inputs with the same model, and its features from the feature tables."""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from mlops_assets.features.lineage import request_lineage
from mlops_assets.features.parity import KEY, MOMENT, FeatureSkew, compare_features
from mlops_assets.features.request_features import entity_rows
from mlops_assets.foundation.conversions import stored_type
from mlops_assets.foundation.wording import some
from mlops_assets.provenance.why import Stores, features_of_views, find_hidden_columns, load_blessed_model
from mlops_assets.spec.monitor import Skew
from mlops_assets.spec.use_case import UseCase
from mlops_assets.tasks import task_of
from mlops_assets.tasks.task import Facts
from mlops_assets.training.onnx_model import OnnxModel
from mlops_assets.training.signature import UnreadableRows

# Relative and absolute: the order in which a model sums in float32 depends on the batch and the machine. Measured up to 1e-6
# (tests/training/trainers/test_lightning.py).
TOLERANCE = 1e-5

Output = float | list[float]  # of one row, as its task defines it


@dataclass(frozen=True)
class Recomputed:
    """The inputs of one prediction from the feature tables: how many were compared, which differ, which depend on data that
    the log hides or lacks (`left_out`), and the model's output for them (None without a model or with `left_out`).
    """

    compared: int
    differing: tuple[FeatureSkew, ...]
    left_out: tuple[str, ...]
    output: Output | None


@dataclass(frozen=True)
class Replayed:
    """One prediction computed again. `again` is None where `objections` has the reason; `recomputed` also where the caller
    sent the features.
    """

    prediction_id: str
    version: int
    logged: Output
    again: Output | None
    objections: tuple[str, ...]
    recomputed: Recomputed | None

    @property
    def same_answer(self) -> bool:
        return self.again is not None and np.allclose(self.again, self.logged, rtol=TOLERANCE, atol=TOLERANCE)

    @property
    def is_same(self) -> bool:
        """The same output, from features that are the same today."""
        return self.same_answer and not self.objections and not (self.recomputed and self.recomputed.differing)


def replay(use_case: UseCase, row: pl.DataFrame, stores: Stores) -> Replayed:
    task, logged, model, again, recomputed = task_of(use_case.task), row.row(0, named=True), None, None, None
    objections, lacking = list[str](), list[str]()
    loaded = load_blessed_model(use_case, logged, stores)
    if isinstance(loaded, str):
        objections.append(f"the model is not run: {loaded}")
    else:
        model = OnnxModel.from_bytes(loaded[0])
        lacking = [name for name in model.signature.inputs if name not in row.columns]
        # As a server does, an input is missing that was not declared when the line was written.
        again = _score(use_case, model, row.with_columns(pl.lit(None).alias(name) for name in lacking), objections)
    if logged["features_from"] != "request":
        try:
            recomputed = _recompute(use_case, model, row, stores)
        # A transform that reads a column without a value, or a view or service of another declaration, may fail in any of these.
        except (FileNotFoundError, LookupError, ValueError, pl.exceptions.PolarsError) as error:
            objections.append(f"its features cannot be recomputed: {error}")
    facts: Facts = model.signature.facts if model else {}
    task = task.as_trained(facts)
    output: Output = task.logged(row)[0].tolist()
    answer = dict(zip(task.COLUMNS, task.reader(facts)(output), strict=True))
    if any(logged[name] != value for name, value in answer.items()):
        then, now = task.describe(logged), task.describe(answer)
        objections.append(f"it answered {then}; as declared today it is {now}: the task has changed, or the log was altered")
    result = Replayed(logged[KEY], logged["model_version"], output, again, tuple(objections), recomputed)
    if not lacking or again is None or result.same_answer:
        return result
    objection = f"the log has no {some(lacking)} of this answer, which version {result.version} reads; replayed as missing"
    return replace(result, objections=(*objections, objection))


def _score(use_case: UseCase, model: OnnxModel, row: pl.DataFrame, objections: list[str]) -> Output | None:
    """The model's output, or None with an objection added."""
    if hidden := [name for name in model.signature.inputs if name in find_hidden_columns(use_case)]:
        objections.append(f"the model reads {', '.join(hidden)}, which the log hides as personal data")
        return None
    try:
        return model.predict(row).tolist()[0]
    except UnreadableRows as error:
        objections.append(f"the model cannot read the row: {error}")
        return None


def _recompute(use_case: UseCase, model: OnnxModel | None, row: pl.DataFrame, stores: Stores) -> Recomputed:
    features, contract = use_case.features, use_case.contract(use_case.features.request_table)
    views = features_of_views(use_case, stores.tables)
    hidden = {*find_hidden_columns(use_case), *(name for name in features.request if name not in row.columns)}
    nulls = {name: pl.lit(None, stored_type(contract.column(name))).alias(name) for name in hidden}
    request = row.select(nulls.get(name, pl.col(name)) for name in features.request)
    rows = entity_rows(features, request.lazy()).collect()
    recomputed = stores.open_features(features.service).historical(rows.with_columns(row[KEY], row[MOMENT]))
    # What depends on hidden or lacking data: such columns, what is made from them, and features of views with one as a key.
    sources = {f"{contract.table}.{name}" for name in hidden}
    hidden |= {name for name, lineage in request_lineage(use_case).items() if lineage.values & sources}
    keyed = [view.name for view in features.views if {*view.entity} & hidden]
    unknown = hidden | {name for view in keyed for name in views[view]} | ({*features.inputs} - {*row.columns})
    left_out = tuple(name for name in features.inputs if name in unknown)
    compared = [name for name in features.inputs if name in recomputed.columns and name not in left_out]
    spec = use_case.skew or Skew()
    parity = compare_features(row, recomputed, features=compared, relative=spec.relative, absolute=spec.absolute)
    output = _score(use_case, model, recomputed, []) if model and not left_out else None
    return Recomputed(len(compared), tuple(parity.mismatched), left_out, output)
