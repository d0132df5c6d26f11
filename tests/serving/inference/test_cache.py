import math
import threading
from datetime import timedelta

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mlops_assets.serving.inference.scoring import MemoryScores, score_keys
from mlops_assets.spec.serving import Cache

MINUTE = Cache(ttl=timedelta(minutes=1))
FLOATS = st.floats(width=32, allow_nan=True)


class Clock:
    """Seconds that the test moves on."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def keys(*numbers: float) -> list[bytes]:
    return score_keys(np.array([[number, 0] for number in numbers], np.float32), "digest")


def test_what_was_written_is_read_key_by_key_and_nothing_else():
    scores = MemoryScores(MINUTE, Clock())
    scores.write(keys(1, 2), [0.25, 1 / 3])
    assert scores.read(keys(2, 3, 1, 2)) == [1 / 3, None, 0.25, 1 / 3]
    scores.write(keys(1), [0.5])
    assert scores.read(keys(1)) == [0.5]


def test_in_memory_a_score_is_known_for_its_time_and_no_longer():
    clock = Clock()
    scores = MemoryScores(MINUTE, clock)
    scores.write(keys(1), [0.25])
    clock.now += 59.9
    assert scores.read(keys(1)) == [0.25], "and reading it does not make it younger"
    scores.write(keys(2), [0.5])
    clock.now += 0.1
    assert scores.read(keys(1, 2)) == [None, 0.5]


def test_in_memory_those_used_least_recently_go_first():
    scores = MemoryScores(Cache(max_entries=3), Clock())
    scores.write(keys(1, 2, 3), [0.1, 0.2, 0.3])
    scores.read(keys(1))
    scores.write(keys(4), [0.4])
    assert scores.read(keys(1, 2, 3, 4)) == [0.1, None, 0.3, 0.4]


def test_in_memory_any_number_of_threads_may_write():
    scores, wrong = MemoryScores(Cache(max_entries=50), Clock()), []

    def work(seed: int) -> None:
        try:
            for number in np.random.default_rng(seed).integers(0, 100, 3000):
                scores.write(keys(number), [float(number)])
                wrong.extend(found for found in scores.read(keys(number)) if found not in (None, float(number)))
        except Exception as error:  # noqa: BLE001 - shown by the assertion below
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


ROWS = hnp.arrays(np.float32, st.tuples(st.integers(0, 20), st.integers(1, 8)), elements=FLOATS)


@given(matrix=ROWS)
def test_keys_are_equal_where_rows_are_and_only_there(matrix: np.ndarray):
    found = score_keys(matrix, "digest")
    assert [len(key) for key in found] == [16] * len(matrix)
    rows = [row.tobytes() for row in matrix]
    assert all((found[a] == found[b]) == (rows[a] == rows[b]) for a in range(len(rows)) for b in range(len(rows)))


@given(matrix=ROWS)
def test_a_key_is_the_same_whatever_stands_around_its_row(matrix: np.ndarray):
    found = score_keys(matrix, "digest")
    assert found == [key for row in matrix for key in score_keys(row[None, :], "digest")]
    assert found == score_keys(np.asfortranarray(matrix), "digest")
    assert found[::-1] == score_keys(matrix[::-1], "digest")


@given(matrix=ROWS, digests=st.lists(st.text(), min_size=2, max_size=2, unique=True))
def test_another_model_never_has_the_same_key(matrix: np.ndarray, digests: list[str]):
    first, second = (set(score_keys(matrix, digest)) for digest in digests)
    assert not first & second


def test_absent_values_make_keys_like_any_other():
    nothing = np.array([[math.nan, 1], [1, math.nan]], np.float32)
    assert len(set(score_keys(nothing, "digest"))) == 2
    assert score_keys(nothing, "digest") == score_keys(nothing.copy(), "digest")
