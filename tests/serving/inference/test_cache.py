import math
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mlops_assets.promotion.deployment import Plan
from mlops_assets.serving.inference.model_slots import Lineup, LoadedModel
from mlops_assets.serving.inference.row_encoder import RowEncoder
from mlops_assets.serving.inference.scoring import Scorer, ScoringRow, score_keys
from mlops_assets.serving.telemetry import Telemetry
from mlops_assets.spec.serving import Cache, Serving
from mlops_assets.training.signature import Signature
from mlops_assets.use_cases.flight_delay import USE_CASE

FLOATS = st.floats(width=32, allow_nan=True)


class Clock:
    """Seconds that the test moves on."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Model:
    """A model of one number that gives it divided by 128, and which numbers it has scored; behind a cache."""

    cache: Cache = field(default_factory=lambda: Cache(ttl=timedelta(minutes=1)))
    clock: Clock = field(default_factory=Clock)
    scored: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.scorer = Scorer(USE_CASE.but(serving=Serving(cache=self.cache)), Telemetry(), self.clock)
        blessing, encoder = SimpleNamespace(model_digest="digest"), RowEncoder(Signature(("number",), {}), ("number",))
        loaded: Any = LoadedModel(1, blessing, self, encoder, lambda score: (score,))  # type: ignore[arg-type]
        self.lineup = Lineup(Plan(1, 1, None, "", ""), loaded, None, None)

    def score(self, matrix: np.ndarray) -> np.ndarray:
        self.scored += matrix[:, 0].tolist()
        return matrix[:, 0].astype(np.float64) / 128

    def ask(self, *numbers: float) -> list[float]:
        rows = [ScoringRow(None, (number,), datetime(2013, 7, 1, tzinfo=UTC), "request", None) for number in numbers]
        answers = [score.output for score in self.scorer.score(self.lineup, rows)]
        assert answers == [number / 128 for number in numbers]
        return answers


def test_a_known_score_is_not_computed_again_and_every_row_gets_its_own():
    model = Model()
    model.ask(1, 2)
    model.ask(2, 3, 1, 2)
    assert model.scored == [1, 2, 3]


def test_in_memory_a_score_is_known_for_its_time_and_no_longer():
    model = Model()
    model.ask(1)
    model.clock.now += 59.9
    model.ask(1, 2)
    assert model.scored == [1, 2], "and reading it does not make it younger"
    model.clock.now += 0.1
    model.ask(1, 2)
    assert model.scored == [1, 2, 1]


def test_in_memory_those_used_least_recently_go_first():
    model = Model(Cache(max_entries=3))
    for numbers in ((1, 2, 3), (1,), (4,), (1, 3, 4)):
        model.ask(*numbers)
    assert model.scored == [1, 2, 3, 4]
    model.ask(2)
    assert model.scored == [1, 2, 3, 4, 2]


def test_in_memory_any_number_of_threads_may_write():
    model, wrong = Model(Cache(max_entries=50)), []

    def work(seed: int) -> None:
        try:
            for number in np.random.default_rng(seed).integers(0, 100, 3000).tolist():
                model.ask(number)
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [] and len(model.scored) < 12_000


ROWS = hnp.arrays(np.float32, st.tuples(st.integers(0, 20), st.integers(1, 8)), elements=FLOATS)


@given(matrix=ROWS)
def test_keys_are_equal_where_rows_are_and_only_there(matrix: np.ndarray):
    keys = score_keys(matrix, "digest")
    assert [len(key) for key in keys] == [16] * len(matrix)
    rows = [row.tobytes() for row in matrix]
    assert all((keys[a] == keys[b]) == (rows[a] == rows[b]) for a in range(len(rows)) for b in range(len(rows)))


@given(matrix=ROWS)
def test_a_key_does_not_depend_on_the_other_rows(matrix: np.ndarray):
    keys = score_keys(matrix, "digest")
    assert keys == [key for row in matrix for key in score_keys(row[None, :], "digest")]
    assert keys == score_keys(np.asfortranarray(matrix), "digest")
    assert keys[::-1] == score_keys(matrix[::-1], "digest")


@given(matrix=ROWS, digests=st.lists(st.text(), min_size=2, max_size=2, unique=True))
def test_another_model_never_has_the_same_key(matrix: np.ndarray, digests: list[str]):
    first, second = (set(score_keys(matrix, digest)) for digest in digests)
    assert not first & second


def test_absent_values_make_keys_like_any_other():
    nothing = np.array([[math.nan, 1], [1, math.nan]], np.float32)
    assert len(set(score_keys(nothing, "digest"))) == 2
    assert score_keys(nothing, "digest") == score_keys(nothing.copy(), "digest")
