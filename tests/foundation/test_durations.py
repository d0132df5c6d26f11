"""Durations in words."""

from datetime import timedelta

import pytest

from mlops_assets.foundation.durations import in_words


@pytest.mark.parametrize(
    ("duration", "words"),
    [
        (timedelta(0), "0 h"),
        (timedelta(seconds=5), "5 s"),
        (timedelta(minutes=5), "5 min"),
        (timedelta(hours=6), "6 h"),
        (timedelta(hours=36), "1 day 12 h"),
        (timedelta(days=30, minutes=1), "30 days 1 min"),
    ],
)
def test_a_duration_is_written_to_the_minute(duration: timedelta, words: str) -> None:
    assert in_words(duration) == words
