"""Lists in messages are cut after a few values."""

import pytest

from mlops_assets.foundation.wording import counted, some


@pytest.mark.parametrize(
    ("count", "text"), [(0, "none"), (1, "0"), (3, "0, 1, 2"), (4, "0, 1, 2 and 1 other"), (99, "0, 1, 2 and 96 others")]
)
def test_a_few_values_are_shown_and_the_others_counted(count: int, text: str) -> None:
    assert some(range(count), limit=3) == text


@pytest.mark.parametrize(("number", "text"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (2000, "2,000 rows")])
def test_a_number_agrees_with_its_noun(number: int, text: str) -> None:
    assert counted(number, "row") == text
