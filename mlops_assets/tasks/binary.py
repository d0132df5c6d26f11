"""Yes or no: one probability for each row."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, cast

import numpy as np
import polars as pl
from msgspec import Meta

from mlops_assets.spec.task import Binary
from mlops_assets.statistics.binary import BinarySample
from mlops_assets.statistics.estimation import Draw, likely_binary
from mlops_assets.statistics.metrics import BINS, Array
from mlops_assets.tasks.task import DecisionChange, Facts, IllegalLabels, Task

MAX_SHOWN = 5  # labels in a message
MIN_PROBABILITY = 1e-7  # the least distance from 1 that 32 bits hold: log-odds of 0 and 1 are infinite
QUARTILES = (0.25, 0.5, 0.75)


class BinaryTask(Task[Binary]):
    ACTIVATION = "sigmoid"
    OUTPUT = "probability"
    ANSWER: ClassVar[Mapping[str, Any]] = {
        "probability": Annotated[float, Meta(ge=0, le=1)],
        "decision": Annotated[bool, Meta(description="The probability reaches the declared threshold.")],
    }
    COLUMNS: Mapping[str, pl.DataType] = {"probability": pl.Float64(), "decision": pl.Boolean()}
    SCORES = ("probability",)
    SUMMARY = "probability"
    MEANS = ("label_rate", "mean_probability")
    LOSS = "Brier score"
    ADDED_IN = "log-odds of yes"

    def truth(self, labels: pl.Series) -> Array:
        if (positive := self.declared.positive) is not None:
            if labels.dtype == pl.Boolean():
                positive, labels = int(str(positive).lower() in ("true", "1")), labels.cast(pl.Int8)
            is_number = labels.dtype.is_numeric() and isinstance(positive, int)
            hits = labels == positive if is_number else labels.cast(pl.String) == str(positive)
            return hits.cast(pl.Float32).to_numpy()
        try:
            return labels.cast(pl.Float32).to_numpy()
        except pl.exceptions.PolarsError:
            values = ", ".join(map(repr, labels.unique().sort().head(MAX_SHOWN)))
            raise IllegalLabels(f"label {self.name} · {values}; legal: 0 and 1. Declare which one is Binary.positive.") from None

    def untrainable(self, truth: Array) -> str:
        values = np.unique(truth)
        if values.tolist() == [0, 1]:
            return ""
        others = f" and {len(values) - MAX_SHOWN} others" * (len(values) > MAX_SHOWN)
        return f"have the labels {values[:MAX_SHOWN].tolist()}{others} in {self.name!r}; needed: both 0 and 1. {_advise(values)}"

    def describe_labels(self, truth: Array) -> str:
        return f"of which {np.mean(truth) if len(truth) else 0:.1%} have {self.name}"

    def label_means(self, truth: Array) -> dict[str, float]:
        return {"label_rate": float(truth.mean()) if len(truth) else 0.0}

    def binarized(self, truth: Array) -> Mapping[str, Array]:
        return {self.name: truth}

    def are_legal(self, output: Array) -> Array:
        return (output >= 0) & (output <= 1)  # False for NaN

    def is_legal(self, score: Any) -> bool:
        return 0.0 <= score <= 1.0

    def reader(self, facts: Facts) -> Callable[[Any], tuple[Any, ...]]:
        threshold = self.declared.threshold
        return lambda score: (score, score >= threshold)

    def additive(self, output: Array, score: Any) -> Array:
        return log_odds(output)

    def baseline(self, value: float) -> dict[str, float]:
        return {"baseline_probability": 1 / (1 + math.exp(-value))}

    def likely_labels(self, truth: Array, output: Array) -> Draw:
        return likely_binary(truth, output)

    def decisions(self, output: Array) -> Array:
        return output >= self.declared.threshold

    def sample(self, truth: Array, output: Array, *, bins: int = BINS) -> BinarySample:
        return BinarySample(truth, output, bins=bins)

    def means(self, truth: Array, output: Array) -> dict[str, float]:
        return {"label_rate": float(truth.mean()), "mean_probability": float(output.mean())}

    def counts(self, truth: Array) -> dict[str, int]:
        return {"positives": int(truth.sum())}

    def informative_rows(self, part: Mapping[str, Any]) -> int:
        return min(part["positives"], part["rows"] - part["positives"])

    def details(self, truth: Array, output: Array) -> dict[str, Any]:
        """`threshold`, `confusion` at it, and `calibration`: mean_probability, share, rows of each equal-count bin."""
        threshold = self.declared.threshold
        return {
            "threshold": threshold,
            "confusion": confusion_matrix(truth, output, threshold),
            "calibration": calibration_table(truth, output),
        }

    def cells(self, details: Mapping[str, Any]) -> Mapping[str, tuple[int, int]]:
        cells: Mapping[str, int] = details["confusion"]
        missed, alarms = cells["false_negative"], cells["false_positive"]
        return {
            f"{self.name}, decided not": (missed, missed + cells["true_positive"]),
            f"not {self.name}, decided {self.name}": (alarms, alarms + cells["true_negative"]),
        }

    def curves(self, truth: Array, outputs: Mapping[str, Array]) -> dict[str, bytes]:
        from mlops_assets.statistics import plots

        tallies = {role: self.sample(truth, output).tally() for role, output in outputs.items()}
        return {
            "roc": plots.roc_curve(tallies),
            "reliability": plots.reliability(tallies),
            "scores": plots.score_distribution(outputs, self.declared.threshold),
        }

    def pictures(self, details: Mapping[str, Any]) -> dict[str, bytes]:
        from mlops_assets.statistics import plots

        cells: Mapping[str, int] = details["confusion"]
        counts = [[cells["true_negative"], cells["false_positive"]], [cells["false_negative"], cells["true_positive"]]]
        return {"confusion": plots.confusion(np.array(counts), ("no", "yes"))}

    def report(self, rows: pl.DataFrame, truth: Array, output: Array) -> tuple[Any, Any, pl.DataFrame]:
        from evidently import BinaryClassification, DataDefinition
        from evidently.presets import ClassificationQuality

        task: Any = BinaryClassification(target=self.name, prediction_probas="probability", pos_label=cast(Any, 1))
        definition = DataDefinition(classification=[task], numerical_columns=["probability"])
        options: dict[str, Any] = {"conf_matrix": True, "pr_curve": True, "pr_table": True}
        preset = ClassificationQuality(probas_threshold=self.declared.threshold, **options)
        return preset, definition, pl.DataFrame({self.name: truth.astype(np.int8), "probability": output})

    def shown(self, output: Array) -> pl.Series:
        return pl.Series(output).round(2)

    def shown_truth(self, truth: Array) -> pl.Series:
        return pl.Series([self.name if value else f"not {self.name}" for value in truth], dtype=pl.String)

    def facts_of(self, counts: Mapping[str, int], rows: int) -> list[str]:
        return [f"{counts['positives'] / rows:.1%} {self.name}", f"decided {self.name} from {self.declared.threshold:g}"]

    def describe(self, logged: Mapping[str, Any]) -> str:
        return f"{logged['probability']:.6g}, decision {'yes' if logged['decision'] else 'no'}"

    def changes(self, truth: Array, candidate: Array, champion: Array) -> list[DecisionChange]:
        now, before = self.decisions(candidate), self.decisions(champion)
        changed = {yes: (now == yes) & (before != yes) for yes in (True, False)}
        names = {True: self.name, False: f"not {self.name}"}
        return [DecisionChange(names[yes], int(hit.sum()), int((hit & (truth == yes)).sum())) for yes, hit in changed.items()]

    def edges(self, champion: Array) -> tuple[float, ...]:
        """The quartiles of the champion's scores and the threshold, in order."""
        quartiles = np.quantile(champion, QUARTILES, method="nearest") if len(champion) else ()
        return tuple(sorted({self.declared.threshold, *map(float, quartiles)}))

    def losses(self, output: Array, truth: Array, edges: Sequence[float]) -> Array:
        return (output - truth) ** 2


def log_odds(probability: Array) -> Array:
    """Of probabilities kept MIN_PROBABILITY away from 0 and 1."""
    kept = np.clip(probability, MIN_PROBABILITY, 1 - MIN_PROBABILITY)
    return np.log(kept / (1 - kept))


def confusion_matrix(truth: Array, probability: Array, threshold: float) -> dict[str, int]:
    """Rows by truth and decision; a probability of exactly `threshold` decides yes."""
    yes, positive = probability >= threshold, truth == 1
    cells = {"true_positive": yes & positive, "false_positive": yes & ~positive, "false_negative": ~yes & positive}
    return {name: int(cell.sum()) for name, cell in (cells | {"true_negative": ~yes & ~positive}).items()}


def calibration_table(truth: Array, probability: Array) -> list[dict[str, Any]]:
    """Mean probability, share of positives and rows of each equal-count bin, rising."""
    bins = zip(*BinarySample(truth, probability).tally().calibration(), strict=True)
    return [{"mean_probability": float(mean), "share": float(share), "rows": int(rows)} for mean, share, rows in bins]


def _advise(labels: Array) -> str:
    if any(map(math.isnan, labels)):
        return "Leave out the rows without a label."
    if not np.isin(labels, (0, 1)).all():
        return "Return 0 or 1 from the label's transform, or declare Binary.positive."
    if not len(labels):
        return "Land more days, widen that split, or set split.label_delay if labels become known after that split ends."
    return "Widen that part of the split."
