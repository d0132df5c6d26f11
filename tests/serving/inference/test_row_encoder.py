import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.serving.inference.row_encoder import RowEncoder
from mlops_assets.training.signature import Signature

NAMES = ("a", "b", "c", "kind", "place")
SIGNATURE = Signature(("c", "a"), {"place": ("x", "y"), "kind": ("é",)})
numbers = st.none() | st.floats() | st.integers(-(2**60), 2**60).map(float)
words = st.none() | st.sampled_from(["x", "y", "é", "z", ""])


@given(st.lists(st.tuples(numbers, numbers, numbers, words, words), min_size=1, max_size=20))
def test_rows_are_encoded_as_frames_are(rows: list[tuple[float | str | None, ...]]):
    kinds = {name: pl.Float64 if len(name) == 1 else pl.String for name in NAMES}
    with np.errstate(over="ignore"):
        expected = SIGNATURE.encode(pl.DataFrame(rows, schema=kinds, orient="row"))
    assert np.array_equal(RowEncoder(SIGNATURE, NAMES).encode(rows), expected, equal_nan=True)


def test_no_rows_are_a_matrix_of_none():
    assert RowEncoder(SIGNATURE, NAMES).encode([]).shape == (0, 4)


def test_categories_that_training_never_saw_are_named():
    assert RowEncoder(SIGNATURE, NAMES).unseen((1.0, None, 2.0, "ü", None)) == [("kind", "ü")]


@given(st.lists(st.tuples(numbers, words), max_size=20))
def test_a_column_that_is_no_longer_declared_is_missing_in_every_row_and_named(rows: list[tuple[float | str | None, ...]]):
    encoder = RowEncoder(SIGNATURE, ("a", "kind"))
    whole = [(row[0], None, None, row[1], None) for row in rows]
    assert np.array_equal(encoder.encode(rows), RowEncoder(SIGNATURE, NAMES).encode(whole), equal_nan=True)
    assert encoder.unseen((1.0, "z")) == [("kind", "z")]
    warning = "is no longer declared; the model treats it as missing"
    assert encoder.warnings == [f"c {warning}", f"place {warning}"] and RowEncoder(SIGNATURE, NAMES).warnings == []


def test_a_model_that_reads_nothing_that_is_declared_is_refused():
    with pytest.raises(ValueError, match="the model reads c, a, place, kind; the declared inputs are x, y"):
        RowEncoder(SIGNATURE, ("x", "y"))
