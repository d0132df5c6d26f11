"""The pictures: small PNGs, the same bytes for the same evidence, also in rare cases."""

import io
from collections.abc import Callable
from datetime import date
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mlops_assets.statistics import plots, time_plots
from mlops_assets.statistics.binary import BinarySample, Tally
from mlops_assets.statistics.drift import ColumnDrift

NAN = float("nan")
COUNTS = np.array([[9000, 10], [20, 30]])


def answers(rows: int = 20_000) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
    rng = np.random.default_rng(0)
    probability = rng.uniform(size=rows)
    truth = (rng.uniform(size=rows) < probability).astype(int)
    return truth, {"candidate": probability, "champion": np.sqrt(probability), "reference": rng.uniform(size=rows)}


def tallies(truth: NDArray[Any], probabilities: dict[str, NDArray[Any]]) -> dict[str, Tally]:
    return {role: BinarySample(truth, probability).tally() for role, probability in probabilities.items()}


def drifts(count: int) -> list[ColumnDrift]:
    return [
        ColumnDrift(
            f"input_with_a_long_name_{n}",
            psi=n / 20,
            ks=None,
            js=0.1,
            kl=0.1,
            wasserstein=None,
            chi_square_p=0.5,
            new_share=0,
            missing_change=0,
            changed=("values",) * (n > 5),
        )
        for n in range(count)
    ]


DRAWINGS: dict[str, Callable[[], bytes]] = {
    "roc": lambda: plots.roc_curve(tallies(*answers())),
    "roc of one class": lambda: plots.roc_curve(tallies(np.zeros(9, dtype=int), {"candidate": np.linspace(0, 1, 9)})),
    "reliability": lambda: plots.reliability(tallies(*answers())),
    "reliability of one row": lambda: plots.reliability(tallies(np.array([1]), {"candidate": np.array([0.0])})),
    "scores": lambda: plots.score_distribution(answers()[1], 0.35),
    "scores of one row": lambda: plots.score_distribution({"candidate": np.array([1.0])}, 0.5),
    "scores of nothing": lambda: plots.score_distribution({"candidate": np.array([])}, 0.5),
    "confusion": lambda: plots.confusion(COUNTS, ("no", "yes")),
    "confusion of nothing": lambda: plots.confusion(np.zeros_like(COUNTS), ("no", "yes")),
    "importance": lambda: plots.importance([(f"input_{n}", n / 100 - 0.01, n / 100 - 0.02, n / 100) for n in range(29)], "auc"),
    "importance of nothing": lambda: plots.importance([], "auc"),
    "drift": lambda: plots.drift_bars(drifts(29)),
    "drift of nothing": lambda: plots.drift_bars([]),
    "ages": lambda: plots.age_curves({"weather": np.geomspace(0.1, 50, 500), "planes": np.array([])}, 24),
    "ages of nothing": lambda: plots.age_curves({}, 24),
    "loss": lambda: time_plots.loss_curve(
        [{"epoch": n, "train_loss": 1 / n, "validation_loss": 0.1 + 1 / n} for n in (1.0, 2.0, 3.0)]
    ),
    "loss of one fit": lambda: time_plots.loss_curve([{"iterations": 5.0, "train_loss": 0.3}]),
    "time": lambda: time_plots.metric_over_time(
        "auc", [date(2013, month, 1) for month in range(1, 7)], [0.7, NAN] * 3, bound=0.68
    ),
    "time of one month": lambda: time_plots.metric_over_time("auc", [date(2013, 1, 1)], [NAN]),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_every_case_draws_a_picture_that_fits_in_asset_metadata(name: str) -> None:
    png = DRAWINGS[name]()
    picture = Image.open(io.BytesIO(png))
    assert picture.format == "PNG" and len(png) < 40_000
    assert len(picture.convert("RGB").getcolors(10**6) or []) > 3


def test_the_same_evidence_draws_the_same_bytes() -> None:
    assert plots.roc_curve(tallies(*answers(500))) == plots.roc_curve(tallies(*answers(500)))


def test_a_role_keeps_its_colour_in_every_company() -> None:
    truth, probabilities = answers(500)
    alone = plots.roc_curve(tallies(truth, {"champion 7": probabilities["champion"]}))
    colours = {colour for _, colour in Image.open(io.BytesIO(alone)).convert("RGB").getcolors(10**6) or []}
    orange = tuple(int(plots.CHAMPION[at : at + 2], 16) for at in (1, 3, 5))
    assert min(sum(abs(a - b) for a, b in zip(colour, orange, strict=True)) for colour in colours) < 12
