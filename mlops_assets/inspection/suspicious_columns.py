"""Columns of which a model learns little: identifiers, constants, missing values, rare categories."""

import re
from collections.abc import Iterator
from typing import cast

import polars as pl

from mlops_assets.inspection.finding import Finding, share
from mlops_assets.inspection.inspected import Inspected
from mlops_assets.spec.contract import MaxNullShare
from mlops_assets.training.fitted import TEST, TRAIN, VALIDATION
from mlops_assets.training.signature import MIN_ROWS

DISTINCT = 0.9  # the share of distinct values from which a text is an identifier
MAX_MISSING = 0.3
MAX_RARE, MAX_UNSEEN = 0.2, 0.05  # shares of rows
NAMED_ID = re.compile(r"(^|_)(id|uuid|guid|key|no|nr|nummer|number)$", re.IGNORECASE)
FEWEST_SUBJECTS = 50  # below, a number with the name of an identifier may be a code
SEVEN_DIGITS = 10**6


def find_identifiers(data: Inspected) -> Iterator[Finding]:
    tagged = {column.name for column in data.columns() if column.identifies}
    for name in data.use_case.features.inputs:
        values = data.rows[name].drop_nulls()
        is_identifier = _numbers_rows if name in data.use_case.features.numeric else _names_rows
        if name in tagged or (len(values) >= MIN_ROWS and is_identifier(values, name)):
            distinct = values.n_unique()
            message = f"`{name}` has {distinct:,} distinct values in {len(values):,} rows, and is an input"
            advice = "It names rows or subjects, and a new one has another value: remove it from the inputs."
            yield Finding("identifier", name, distinct / max(len(values), 1), DISTINCT, message, advice)


def unread_identifiers(data: Inspected) -> list[str]:
    """The columns of the requests that name rows or subjects, and that no model reads: as it should be."""
    inputs, kinds = data.use_case.features.inputs, {"int": _numbers_rows, "string": _names_rows}
    columns = [column for column in data.columns() if column.name not in inputs and column.dtype in kinds]
    known = {column.name: data.requests[column.name].drop_nulls() for column in columns}
    return [
        column.name
        for column in columns
        if len(values := known[column.name]) >= MIN_ROWS and kinds[column.dtype](values, column.name)
    ]


def _names_rows(values: pl.Series, _name: str) -> bool:
    return values.n_unique() > DISTINCT * len(values)


def _numbers_rows(values: pl.Series, name: str) -> bool:
    """Whether these are whole numbers that were made distinct, or have the name of an identifier."""
    numbers, is_named = values.cast(pl.Float64), bool(NAMED_ID.search(name))
    if not (numbers == numbers.floor()).all():
        return False
    if (distinct := values.n_unique()) < len(values):
        return is_named and distinct >= FEWEST_SUBJECTS
    low, high = cast(float, numbers.min()), cast(float, numbers.max())
    # Of as many numbers drawn at random from this range, three pairs or more would be equal.
    is_made_distinct = len(values) ** 2 >= 6 * (high - low + 1)
    has_one_length = low >= SEVEN_DIGITS and len(f"{low:.0f}") == len(f"{high:.0f}")
    return is_named or is_made_distinct or has_one_length


def find_constants(data: Inspected) -> Iterator[Finding]:
    """Also of columns that no model reads: a source that has stopped to fill one is worth a question."""
    inputs = data.use_case.features.inputs
    columns = {name: data.rows[name] for name in inputs}
    columns |= {column.name: data.requests[column.name] for column in data.columns() if column.name not in inputs}
    for name, values in columns.items():
        distinct, rows = values.drop_nulls().n_unique(), f"all {len(values):,} rows"
        if len(values) < 2 or distinct > 1:
            continue
        if not distinct:
            yield Finding("empty", name, 0, 1, f"`{name}` is missing in {rows}", "Correct the source, or remove the column.")
        elif not values.null_count():
            message = f"`{name}` has the same value in {rows}: {str(values[0])[:40]}"
            learns_nothing = "A model learns nothing from it: remove it from the inputs."
            advice = learns_nothing if name in inputs else "It is no input. Ask its owner whether the source still fills it."
            yield Finding("constant", name, 1, 2, message, advice)


def find_missing(data: Inspected) -> Iterator[Finding]:
    expected = [one for contract in data.use_case.contracts for one in contract.expectations if isinstance(one, MaxNullShare)]
    declared = {one.column: one.share for one in expected}
    for name in data.use_case.features.inputs:
        missing, bound = share(data.rows[name].is_null()), declared.get(name, MAX_MISSING)
        if bound < missing < 1:
            message = f"`{name}` is missing in {missing:.1%} of the rows (bound {bound:.0%})"
            advice = "Ask its owner why. Trees use that it is missing; remove it where that says nothing of the label."
            yield Finding("missing values", name, missing, bound, message, advice)


def find_rare_categories(data: Inspected) -> Iterator[Finding]:
    learned, test = data.part(TRAIN, VALIDATION), data.part(TEST)
    for name in data.use_case.features.categorical:
        values = learned[name].drop_nulls()
        if _names_rows(values, name):
            continue
        rare = share(values.to_frame().select(pl.len().over(name) < MIN_ROWS).to_series())
        if rare > MAX_RARE:
            message = f"`{name}` has in {rare:.1%} of the rows a value of fewer than {MIN_ROWS} rows (bound {MAX_RARE:.0%})"
            advice = "The model reads all of these as unknown: group them, or land more rows."
            yield Finding("rare categories", name, rare, MAX_RARE, message, advice)
        unseen = share(~test[name].drop_nulls().is_in(values.unique().implode()))
        if unseen > MAX_UNSEEN:
            message = f"`{name}` has in {unseen:.1%} of the test rows a value that no earlier row has (bound {MAX_UNSEEN:.0%})"
            yield Finding("unseen categories", name, unseen, MAX_UNSEEN, message, "Group its values, or train on newer rows.")
