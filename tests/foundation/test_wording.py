"""Lists in messages are cut after a few values."""

import pytest

from mlops_assets.foundation.wording import some


@pytest.mark.parametrize(
    ("count", "text"), [(0, "none"), (1, "0"), (3, "0, 1, 2"), (4, "0, 1, 2 and 1 other"), (99, "0, 1, 2 and 96 others")]
)
def test_a_few_values_are_shown_and_the_others_counted(count: int, text: str) -> None:
    assert some(range(count), limit=3) == text
