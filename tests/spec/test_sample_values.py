"""The sample value of a column without a declared example is legal."""

from typing import Any

import pytest

from mlops_assets.spec.contract import Column
from mlops_assets.spec.spec import IllegalDeclaration

COLUMNS: dict[str, tuple[dict[str, Any], object]] = {
    "the declared example": ({"dtype": "int", "example": 7}, 7),
    "an allowed text": ({"dtype": "string", "allowed": ("B", "M")}, "B"),
    "any text": ({"dtype": "category"}, "text"),
    "a number": ({"dtype": "float"}, 1.0),
    "the lower bound": ({"dtype": "float", "min": 20.5}, 20.5),
    "a whole number between broken bounds": ({"dtype": "int", "min": 0.5, "max": 1.5}, 1),
    "the upper bound": ({"dtype": "int", "max": -5}, -5),
    "a decimal": ({"dtype": "decimal", "precision": 4, "scale": 2, "min": 10}, "10"),
    "a truth value": ({"dtype": "bool"}, True),
    "a moment": ({"dtype": "datetime"}, "2013-07-01T14:05:00Z"),
    "a day": ({"dtype": "date"}, "2013-07-01"),
}


@pytest.mark.parametrize(("fields", "expected"), COLUMNS.values(), ids=COLUMNS)
def test_a_sample_value_is_legal_in_its_column(fields: dict[str, Any], expected: object) -> None:
    column = Column(name="x", description="Any.", **fields)
    assert (column.sample, type(column.sample)) == (expected, type(expected))
    assert column.but(example=column.sample).example is not None  # a declaration refuses an illegal example


def test_a_truth_value_is_no_number() -> None:
    with pytest.raises(IllegalDeclaration, match="True is no value of this column"):
        Column(name="x", dtype="int", description="Any.", example=True)
