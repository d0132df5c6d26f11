"""One of several classes: a probability of each for every row."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self, cast

import numpy as np
import polars as pl
from msgspec import Meta

from mlops_assets.spec.task import Multiclass
from mlops_assets.statistics.estimation import Draw, likely_classes
from mlops_assets.statistics.metrics import BINS, Array
from mlops_assets.statistics.multiclass import MulticlassSample, half_brier
from mlops_assets.tasks.binary import calibration_table, log_odds
from mlops_assets.tasks.task import DecisionChange, Facts, IllegalLabels, Task

MAX_SHOWN = 5  # classes or labels in a sentence
MAX_ROUNDING = 1e-3  # of the sum of a row's probabilities, which are 32-bit numbers
CLASSES = "classes"


class MulticlassTask(Task[Multiclass]):
    """A version records its classes, and its answers are read by these. Where another version is compared with the declared
    classes, one that it does not know has the probability 0.
    """

    ACTIVATION = "softmax"
    OUTPUT = "probability"
    ANSWER: ClassVar[Mapping[str, Any]] = {
        "decision": Annotated[str, Meta(description="The class with the highest probability.")],
        "probabilities": Annotated[dict[str, float], Meta(description="The probability of each class, by its name.")],
    }
    SCORES = ("probabilities",)
    SUMMARY = "decision"
    MEANS = ("share_right", "mean_confidence")
    LOSS = "Brier score"
    ADDED_IN = "log-odds of the decided class"

    def __init__(self, declared: Multiclass) -> None:
        super().__init__(declared)
        self.classes = tuple(map(str, declared.classes))
        self.COLUMNS = {"decision": pl.String(), "probabilities": pl.Struct(dict.fromkeys(self.classes, pl.Float64()))}

    @property
    def outputs(self) -> int:
        return len(self.classes)

    @property
    def facts(self) -> Facts:
        return {CLASSES: [*self.classes]}

    def as_trained(self, facts: Facts) -> Self:
        return type(self)(self.declared.but(classes=facts.get(CLASSES, self.declared.classes)))

    def aligned(self, output: Array, facts: Facts) -> Array:
        columns = dict(zip(facts[CLASSES], output.T, strict=True))
        return np.stack([columns.get(name, np.zeros(len(output))) for name in self.classes], axis=1)

    def truth(self, labels: pl.Series) -> Array:
        """The place of each label among the classes. Whole numbers may be stored as text or float."""
        whole = labels.cast(pl.Int64, strict=False) if labels.dtype.is_float() else labels
        texts = (whole if (whole == labels).all() else labels).cast(pl.String)
        places = texts.replace_strict(
            {name: place for place, name in enumerate(self.classes)}, default=None, return_dtype=pl.Int64
        )
        if places.null_count():
            illegal = labels.filter(places.is_null()).unique(maintain_order=True)
            more = f" and {len(illegal) - MAX_SHOWN} others" * (len(illegal) > MAX_SHOWN)
            found = f"{', '.join(map(repr, illegal.head(MAX_SHOWN)))}{more}"
            legal = f"legal: {', '.join(self.classes)}. Correct the labels, or declare their classes in Multiclass.classes."
            raise IllegalLabels(f"label {self.name} · {found}; {legal}")
        return places.to_numpy()

    def untrainable(self, truth: Array) -> str:
        if not (missing := [name for name, count in self._counted(truth) if not count]):
            return ""
        longer = "Land more days, widen that split, or set split.label_delay if labels become known after that split ends."
        advice = "Widen that part of the split." if len(truth) else longer
        return f"have no {', '.join(missing)} in {self.name!r}; needed: rows of every class. {advice}"

    def describe_labels(self, truth: Array) -> str:
        return f"of which {', '.join(self._shares(dict(self._counted(truth)), len(truth)))} in {self.name}"

    def label_means(self, truth: Array) -> dict[str, float]:
        return {f"share_{name}": count / max(len(truth), 1) for name, count in self._counted(truth)}

    def binarized(self, truth: Array) -> Mapping[str, Array]:
        """Each class against the rest, the most even question first."""
        evenness = {name: -min(count, len(truth) - count) for name, count in self._counted(truth)}
        return {name: (truth == self.classes.index(name)).astype(np.int8) for name in sorted(evenness, key=evenness.__getitem__)}

    def are_legal(self, output: Array) -> Array:
        return (output >= 0).all(axis=1) & (np.abs(output.sum(axis=1) - 1) <= MAX_ROUNDING)  # False for NaN

    def is_legal(self, score: Any) -> bool:
        # A version of another task may have one number.
        if not isinstance(score, list):
            return False
        numbers = cast(list[float], score)
        return min(numbers) >= 0.0 and abs(sum(numbers) - 1) <= MAX_ROUNDING

    def reader(self, facts: Facts) -> Callable[[Any], tuple[Any, ...]]:
        classes: tuple[str, ...] = tuple(facts.get(CLASSES, self.classes))

        def read(score: list[float]) -> tuple[str, dict[str, float]]:
            return classes[score.index(max(score))], dict(zip(classes, score, strict=True))

        return read

    def additive(self, output: Array, score: Any) -> Array:
        """Log-odds of the decided class."""
        return log_odds(output[:, int(np.argmax(score))])

    def baseline(self, value: float) -> dict[str, float]:
        return {"baseline_probability": 1 / (1 + math.exp(-value))}

    def logged(self, rows: pl.DataFrame, prefix: str = "") -> Array:
        column = rows[prefix + self.SCORES[0]]
        known = column.struct.unnest()
        output = known.select(
            (pl.col(name) if name in known.columns else pl.lit(0.0)).cast(pl.Float64).fill_null(0.0).alias(name)
            for name in self.classes
        ).to_numpy()
        return np.where(column.is_null().to_numpy()[:, None], np.nan, output)

    def likely_labels(self, truth: Array, output: Array) -> Draw:
        return likely_classes(truth, output)

    def sample(self, truth: Array, output: Array, *, bins: int = BINS) -> MulticlassSample:
        return MulticlassSample(truth, output, bins=bins)

    def means(self, truth: Array, output: Array) -> dict[str, float]:
        right, confidence = _top(truth, output)
        return {"share_right": float(right.mean()), "mean_confidence": float(confidence.mean())}

    def counts(self, truth: Array) -> dict[str, int]:
        return {_counter(name): count for name, count in self._counted(truth)}

    def informative_rows(self, part: Mapping[str, Any]) -> int:
        return part["rows"] - max(part[_counter(name)] for name in self.classes)

    def details(self, truth: Array, output: Array) -> dict[str, Any]:
        """`confusion`, rows by truth and decision in the order of `by_class`; `calibration` of the decided class."""
        cells = self.sample(truth, output).confusion()
        right, true, decided = np.diagonal(cells), cells.sum(axis=1), cells.sum(axis=0)
        measured = {
            "rows": true,
            "decided": decided,
            "precision": right / np.maximum(decided, 1),
            "recall": right / np.maximum(true, 1),
            "f1": 2 * right / np.maximum(true + decided, 1),
        }
        return {
            "confusion": cells.tolist(),
            "by_class": [
                {"class": name} | {key: values[place].item() for key, values in measured.items()}
                for place, name in enumerate(self.classes)
            ],
            "calibration": calibration_table(*_top(truth, output)),
        }

    def cells(self, details: Mapping[str, Any]) -> Mapping[str, tuple[int, int]]:
        """By the classes of the details, which may be those of an earlier version."""
        classes = [part["class"] for part in details["by_class"]]
        rows = zip(classes, details["confusion"], strict=True)
        return {
            f"{true}, decided {decided}": (count, sum(counts))
            for true, counts in rows
            for decided, count in zip(classes, counts, strict=True)
            if decided != true
        }

    def curves(self, truth: Array, outputs: Mapping[str, Array]) -> dict[str, bytes]:
        from mlops_assets.statistics import plots

        samples = {role: self.sample(truth, output) for role, output in outputs.items()}
        recalls = {role: np.diagonal(one.confusion()) / np.maximum(np.bincount(truth, minlength=self.outputs), 1)
                   for role, one in samples.items()}  # fmt: skip
        return {
            "reliability": plots.reliability({role: one.top.tally() for role, one in samples.items()}),
            "recall": plots.recall_bars(self.classes, recalls),
        }

    def pictures(self, details: Mapping[str, Any]) -> dict[str, bytes]:
        from mlops_assets.statistics import plots

        return {"confusion": plots.confusion(np.array(details["confusion"]), self.classes)}

    def report(self, rows: pl.DataFrame, truth: Array, output: Array) -> tuple[Any, Any, pl.DataFrame]:
        from evidently import DataDefinition, MulticlassClassification
        from evidently.presets import ClassificationQuality

        true, classes = f"true {self.name}", [*self.classes]
        task: Any = MulticlassClassification(target=true, prediction_probas=classes)
        definition = DataDefinition(classification=[task], categorical_columns=[true], numerical_columns=classes)
        columns = pl.DataFrame({true: self.shown_truth(truth), **dict(zip(classes, output.T, strict=True))})
        return ClassificationQuality(conf_matrix=True), definition, columns

    def shown(self, output: Array) -> pl.Series:
        pairs = zip(self._names(output.argmax(axis=1)), output.max(axis=1), strict=True)
        return pl.Series([f"{name} {confidence:.2f}" for name, confidence in pairs], dtype=pl.String)

    def shown_truth(self, truth: Array) -> pl.Series:
        return pl.Series(self._names(truth), dtype=pl.String)

    def facts_of(self, counts: Mapping[str, int], rows: int) -> list[str]:
        return self._shares({name: counts[_counter(name)] for name in self.classes}, rows)

    def describe(self, logged: Mapping[str, Any]) -> str:
        decision, probabilities = logged["decision"], logged["probabilities"]
        return f"{decision} with probability {probabilities.get(decision) or 0.0:.6g}"

    def changes(self, truth: Array, candidate: Array, champion: Array) -> list[DecisionChange]:
        now, before = candidate.argmax(axis=1), champion.argmax(axis=1)
        hits = [(now == place) & (before != place) for place in range(self.outputs)]
        right = [hit & (truth == place) for place, hit in enumerate(hits)]
        return [DecisionChange(*one) for one in zip(self.classes, map(_count, hits), map(_count, right), strict=True)]

    def edges(self, champion: Array) -> tuple[float, ...]:
        """The places of the classes: a class that is appended during a rollout adds no claim."""
        return tuple(map(float, range(self.outputs)))

    def claims(self, rows: pl.DataFrame, edges: Sequence[float], prefix: str = "") -> list[pl.Expr]:
        """Of each class: it is decided."""
        output = self.logged(rows, prefix)
        known, decided = ~np.isnan(output).any(axis=1), output.argmax(axis=1)
        return [pl.lit(pl.Series(np.where(known, decided == place, np.nan), nan_to_null=True)) for place in edges]

    def describe_claim(self, place: int, edges: Sequence[float]) -> str:
        return f"decided {self.classes[place]}"

    def losses(self, output: Array, truth: Array, edges: Sequence[float]) -> Array:
        return half_brier(truth, output)

    def _counted(self, truth: Array) -> list[tuple[str, int]]:
        counts = np.bincount(truth.astype(np.int64), minlength=self.outputs).tolist()
        return list(zip(self.classes, counts, strict=True))

    def _names(self, places: Array) -> list[str]:
        return [self.classes[place] for place in places.astype(np.int64)]

    def _shares(self, counts: Mapping[str, int], rows: int) -> list[str]:
        """The most frequent first."""
        frequent = sorted(counts, key=counts.__getitem__, reverse=True)
        shown = [f"{counts[name] / max(rows, 1):.1%} {name}" for name in frequent[:MAX_SHOWN]]
        return shown + [f"{len(frequent) - MAX_SHOWN} other classes"] * (len(frequent) > MAX_SHOWN)


def _count(hits: Array) -> int:
    return int(hits.sum())


def _counter(name: str) -> str:
    """The key of a class's rows in the evidence, apart from other keys."""
    return f"rows_of_{name}"


def _top(truth: Array, output: Array) -> tuple[Array, Array]:
    """Whether each decision is right, and the probability of the decided class."""
    return (output.argmax(axis=1) == truth).astype(np.int8), output.max(axis=1)
