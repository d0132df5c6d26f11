"""Encoding rows: by name, whatever their order, with missing and unknown values in their place."""

import hashlib
import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.training.digest import digest
from mlops_assets.training.signature import MIN_ROWS, UNKNOWN, Signature, UnreadableRows, learn
from tests.training.training_rows import INPUTS, training_rows, unlabelled_rows

ROWS = training_rows(400)
TASK = INPUTS["task"]
SIGNATURE = learn(ROWS, **INPUTS)
FIVE = Signature(("wind", "delay"), {"carrier": ("AA", "UA")})


@given(st.permutations([*ROWS.columns]))
def test_columns_are_taken_by_name_in_any_order(columns: list[str]) -> None:
    np.testing.assert_array_equal(SIGNATURE.encode(ROWS.select(columns)), SIGNATURE.encode(ROWS))


@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_a_row_is_encoded_alone_as_among_others(seed: int, count: int) -> None:
    rows = unlabelled_rows(count, seed)
    alone = [SIGNATURE.encode(rows[index]) for index in range(count)]
    np.testing.assert_array_equal(np.concatenate(alone), SIGNATURE.encode(rows))


@given(st.integers(0, 2**32 - 1))
def test_the_order_of_the_rows_does_not_change_what_is_learned(seed: int) -> None:
    assert learn(ROWS.sample(fraction=1, shuffle=True, seed=seed), **INPUTS) == SIGNATURE


@given(st.dictionaries(st.text(), st.lists(st.text(), unique=True).map(tuple)), st.lists(st.text(), unique=True).map(tuple))
def test_a_signature_survives_its_text_form(categories: dict[str, tuple[str, ...]], numeric: tuple[str, ...]) -> None:
    signature = Signature(numeric, categories)
    back = Signature.from_json(signature.to_json())
    assert back == signature
    assert back.inputs == signature.inputs


def test_missing_infinite_and_too_large_numbers_become_nan() -> None:
    rows = pl.DataFrame(
        {"wind": [None, float("nan"), float("inf"), 1e300, 2.5], "delay": [1, 2, None, 4, 5], "carrier": ["AA"] * 5}
    )
    encoded = FIVE.encode(rows)
    assert encoded.dtype == np.float32
    np.testing.assert_array_equal(encoded[:, 0], np.float32([np.nan, np.nan, np.nan, np.nan, 2.5]))
    np.testing.assert_array_equal(encoded[:, 1], np.float32([1, 2, np.nan, 4, 5]))


def test_null_and_unseen_categories_become_unknown() -> None:
    rows = pl.DataFrame({"wind": [0.0] * 4, "delay": [0.0] * 4, "carrier": ["UA", None, "XX", "AA"]})
    assert FIVE.encode(rows)[:, 2].tolist() == [2.0, UNKNOWN, UNKNOWN, 1.0]


def test_a_column_that_is_all_null_is_encoded_too() -> None:
    rows = pl.DataFrame({"wind": [None], "delay": [None], "carrier": [None]})
    np.testing.assert_array_equal(FIVE.encode(rows), np.float32([[np.nan, np.nan, UNKNOWN]]))


def test_no_rows_give_an_empty_matrix() -> None:
    assert SIGNATURE.encode(ROWS.head(0)).shape == (0, 5)


def test_the_vocabulary_rises_with_the_label_rate_and_leaves_rare_values_out() -> None:
    labels = {"often": [1] * 40, "never": [0] * 40, "half": [0, 1] * 20, "rare": [1] * (MIN_ROWS - 1)}
    rows = pl.concat(pl.DataFrame({"carrier": carrier, "late": late}) for carrier, late in labels.items())
    assert learn(rows, numeric=(), categorical=("carrier",), label="late", task=TASK).categories == {
        "carrier": ("never", "half", "often")
    }


def test_a_missing_column_is_named_with_what_is_needed() -> None:
    with pytest.raises(UnreadableRows, match=r"rows lack delay, carrier; needed: wind, delay, carrier\. Add"):
        FIVE.encode(pl.DataFrame({"wind": [1.0]}))
    with pytest.raises(UnreadableRows, match="rows lack late"):
        learn(ROWS.drop("late"), **INPUTS)


def test_text_in_place_of_a_number_is_refused_by_name() -> None:
    with pytest.raises(UnreadableRows, match="column 'wind' is String; the model reads a number"):
        FIVE.encode(pl.DataFrame({"wind": ["strong"], "delay": [1.0], "carrier": ["AA"]}))


def test_the_text_form_is_plain_json_and_the_digest_plain_sha256() -> None:
    assert json.loads(FIVE.to_json()) == {"numeric": ["wind", "delay"], "categories": {"carrier": ["AA", "UA"]}}
    assert digest(b"model") == hashlib.sha256(b"model").hexdigest()
