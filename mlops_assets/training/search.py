"""Looking for a better trainer: the home of optuna.

Belongs here: time-ordered folds, the space around a declared trainer, pruning. Not here: training (train.py) and
metrics (metrics.py).
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
import polars as pl

from mlops_assets.spec.training import Lightning, Search, Trainer
from mlops_assets.statistics.metrics import measure
from mlops_assets.training.fitted import TEST, TRAIN, VALIDATION, Examples, Fitted, Progress, UntrainableRows, examples
from mlops_assets.training.train import fit_in_library

FIRST_SHARE = 0.4  # of the rows, in time order, come before the first scored fold
VALIDATION_SHARE = 0.15  # of the rows before a scored fold, the latest, are its validation rows
TRIALS_BEFORE_PRUNING = 4  # a median of fewer says nothing

Score = Callable[[pl.DataFrame, Trainer], float]


@dataclass(frozen=True)
class SearchResult:
    """The best trainer found, and one record per trial: its fields, its AUC per fold, its state."""

    trainer: Trainer
    trials: list[dict[str, Any]]


def search(
    trainer: Trainer,
    search: Search,
    rows: pl.DataFrame,
    *,
    numeric: Sequence[str],
    categorical: Sequence[str],
    label: str,
    progress: Progress,
) -> SearchResult:
    """The trainer with the best mean AUC over `time_folds` of the train rows; validation and test rows are never read.

    The declared trainer is the first trial, so the result is never worse than it on these folds. A trial stops after
    a fold where its mean is below the median of earlier trials. Seeded. Raises UntrainableRows.
    """
    folds = time_folds(rows.filter(pl.col("split") == TRAIN), search.folds)

    def score(fold: pl.DataFrame, tried: Trainer) -> float:
        fitted, signature = fit_in_library(tried, fold, numeric=numeric, categorical=categorical, label=label, progress=_unheard)
        return _auc(fitted, examples(fold.filter(pl.col("split") == TEST), signature, label))

    with _quiet():
        study = _study(search)
        study.enqueue_trial(_declared(trainer))
        study.optimize(
            lambda trial: _try(trial, trainer, folds, score),
            n_trials=search.trials,
            callbacks=[lambda _, trial: progress(_told(trial, search))],
        )
    return SearchResult(trainer.but(**study.best_trial.user_attrs["fields"]), [_record(trial) for trial in study.trials])


def _auc(fitted: Fitted, scored: Examples) -> float:
    found = measure("auc", scored.label, fitted.probability(scored.features))
    if np.isnan(found):
        raise UntrainableRows(
            f"search · all {len(scored)} rows of a scored fold have one label. Declare fewer folds or a longer training window."
        )
    return found


def time_folds(rows: pl.DataFrame, folds: int) -> list[pl.DataFrame]:
    """`folds` training sets with growing windows: train, then validation, then test (what is scored), in time order.

    Every moment of `event_timestamp` falls on one side of each cut, so no row is judged by a model that has seen its
    own moment. Raises UntrainableRows when the rows hold too few moments.
    """
    ordered = rows.sort("event_timestamp", maintain_order=True)
    starts = [_moment(ordered, FIRST_SHARE + (1 - FIRST_SHARE) * index / folds) for index in range(folds)]
    return [_fold(ordered, start, end) for start, end in zip(starts, [*starts[1:], None], strict=True)]


def _fold(ordered: pl.DataFrame, start: Any, end: Any) -> pl.DataFrame:
    moment = pl.col("event_timestamp")
    seen = ordered.filter(moment < start)
    cut = _moment(seen, 1 - VALIDATION_SHARE)
    split = pl.when(moment < cut).then(pl.lit(TRAIN)).when(moment < start).then(pl.lit(VALIDATION)).otherwise(pl.lit(TEST))
    fold = ordered.filter(moment < end if end is not None else pl.lit(True)).with_columns(split=split)
    missing = {TRAIN, VALIDATION, TEST} - set(fold["split"].unique().to_list())
    if missing:
        raise UntrainableRows(
            f"search · a fold has no {', '.join(sorted(missing))} rows: {ordered.height} train rows hold "
            f"{ordered['event_timestamp'].n_unique()} moments. Declare fewer folds or a longer training window."
        )
    return fold


def _moment(ordered: pl.DataFrame, share: float) -> Any:
    if not ordered.height:
        raise UntrainableRows("search · there are no train rows to fold. Declare fewer folds or a longer training window.")
    return ordered["event_timestamp"][int(ordered.height * share)]


def _study(search: Search) -> optuna.Study:
    sampler = optuna.samplers.TPESampler(seed=search.seed)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=TRIALS_BEFORE_PRUNING)
    return optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)


def _try(trial: optuna.Trial, declared: Trainer, folds: list[pl.DataFrame], score: Score) -> float:
    fields = _suggest(trial, declared)
    trial.set_user_attr("fields", fields)
    found: list[float] = []
    for step, fold in enumerate(folds):
        found.append(score(fold, declared.but(**fields)))
        trial.set_user_attr("folds", found)
        trial.report(float(np.mean(found)), step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return float(np.mean(found))


def _suggest(trial: optuna.Trial, declared: Trainer) -> dict[str, Any]:
    """Fields near the declared ones: a declaration is a person's good guess, and the space always contains it."""
    rate = {
        "learning_rate": trial.suggest_float("learning_rate", declared.learning_rate / 4, declared.learning_rate * 4, log=True)
    }
    if isinstance(declared, Lightning):
        width = trial.suggest_categorical("width", [0.5, 1.0, 2.0])
        hidden = tuple(max(1, round(size * width)) for size in declared.hidden)
        return rate | {"hidden": hidden, "dropout": trial.suggest_float("dropout", 0.0, max(0.6, declared.dropout))}
    return rate | {
        "max_iter": _around(trial, "max_iter", declared.max_iter, least=1),
        "max_leaf_nodes": _around(trial, "max_leaf_nodes", declared.max_leaf_nodes, least=2),
        "min_samples_leaf": _around(trial, "min_samples_leaf", declared.min_samples_leaf, least=1),
        "l2_regularization": trial.suggest_float("l2_regularization", 0.0, max(10.0, 2 * declared.l2_regularization)),
    }


def _around(trial: optuna.Trial, name: str, declared: int, *, least: int) -> int:
    return trial.suggest_int(name, max(least, declared // 2), declared * 2, log=True)


def _declared(trainer: Trainer) -> dict[str, Any]:
    """The trial that is the declared trainer itself, in the names of `_suggest`."""
    return trainer.model_dump() | {"width": 1.0}


def _record(trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
    fields: dict[str, Any] = trial.user_attrs["fields"]
    folds: list[float] = trial.user_attrs["folds"]
    return {"trial": trial.number, "state": trial.state.name.lower(), "auc": float(np.mean(folds)), "folds": folds, **fields}


def _told(trial: optuna.trial.FrozenTrial, search: Search) -> str:
    record = _record(trial)
    ending = f"stopped after fold {len(record['folds'])}" if record["state"] == "pruned" else f"{search.folds} folds"
    return f"search · trial {trial.number + 1} of {search.trials} · AUC {record['auc']:.4f} · {ending}"


def _unheard(_line: str) -> None:
    """The epochs of a single trial are noise beside the trials."""


@contextmanager
def _quiet() -> Generator[None]:
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)
