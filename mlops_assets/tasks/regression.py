"""A number with an interval around it."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
import polars as pl
from msgspec import Meta

from mlops_assets.spec.task import Regression
from mlops_assets.statistics.estimation import Draw, likely_numbers
from mlops_assets.statistics.metrics import BINS, Array
from mlops_assets.statistics.regression import RegressionSample
from mlops_assets.tasks.task import DecisionChange, Facts, IllegalLabels, Offsets, Task

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)  # of the champion's predictions; the first and the last bound their spread
MIN_FITTED = 100  # rows from which the scale of the errors is learned
MIN_SCALE = 0.2  # of the mean error: a line falls to zero somewhere
MIN_SPREAD = 1e-5  # of the largest prediction: 100 times what the 32 bits of a served one round
DIGITS = 4  # significant ones, in tables for people


class RegressionTask(Task[Regression]):
    """The output has the columns of SCORES, (n, 3)."""

    ACTIVATION = "identity"
    OUTPUT = "prediction"
    CALIBRATES = True
    ANSWER: ClassVar[Mapping[str, Any]] = {
        "prediction": float,
        "low": Annotated[float, Meta(description="The start of the interval that has the declared coverage.")],
        "high": Annotated[float, Meta(description="The end of that interval.")],
    }
    COLUMNS: Mapping[str, pl.DataType] = dict.fromkeys(ANSWER, pl.Float64())
    SCORES = ("prediction", "low", "high")
    SUMMARY = "prediction"
    MEANS = ("mean_label", "mean_prediction")
    LOSS = "absolute error, relative to the spread of predictions,"
    ADDED_IN = "the unit of the label"

    def truth(self, labels: pl.Series) -> Array:
        if not labels.dtype.is_numeric():
            raise IllegalLabels(
                f"label {self.name} · {labels.dtype}; legal: numbers. Return a number from the label's transform."
            )
        numbers = labels.cast(pl.Float64)
        if numbers.is_infinite().any():
            raise IllegalLabels(f"label {self.name} · inf; legal: finite numbers. Return null where the label is not known.")
        return numbers.to_numpy()

    def untrainable(self, truth: Array) -> str:
        values, least = np.unique(truth), _least_rows(self.declared.coverage)
        if np.isnan(truth).any():
            return f"have no number in {self.name!r}. Leave out the rows without a label."
        if len(truth) < least:
            advice = "Widen that part of the split, or land more days."
            return f"are too few: intervals that hold {self.declared.coverage:.0%} of the truths need {least}. {advice}"
        return "" if len(values) > 1 else f"all have {values[0]:g} in {self.name!r}. Widen that part of the split."

    def describe_labels(self, truth: Array) -> str:
        if not len(truth):
            return ""
        return f"with {self.name} from {truth.min():.6g} to {truth.max():.6g}, on average {self._text(truth.mean())}"

    def binarized(self, truth: Array) -> Mapping[str, Array]:
        """Above the median, or at it where it is the largest."""
        median = np.median(truth) if len(truth) else math.nan
        above = truth > median
        return {f"{self.name} above the median": (above if above.any() else truth >= median).astype(np.int8)}

    def are_legal(self, output: Array) -> Array:
        return np.asarray(np.isfinite(output).all(axis=1))

    def is_legal(self, score: Any) -> bool:
        return all(map(math.isfinite, score))

    def reader(self, facts: Facts) -> Callable[[Any], tuple[Any, ...]]:
        return tuple

    def offsets(self, truth: Array, prediction: Array) -> Offsets:
        """By locally weighted split conformal prediction (Lei et al. 2018, https://arxiv.org/abs/1604.04173): half of the rows,
        which the model was not trained on, show how the error grows with the prediction; of the n others the error relative to
        that scale of rank (n + 1) * coverage, rounded up, is on either side. A new row of the same distribution is then inside
        with at least the declared probability. Of few rows all are ranked, with one scale.
        """
        errors, coverage = np.abs(truth - prediction), self.declared.coverage
        is_enough = len(errors) >= 2 * max(MIN_FITTED, _least_rows(coverage))
        line = _learn_scale(errors[::2], prediction[::2]) if is_enough else Offsets(())
        rest = slice(1, None, 2) if line.slope else slice(None)
        ratios = np.sort(errors[rest] / line.scale(prediction[rest]))
        half = float(ratios[_rank(len(ratios), coverage) - 1])
        return line._replace(units=(0.0, -half, half))

    def additive(self, output: Array, score: Any) -> Array:
        return output[:, 0]

    def baseline(self, value: float) -> dict[str, float]:
        return {"baseline_prediction": value}

    def logged(self, rows: pl.DataFrame, prefix: str = "") -> Array:
        return rows.select(pl.col(prefix + name).cast(pl.Float64) for name in self.SCORES).to_numpy()

    def likely_labels(self, truth: Array, output: Array) -> Draw:
        draw = likely_numbers(truth, output[:, 0])
        return lambda output, rng: draw(output[:, 0], rng)

    def sample(self, truth: Array, output: Array, *, bins: int = BINS) -> RegressionSample:
        return RegressionSample(truth, output)

    def means(self, truth: Array, output: Array) -> dict[str, float]:
        return {"mean_label": float(truth.mean()), "mean_prediction": float(output[:, 0].mean())}

    def counts(self, truth: Array) -> dict[str, int]:
        return {}

    def informative_rows(self, part: Mapping[str, Any]) -> int:
        return part["rows"]

    def details(self, truth: Array, output: Array) -> dict[str, Any]:
        """`declared_coverage`, and `errors`: prediction - truth at each of QUANTILES."""
        errors = np.quantile(output[:, 0] - truth, QUANTILES).tolist()
        return {
            "declared_coverage": self.declared.coverage,
            "errors": {f"{share:.0%}": error for share, error in zip(QUANTILES, errors, strict=True)},
        }

    def curves(self, truth: Array, outputs: Mapping[str, Array]) -> dict[str, bytes]:
        from mlops_assets.statistics import plots

        predictions = {role: output[:, 0] for role, output in outputs.items()}
        name = f"{self.name} ({self.declared.unit})" if self.declared.unit else self.name
        return {
            "predicted_and_true": plots.predicted_and_true(truth, predictions, name),
            "residuals": plots.residuals(truth, outputs, name),
            "scores": plots.distributions({"truth": truth, **predictions}, name),
        }

    def pictures(self, details: Mapping[str, Any]) -> dict[str, bytes]:
        return {}

    def report(self, rows: pl.DataFrame, truth: Array, output: Array) -> tuple[Any, Any, pl.DataFrame]:
        from evidently import DataDefinition
        from evidently import Regression as Columns
        from evidently.presets import RegressionPreset

        definition = DataDefinition(regression=[Columns(target=self.name, prediction="prediction")])
        return RegressionPreset(), definition, pl.DataFrame({self.name: truth, "prediction": output[:, 0]})

    def shown(self, output: Array) -> pl.Series:
        return pl.Series(output[:, 0]).round_sig_figs(DIGITS)

    def shown_truth(self, truth: Array) -> pl.Series:
        return pl.Series([*map(self._text, truth)], dtype=pl.String)

    def watched_truth(self, truth: Array) -> pl.Series:
        return pl.Series(truth)

    def facts_of(self, counts: Mapping[str, int], rows: int) -> list[str]:
        return [f"intervals that are to hold {self.declared.coverage:.0%} of {self.name}"]

    def describe(self, logged: Mapping[str, Any]) -> str:
        return f"{self._text(logged['prediction'])}, from {logged['low']:.6g} to {logged['high']:.6g}"

    def changes(self, truth: Array, candidate: Array, champion: Array) -> list[DecisionChange]:
        return []

    def edges(self, champion: Array) -> tuple[float, ...]:
        """QUANTILES of the champion's predictions, in order; 0 without any."""
        known = champion[np.isfinite(champion).all(axis=1), 0]
        return tuple(sorted({*np.quantile(known, QUANTILES, method="nearest").tolist()})) if len(known) else (0.0,)

    def describe_claim(self, place: int, edges: Sequence[float]) -> str:
        return f"{'at or above' if place < len(edges) else 'below'} {self._text(edges[place % len(edges)])}"

    def losses(self, output: Array, truth: Array, edges: Sequence[float]) -> Array:
        """|error| / spread, at most 1: bets need bounded outcomes (Waudby-Smith and Ramdas 2023,
        https://arxiv.org/abs/2010.09686). The spread is that of the champion's predictions, from 5% to 95% of them, which is the
        same for both arms. Without one the error is relative to the truth.
        """
        spread = edges[-1] - edges[0]
        error = np.abs(output[:, 0] - truth)
        scale = np.full_like(error, spread) if spread > 0 else np.abs(truth)
        worst = np.where(error == 0, 0.0, 1.0)  # where the truth is 0
        return np.where(np.isnan(error), np.nan, np.minimum(np.divide(error, scale, out=worst, where=scale > 0), 1))

    def _text(self, number: float) -> str:
        return f"{number:.6g} {self.declared.unit}".rstrip()


def _least_rows(coverage: float) -> int:
    """Of which one has the rank of this coverage."""
    return math.ceil(round(coverage / (1 - coverage), 9))


def _learn_scale(errors: Array, prediction: Array) -> Offsets:
    """The mean error as a line in the prediction, by least squares; no row counts with more than the 95% quantile."""
    if np.ptp(prediction) <= MIN_SPREAD * np.abs(prediction).max():
        return Offsets(())
    errors = np.minimum(errors, np.quantile(errors, 0.95))
    level, center = float(errors.mean()), float(prediction.mean())
    distance = prediction - center
    with np.errstate(all="ignore"):  # of huge predictions
        slope = float(distance @ errors / (distance @ distance))
    return Offsets((), level, slope, center, MIN_SCALE * level) if level > 0 and math.isfinite(slope) else Offsets(())


def _rank(rows: int, coverage: float) -> int:
    """From 1; rounded before, as 20 * 0.95 is 19.000000000000004 or so."""
    return math.ceil(round((rows + 1) * coverage, 9))
