"""Durations as whole days, rounded up, and in words."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.foundation.durations import ONE_DAY, in_words, whole_days


@given(st.timedeltas(timedelta(0), timedelta(days=4000)))
def test_whole_days_hold_the_duration_and_no_day_fewer_does(duration: timedelta) -> None:
    assert (whole_days(duration) - 1) * ONE_DAY < duration <= whole_days(duration) * ONE_DAY


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
