"""Each key counts once, however it is chunked, kept and read again, in whatever process."""

import subprocess
import sys

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.statistics.dedup_bitmap import DedupBitmap

KEYS = st.lists(st.integers(0, 60), max_size=80)


@given(KEYS, st.integers(0, 80))
@settings(deadline=None)
def test_a_key_counts_once_however_the_rows_are_chunked(keys: list[int], cut: int) -> None:
    whole, bitmap = DedupBitmap.for_keys(1e4).first(pl.Series(keys, dtype=pl.Int64), 0)
    one, between = DedupBitmap.for_keys(1e4).first(pl.Series(keys[:cut], dtype=pl.Int64), 0)
    other, after = DedupBitmap.from_text(between.to_text()).first(pl.Series(keys[cut:], dtype=pl.Int64), 0)
    assert [*one, *other] == [*whole]
    assert after == bitmap
    assert all(keys.index(key) == place for place, (key, new) in enumerate(zip(keys, whole, strict=True)) if new)


def test_as_many_keys_as_were_expected_nearly_all_count_and_more_count_less_and_less() -> None:
    bitmap, parts = DedupBitmap.for_keys(1000), []
    for start in range(0, 50_000, 1000):
        new, bitmap = bitmap.first(pl.int_range(start, start + 1000, eager=True), 0)
        parts.append(new.mean())
    assert parts[0] > 0.95
    assert parts[-1] < 0.25


def test_the_same_key_counts_again_under_another_salt() -> None:
    keys = pl.Series(["a", "b", "a"])
    first, bitmap = DedupBitmap.for_keys(100).first(keys, 0)
    second, bitmap = bitmap.first(keys, 1)
    again, _ = bitmap.first(keys, 0)
    assert [first.tolist(), second.tolist(), again.tolist()] == [[True, True, False], [True, True, False], [False] * 3]


def test_a_key_counted_in_one_process_is_counted_in_another() -> None:
    code = (
        "import polars as pl; from mlops_assets.statistics.dedup_bitmap import DedupBitmap;"
        "print(DedupBitmap.for_keys(100).first(pl.Series(['a', 'b', None]), 3)[1].to_text())"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert there == DedupBitmap.for_keys(100).first(pl.Series(["a", "b", None]), 3)[1].to_text()


def test_the_bitmap_of_a_default_rollout_stays_below_200_kilobytes() -> None:
    _, bitmap = DedupBitmap.for_keys(75_000).first(pl.int_range(0, 75_000, eager=True), 0)
    assert len(bitmap.to_text()) < 200_000
