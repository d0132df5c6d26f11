"""Judges NoLeak: the candidate reads the label, or facts known only after the prediction. Three signs show it."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import polars as pl

from mlops_assets.evaluation.gates.case import Case, Measurement, side
from mlops_assets.foundation.names import EVENT_TIMESTAMP, KNOWN_AT
from mlops_assets.spec.feature import Label
from mlops_assets.spec.gate import NoLeak
from mlops_assets.spec.task import Binary
from mlops_assets.spec.training import HistGradientBoosting
from mlops_assets.statistics.alone import FEWEST, samples_alone
from mlops_assets.statistics.binary import BinarySample
from mlops_assets.statistics.metrics import Array, Interval, compare, interval, measure
from mlops_assets.tasks.binary import BinaryTask
from mlops_assets.training.fitted import TEST, TRAIN, VALIDATION
from mlops_assets.training.signature import Columns, Signature
from mlops_assets.training.splits import split_of
from mlops_assets.training.train import fit_in_library

MOST_ROWS = 20_000
QUICK = HistGradientBoosting(max_iter=60, learning_rate=0.1, min_samples_leaf=50)
BLIND = 0.5  # the auc of an input without information


class SplitGap(NamedTuple):
    """auc on the same rows after training on `random` ones and on those of the declared split (`by_time`), and the gap."""

    random: float
    by_time: float
    gap: float
    low: float
    high: float
    rows: int


class NewerFeatures(NamedTuple):
    """The share of `rows` with a timestamp newer than allowed; `features` names the event times of features that were read."""

    share: float
    rows: int
    features: tuple[str, ...]

    def sentence(self) -> str:
        share = f"{self.share:.2%} of {self.rows:,} rows have" if self.share else "no row has"
        unchecked = "by known_at; the rows have no event times of single features, so these were not checked"
        by = f"(by {', '.join(self.features)})" if self.features else unchecked
        return f"{share} a feature newer than the prediction or the label {by}"


class _Sign(NamedTuple):
    """One sign of a leak: `used` is the used part of the bound, above 1 for a leak; nan when undefined."""

    used: Interval
    message: str
    advice: str


def judge(gate: NoLeak, case: Case) -> Measurement:
    """Measures the largest used part of three bounds, so that more than 1 is a leak. nan, and no pass, where rows of one class
    leave a part undefined. The interval is that of the largest part. Of one input: (auc - 0.5) / (max_single_auc - 0.5). Of the
    splits, unless the declared one is random: (auc of the random split - auc of the declared split) / max_split_gap. Of moments:
    0, or 1 + the share of rows with a newer feature.
    """
    signature, label = case.model.signature, case.use_case.label.name
    alone = explain_alone(case.rows, signature, case.task.binarized(case.truth).values(), seed=case.seed)
    truth = next(iter(case.task.binarized(case.task.truth(case.training_rows[label])).values()))
    split, rows = split_of(case.use_case), case.training_rows.with_columns(pl.Series(label, truth, dtype=pl.Int8))
    gap = None if split.is_at_random else split_gap(rows, signature, case.use_case.label, seed=case.seed)
    newer = newer_features(case.training_rows)
    signs = [_single_input(gate, alone), _easier_split(gate, gap, split.how), _newer_features(newer)]
    leaking = [sign for sign in signs if not sign.used.value <= 1]  # nan is no pass
    return Measurement(
        passed=not leaking,
        value=max((sign.used for sign in signs), key=lambda used: math.inf if math.isnan(used.value) else used.value),
        bound=1.0,
        message="; ".join(sign.message for sign in leaking or signs),
        advice=" ".join(sign.advice for sign in leaking),
        evidence={
            "inputs": {name: auc.value for name, auc in alone.items()},
            "splits": gap._asdict() if gap else {},
            "moments": newer._asdict(),
        },
    )


def _single_input(gate: NoLeak, alone: dict[str, Interval]) -> _Sign:
    name, auc = next(iter(alone.items()))
    used = Interval(*((value - BLIND) / (gate.max_single_auc - BLIND) for value in (auc.value, auc.low, auc.high)))
    message = f"{name} alone has auc {auc.value:.3f}, which {side(auc.value, gate.max_single_auc)} {gate.max_single_auc:g}"
    advice = f"Is {name} known at the moment of the prediction? If not, leave it out; if so, raise max_single_auc."
    undefined = f"no input could be tried alone: {FEWEST} test rows of each class are needed", "Widen split.test."
    return _Sign(used, *(undefined if math.isnan(auc.value) else (message, advice)))


def _easier_split(gate: NoLeak, gap: SplitGap | None, how: str) -> _Sign:
    if gap is None:
        return _Sign(Interval(0.0, 0.0, 0.0), "the declared split is at random, so that none is easier", "")
    used = Interval(*(value / gate.max_split_gap for value in (gap.gap, gap.low, gap.high)))
    message = f"a random split has auc {gap.random:.3f}, the split {how} {gap.by_time:.3f}: a gap of {gap.gap:+.3f}"
    message += f", which {side(gap.gap, gate.max_split_gap)} {gate.max_split_gap:g}"
    advice = "Rows of one moment resemble each other: look for an input that identifies the day or the group of a row."
    undefined = f"the splits could not be compared: every part needs {FEWEST} rows of each class", "Widen split.test."
    return _Sign(used, *(undefined if math.isnan(gap.gap) else (message, advice)))


def _newer_features(newer: NewerFeatures) -> _Sign:
    late = 1 + newer.share if newer.share else 0.0
    advice = "Join features as of event_timestamp, and use only labels that become known after it."
    return _Sign(Interval(late, late, late), newer.sentence(), advice)


def explain_alone(rows: pl.DataFrame, signature: Signature, truths: Iterable[Array], *, seed: int) -> dict[str, Interval]:
    """The auc of each input by itself (statistics/alone.py), from 0.5 (no information), largest first; nan without FEWEST rows of
    both classes. Of several `truths`, that of the question which the input answers best.
    """
    best: dict[str, Interval] = {}
    for truth in truths:
        samples = samples_alone(rows, truth, numeric=signature.numeric, categorical=[*signature.categories], seed=seed)
        aucs = {name: interval("auc", sample, seed=seed, resamples=100) for name, sample in samples.items()}
        best |= {name: auc for name, auc in aucs.items() if name not in best or not best[name].value >= np.nan_to_num(auc.value)}
    return dict(sorted(best.items(), key=lambda one: (-np.nan_to_num(one[1].value), one[0])))


def split_gap(rows: pl.DataFrame, signature: Signature, label: Label, *, seed: int) -> SplitGap:
    """How much better a quick model is when it is also trained on the test window, on the same rows and on as many. Half of the
    test rows are scored. One model is trained on the rows before the test window, the other on as many drawn at random from these
    and the other half; together at most MOST_ROWS. nan where a part does not have FEWEST of both classes.
    """
    shuffled = rows.sample(fraction=1, shuffle=True, seed=seed)
    earlier, test = shuffled.filter(pl.col("split") != TEST), shuffled.filter(pl.col("split") == TEST)
    size = min(len(earlier), MOST_ROWS * 3 // 4)
    scored, other = test[: len(test) // 2][: MOST_ROWS // 4], test[len(test) // 2 :]
    training = (pl.concat([earlier, other]).sample(size, shuffle=True, seed=seed), earlier[:size])
    fewest = min(min((part[label.name] == 1).sum(), (part[label.name] != 1).sum()) for part in (*training, scored))
    if fewest < FEWEST:
        return SplitGap(*[float("nan")] * 5, rows=len(scored))
    truth = scored[label.name].cast(pl.Int8).to_numpy()
    random, by_time = (BinarySample(truth, _scores(part, scored, signature, label)) for part in training)
    gap = compare("auc", random, by_time, seed=seed, resamples=200, confidence=0.975)
    aucs = measure("auc", random), measure("auc", by_time)
    return SplitGap(*aucs, gap=gap.difference, low=gap.low, high=gap.high, rows=len(scored))


def _scores(training: pl.DataFrame, scored: pl.DataFrame, signature: Signature, label: Label) -> Array:
    # The trainer reads train and validation rows together and needs both.
    split = pl.when(pl.int_range(pl.len()) % 2 == 0).then(pl.lit(TRAIN)).otherwise(pl.lit(VALIDATION))
    parts = training.with_columns(split=split)
    columns: Columns = {
        "numeric": signature.numeric,
        "categorical": [*signature.categories],
        "label": label.name,
        "task": BinaryTask(Binary(label=label)),
    }
    model, learned = fit_in_library(QUICK, parts, **columns)
    return model.predict(learned.encode(scored))


def newer_features(rows: pl.DataFrame) -> NewerFeatures:
    """Compares every other column `*_timestamp`, the event times of features, with prediction (`event_timestamp`) and label
    (`known_at`, where the rows have it). A label known before its prediction may have been in any feature.
    """
    features = tuple(name for name in rows.columns if name.endswith("_timestamp") and name != EVENT_TIMESTAMP)
    known = [KNOWN_AT] if KNOWN_AT in rows.columns else []
    newer = [pl.col(name) > pl.min_horizontal(EVENT_TIMESTAMP, *known) for name in features]
    newer += [pl.col(EVENT_TIMESTAMP) > pl.col(name) for name in known]
    hit = rows.select(pl.any_horizontal(pl.lit(False), *newer).fill_null(False)).to_series()
    return NewerFeatures(float(hit.to_numpy().mean()) if newer else 0.0, len(rows), features)
