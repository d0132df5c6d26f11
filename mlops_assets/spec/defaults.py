"""The defaults of a declaration that follow from its other parts."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from mlops_assets.spec.column_type import COLUMN_TYPES, DType
from mlops_assets.spec.contract import Column
from mlops_assets.spec.feature import Features, Label
from mlops_assets.spec.split import RandomSplit, TimeSplit
from mlops_assets.spec.training import HistGradientBoosting

if TYPE_CHECKING:
    from mlops_assets.spec.use_case import UseCase

S = TypeVar("S", Features, Label)
# A month is tested on, so that no weekday or holiday decides; half of it is enough to stop a training early.
BY_TIME = TimeSplit(test=timedelta(days=30), validation=timedelta(days=14))
# scikit-learn's own defaults, which suit a table of some hundred rows as well as one of a million.
TRAINER = HistGradientBoosting(max_iter=100, learning_rate=0.1, min_samples_leaf=20, l2_regularization=0.0)


def complete_features(use_case: "UseCase") -> Features:
    """`service` is `<use case>_v1`, `request_table` the only table. Without inputs the model reads every column of the request,
    and every request feature, by its type, except key, label, moments and personal data; views and entity_rows leave
    that unknown. Without a request a client sends what the model reads, and what the declaration needs besides.
    """
    declared = use_case.features.but()  # without the defaults of an earlier completion
    fields: dict[str, Any] = {"service": declared.service or f"{use_case.name}_v1"}
    fields["request_table"] = table = declared.request_table or _only_table(use_case)
    label, columns = complete_label(use_case, table), use_case.columns(table)
    if not declared.inputs and not (declared.views or declared.entity_rows):
        fields |= _inputs(declared, [columns[name] for name in declared.request or columns if name in columns], label)
    features = _but(declared, fields)
    if not features.request and not features.entity_rows:
        needed = _needed(use_case, features, label)
        features = _but(features, {"request": tuple(name for name in columns if name in needed)})
    return features


def complete_label(use_case: "UseCase", request_table: str) -> Label:
    """A column of the request table, by its contract's key."""
    declared = use_case.task.label
    label = Label.model_construct(name=declared) if isinstance(declared, str) else declared
    table = label.table or request_table
    unique = next((contract.unique for contract in use_case.contracts if contract.table == table), ())
    return label if label.table and label.key else _but(label, {"table": table, "key": label.key or unique})


def default_split(use_case: "UseCase") -> TimeSplit | RandomSplit:
    return BY_TIME if use_case.is_dated else RandomSplit()


def _but(declared: S, fields: Mapping[str, Any]) -> S:
    """Without validation, which the use case repeats; only what was declared counts as set, for `but` and `mlops check`."""
    return type(declared).model_construct(_fields_set=declared.model_fields_set, **{**dict(declared), **fields})


def _only_table(use_case: "UseCase") -> str:
    return use_case.contracts[0].table if len(use_case.contracts) == 1 else ""


def _inputs(features: Features, columns: Sequence[Column], label: Label) -> dict[str, Any]:
    types: dict[str, DType] = {column.name: column.dtype for column in columns if not column.pii}
    for feature in features.request_features:
        if types.keys() >= {*feature.columns}:
            types[feature.name] = feature.dtype(types)
    read = {name: COLUMN_TYPES[dtype].read_as for name, dtype in types.items() if name not in (*label.key, label.name)}
    return {kind: tuple(name for name, read_as in read.items() if read_as == kind) for kind in ("numeric", "categorical")}


def _needed(use_case: "UseCase", features: Features, label: Label) -> set[str]:
    entities: Iterable[str] = (name for view in features.views for name in view.entity)
    sources = (name for feature in features.request_features for name in feature.columns)
    return {*label.key, *features.inputs, *entities, *sources, *use_case.serving.sticky_key} - {label.name}
