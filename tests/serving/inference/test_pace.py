"""A store whose lookups take as long as it is told, by a clock of its own."""

from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.features.online.key_value_stores import OnlineStoreDown
from mlops_assets.features.online.online_mirror import LookupResult
from mlops_assets.serving.inference.pace import IN_A_ROW, QUICK_S, PacedLookup

ROWS = pl.DataFrame({"event_timestamp": [datetime(2013, 7, 1, tzinfo=UTC)]})


class Timed:
    """Takes the seconds of `takes`, in order; None never answers."""

    def __init__(self, takes: list[float | None]) -> None:
        self.now, self.takes = 0.0, iter(takes)

    def look_up(self, entity_rows: pl.DataFrame) -> LookupResult:
        took = next(self.takes)
        if took is None:
            raise OnlineStoreDown("gone")
        self.now += took
        return LookupResult({}, ["online"] * len(entity_rows), [None] * len(entity_rows))


def after(takes: list[float | None]) -> PacedLookup:
    store = Timed(takes)
    lookup = PacedLookup(store, lambda: store.now)
    for took in takes:
        if took is None:
            with pytest.raises(OnlineStoreDown):
                lookup.look_up(ROWS)
        else:
            lookup.look_up(ROWS)
    return lookup


@given(st.lists(st.sampled_from([QUICK_S / 10, QUICK_S * 2, None]), max_size=10), st.integers(0, 2 * IN_A_ROW))
def test_the_loop_trusts_a_store_whose_last_lookups_were_all_quick_and_no_other(before: list[float | None], quick: int):
    takes = [*before, *[QUICK_S / 10] * quick]
    last = takes[-IN_A_ROW:]
    assert after(takes).is_quick == (len(last) == IN_A_ROW and all(took == QUICK_S / 10 for took in last))
