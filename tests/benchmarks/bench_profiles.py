"""Profiles of 10 million rows of 20 columns under 30 s and 1 GB, two windows compared under 50 ms whatever their size, and both
together at least 50 times as fast as Evidently's preset at 1 million rows. A check of a month of predictions after 24 months costs
at most twice that after one. Prints figures; ends with code 1 past a bound.

Seconds are of the CPU where a machine is shared: `--wall` counts those of the clock.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from deltalake import CommitProperties
from numpy.typing import NDArray

from mlops_assets.monitoring.stored_profiles import StoredProfiles
from mlops_assets.monitoring.window import Window, elsewhere, window_of
from mlops_assets.serving.log.predictions_table import DAYS
from mlops_assets.spec.monitor import Drift
from mlops_assets.statistics.distances import compare_correlations
from mlops_assets.statistics.drift import compare_profiles
from mlops_assets.statistics.mergeable_profile import Bins, Profile
from mlops_assets.statistics.profile import profile_reference, profiles_from_json, profiles_to_json

NUMERIC, CATEGORICAL = [f"n{number}" for number in range(15)], [f"c{number}" for number in range(5)]
PART_ROWS, MONTH_ROWS, MAX_GROWTH = 1_000_000, 300_000, 2.0
Numbers = NDArray[np.float64]
MAX_PROFILE_S, MAX_GB, MAX_COMPARE_S, MIN_TIMES = 30.0, 1.0, 0.05, 50.0


def part(seed: int, rows: int = PART_ROWS, shift: float = 0.0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    numbers = {name: rng.lognormal(shift, 1, rows) for name in NUMERIC}
    words = np.array([f"value {number}" for number in range(40)])
    texts = {name: words[rng.integers(0, 40, rows)] for name in CATEGORICAL}
    return pl.DataFrame(numbers | texts)


def clock(work: Callable[[], object], now: Callable[[], float]) -> float:
    start = now()
    work()
    return now() - start


def peak_gb(bins: Bins, folder: Path) -> float:
    """Of a process that profiles, beyond what it has before."""
    (folder / "bins.json").write_text(profiles_to_json(bins.reference))
    command = [sys.executable, __file__, "--peak", str(folder)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def print_peak(folder: Path) -> None:
    bins, before = Bins(profiles_from_json((folder / "bins.json").read_text())), peak_kb()
    bins.profile(pl.scan_parquet(folder / "*.parquet"))
    print((peak_kb() - before) / 1e6)


def peak_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def evidently(reference: pl.DataFrame, current: pl.DataFrame) -> None:
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    definition = DataDefinition(numerical_columns=NUMERIC, categorical_columns=CATEGORICAL)
    now, before = (Dataset.from_pandas(rows.to_pandas(), data_definition=definition) for rows in (current, reference))
    Report([DataDriftPreset(num_method="psi", cat_method="psi")]).run(now, before)


def compare(before: Profile, now: Profile) -> None:
    compare_profiles(before.columns(), now.columns(), Drift())


def compare_s(side: Profile, sample: Numbers, now: Callable[[], float]) -> float:
    return min(clock(lambda: (compare(side, side), compare_correlations(side, side, sample)), now) for _ in range(5))


def month_s(months: int, folder: Path, bins: Bins, now: Callable[[], float]) -> tuple[float, float]:
    """What the second check of a day costs after so many months of predictions: with stored profiles, and from rows."""
    table, start = folder / f"{months}.delta", datetime(2024, 1, 1, tzinfo=UTC)
    for month in range(months):
        rows = part(month, MONTH_ROWS)
        first = start + month * timedelta(days=30)
        moments = pl.datetime_range(first, first + timedelta(days=30), timedelta(days=30) / MONTH_ROWS, closed="left", eager=True)
        served = rows.with_columns(event_timestamp=moments, answered_at=moments + timedelta(seconds=1))
        commit = CommitProperties({DAYS: json.dumps([*map(str, moments.dt.date().unique())])})
        served.write_delta(table, mode="append", delta_write_options={"commit_properties": commit})
    spec, end = Drift(), start + months * timedelta(days=30) - timedelta(hours=1)
    profiles = StoredProfiles(folder / f"{months}.profiles.delta", table)

    def check() -> None:
        window = window_of(pl.scan_delta(str(table)), spec, now=end)
        elsewhere(pl.scan_delta(str(table)), spec, now=end)
        compare_profiles(bins.reference, profiles.window(bins, window).columns(), spec)

    check()
    rows = Window(end - spec.window, end).of(pl.scan_delta(str(table)))
    return min(clock(check, now) for _ in range(3)), clock(lambda: bins.profile(rows), now)


def run(parts: int, folder: Path, now: Callable[[], float]) -> int:
    reference = part(0, 200_000)
    bins = Bins(profile_reference(reference, NUMERIC, CATEGORICAL))
    for number in range(parts):
        part(number + 1).write_parquet(folder / f"{number:03}.parquet")
    rows, profiles = pl.scan_parquet(folder / "*.parquet"), list[Profile]()
    gb = peak_gb(bins, folder)
    seconds = clock(lambda: profiles.append(bins.profile(rows)), now)
    large, small = profiles[0], bins.profile(part(99, 1000, 0.3).lazy())
    sample = reference.select(NUMERIC).head(5000).to_numpy()
    compared = [compare_s(side, sample, now) for side in (large, small)]
    print(f"{large.rows:,} rows × {len(bins.reference)} columns: {seconds:.1f} s, peak {gb:.2f} GB more")
    print(
        f"two windows of {large.rows:,} rows compared in {compared[0] * 1000:.1f} ms, of {small.rows:,} in {compared[1] * 1000:.1f} ms"
    )
    one, other = part(1), part(2, shift=0.1)
    ours = clock(lambda: compare(*(bins.profile(side.lazy()) for side in (one, other))), now)
    once = clock(lambda: compare(large, bins.profile(other.lazy())), now)
    theirs = clock(lambda: evidently(one, other), now)
    print(f"{PART_ROWS:,} rows a side: {ours:.2f} s, {once:.2f} s with the reference's profile stored; Evidently's preset {theirs:.1f} s: "
          f"{theirs / ours:.0f} and {theirs / once:.0f} times")  # fmt: skip
    months = {count: month_s(count, folder, bins, now) for count in (1, 24)}
    for count, (stored, read) in months.items():
        print(f"a check of a month of {MONTH_ROWS:,} rows after {count} months: {stored:.2f} s, {read:.2f} s to read its rows")
    is_kept = seconds < MAX_PROFILE_S and gb < MAX_GB and max(compared) < MAX_COMPARE_S and theirs / once > MIN_TIMES
    is_kept &= months[24][0] < MAX_GROWTH * months[1][0]
    return 0 if is_kept else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", type=int, default=10, help="of a million rows")
    parser.add_argument("--wall", action="store_true")
    parser.add_argument("--peak", type=Path, help="print the memory that the profile of a folder takes, in GB")
    arguments = parser.parse_args()
    if arguments.peak:
        print_peak(arguments.peak)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        return run(arguments.parts, Path(folder), time.perf_counter if arguments.wall else time.process_time)


if __name__ == "__main__":
    sys.exit(main())
