"""Compares a declaration with the columns that its transforms return, which is known only by running them on empty tables."""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import polars as pl

from mlops_assets.features.featurize import label_columns
from mlops_assets.features.lineage import END, START, column_types
from mlops_assets.features.request_features import entity_rows
from mlops_assets.foundation.calendars import PARTITION_COLUMNS
from mlops_assets.foundation.conversions import UTC
from mlops_assets.foundation.grains import calendars_of
from mlops_assets.foundation.names import EVENT_TIMESTAMP, KNOWN_AT
from mlops_assets.spec.feature import Features
from mlops_assets.spec.gate import Fair
from mlops_assets.spec.use_case import UseCase

Columns = dict[str, pl.DataType]
LABEL = "label.transform"
EXACT_DIGITS = 15  # of a decimal that a double tells apart


def returned_columns(use_case: UseCase) -> tuple[dict[str, Columns], list[str]]:
    """The columns of each transform, by its place in the declaration, and one problem for each transform that fails."""
    returned: dict[str, Columns] = {}
    problems: list[str] = []
    features, calendars = use_case.features, calendars_of(use_case)
    empty = {one.table: pl.LazyFrame(schema=column_types(one, calendars[one.table])) for one in use_case.contracts}
    calls: dict[str, Callable[[], Any]] = {
        view_place(view.name): partial(view.transform, {table: empty[table] for table in view.tables}, START, END)
        for view in features.views
    }
    calls[request_place(features)] = partial(entity_rows, features, empty[features.request_table].select(features.request))
    label = use_case.label
    calls[LABEL] = partial(label_columns, label, empty[label.table], calendars[label.table])
    for place, call in calls.items():
        try:
            returned[place] = dict(call().collect().schema)
        except Exception as error:  # noqa: BLE001 - a transform is the user's and may fail in any way
            first_line = (str(error).splitlines() or [""])[0]
            problems.append(f"{place} · fails on tables without rows: {type(error).__name__}: {first_line}. Correct it.")
    return returned, problems


def view_place(view: str) -> str:
    return f"features.views[{view}].transform"


def request_place(features: Features) -> str:
    return "features.entity_rows" if features.entity_rows else "features.request_features"


def find_column_problems(use_case: UseCase) -> list[str]:
    """What the transforms return, against what the declaration needs of them, a sentence each."""
    returned, problems = returned_columns(use_case)
    problems += _missing(use_case, returned)
    # Without the columns of every transform nothing can be said of those that come from any of them.
    checks = (_shared, _unknown, _not_numbers, _not_in_feast)
    return problems or [problem for check in checks for problem in check(use_case, returned)]


def _missing(use_case: UseCase, returned: dict[str, Columns]) -> Iterator[str]:
    features, label = use_case.features, use_case.label
    needed: dict[str, tuple[str, ...]] = {view_place(view.name): (*view.entity, EVENT_TIMESTAMP) for view in features.views}
    entities = (name for view in features.views for name in view.entity)
    moment = [EVENT_TIMESTAMP] if features.has_moment else []
    needed[request_place(features)] = tuple(dict.fromkeys((*moment, *entities, *label.key)))
    needed[LABEL] = (*label.key, label.name, KNOWN_AT)
    for place, columns in returned.items():
        for name in (name for name in needed[place] if name not in columns):
            yield f"{place} · returns no {name!r}; it returns: {', '.join(columns)}. Add it, or correct the declared name."


def view_features(use_case: UseCase, returned: dict[str, Columns]) -> dict[str, Columns]:
    """The features of each view: what it returns without its keys and times."""
    features: dict[str, Columns] = {}
    for view in use_case.features.views:
        columns = returned.get(view_place(view.name), {})
        added = (*view.entity, EVENT_TIMESTAMP, *PARTITION_COLUMNS)
        features[view.name] = {name: columns[name] for name in columns if name not in added}
    return features


def type_in_feast(dtype: pl.DataType) -> pl.DataType | None:
    """The type under which Feast has a column of this type; None where it has none."""
    if dtype.is_integer():
        return pl.Int64()
    if dtype.is_float() or dtype.is_decimal():
        return dtype if dtype == pl.Float32() else pl.Float64()
    if isinstance(dtype, pl.Datetime):
        return UTC
    if isinstance(dtype, pl.String | pl.Categorical | pl.Enum):
        return pl.String()
    return dtype if dtype == pl.Boolean() else None


def _is_inexact(dtype: pl.DataType) -> bool:
    return isinstance(dtype, pl.Decimal) and dtype.precision > EXACT_DIGITS


def _not_in_feast(use_case: UseCase, returned: dict[str, Columns]) -> Iterator[str]:
    """What the objects of Feast cannot be built from."""
    keys: dict[str, tuple[str, pl.DataType | None]] = {}
    for view, features in view_features(use_case, returned).items():
        declared = next(one for one in use_case.features.views if one.name == view)
        columns = returned[view_place(view)]
        for name in (name for name in (*declared.entity, *features) if type_in_feast(columns[name]) is None):
            yield f"{view_place(view)} · {name!r} is a {columns[name]}; legal: a number, text, bool or datetime. Convert it."
        for name in (name for name in declared.entity if _is_inexact(columns[name])):
            found = f"{name!r} is a {columns[name]}, of which Feast's double makes one key of several"
            yield f"{view_place(view)} · {found}; legal: at most {EXACT_DIGITS} digits. Make it a text."
        for name in declared.entity:
            other, dtype = keys.setdefault(name, (view, type_in_feast(columns[name])))
            if type_in_feast(columns[name]) != dtype:
                found = f"{name!r} is a {columns[name]}, and a {dtype} in view {other!r}"
                yield f"{view_place(view)} · {found}; legal: one type for an entity. Convert one."
        for name in (name for name in declared.descriptions if name not in features):
            found = f"{name!r} is no feature; it returns: {', '.join(features)}"
            yield f"features.views[{view}].descriptions · {found}. Use one of these."


def _all(use_case: UseCase, returned: dict[str, Columns]) -> Columns:
    """The columns of a training row that a model can read."""
    views = view_features(use_case, returned).values()
    return {name: dtype for columns in (returned[request_place(use_case.features)], *views) for name, dtype in columns.items()}


def _shared(use_case: UseCase, returned: dict[str, Columns]) -> Iterator[str]:
    by_place = {f"view {view}": [*columns] for view, columns in view_features(use_case, returned).items()}
    by_place["the request"] = [*returned[request_place(use_case.features)]]
    by_place["label"] = [name for name in returned[LABEL] if name not in use_case.label.key]
    counts = Counter(name for names in by_place.values() for name in names)
    for name in (name for name, count in counts.items() if count > 1):
        places = ", ".join(place for place, names in by_place.items() if name in names)
        yield f"features · {name!r} is returned by each of: {places}; legal: by one of them. Rename the others."


def _unknown(use_case: UseCase, returned: dict[str, Columns]) -> Iterator[str]:
    legal = _all(use_case, returned)
    for name in (name for name in use_case.features.inputs if name not in legal):
        found = f"{name!r} comes from no view and not from the request; these have: {', '.join(legal)}"
        yield f"features.inputs · {found}. Use one of these."
    for index, gate in enumerate(use_case.gates):
        if isinstance(gate, Fair) and gate.column not in legal:
            found = f"{gate.column!r} is no column of the training rows; these are: {', '.join(legal)}"
            yield f"gates[{index}].column · {found}. Use one of these, or add it to a view."


def _not_numbers(use_case: UseCase, returned: dict[str, Columns]) -> Iterator[str]:
    types = _all(use_case, returned)
    for name in (name for name in use_case.features.numeric if name in types):
        if not (types[name].is_numeric() or types[name] == pl.Boolean()):
            yield f"features.numeric · {name!r} is a {types[name]}; legal: a number. Convert it, or declare it in categorical."
