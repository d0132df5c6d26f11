"""Searches for a better trainer near the declared one with optuna, over folds of the train rows as their split makes them."""

from typing import Any, Unpack

import numpy as np
import optuna
import polars as pl

from mlops_assets.spec.gate import LOWER_IS_BETTER
from mlops_assets.spec.training import Range, Search, Space, Trainer
from mlops_assets.statistics.metrics import measure
from mlops_assets.training.fitted import TEST, TRAIN, Progress, examples
from mlops_assets.training.signature import Columns
from mlops_assets.training.splits.split import Split, untrainable_fold
from mlops_assets.training.train import fit_in_library

TRIALS_BEFORE_PRUNING = 4  # a median of fewer trials is too noisy
optuna.logging.set_verbosity(optuna.logging.WARNING)


def search(
    trainer: Trainer, search: Search, rows: pl.DataFrame, *, split: Split[Any], progress: Progress, **columns: Unpack[Columns]
) -> tuple[Trainer, list[dict[str, Any]]]:
    """The trainer with the best mean of the task's main metric over the split's folds of the train rows; validation and test rows
    are never read. With it one record per trial: its fields, its metric per fold, its state.

    The declared trainer is the first trial, so the result is never worse than it on these folds. A trial stops after
    a fold where its mean is below the median of earlier trials. Seeded. Raises UntrainableRows.
    """
    folds = split.folds(rows.filter(pl.col("split") == TRAIN), search.folds)
    metric, space = columns["task"].main_metric, trainer.space()

    def score(trial: optuna.Trial) -> float:
        fields = {name: _suggest(trial, name, span) for name, span in space.items()}
        trial.set_user_attr("fields", fields)
        values: list[float] = []
        for step, fold in enumerate(folds):
            values.append(_measure(trainer.with_values(fields), fold, **columns))
            trial.set_user_attr("folds", values)
            trial.report(float(np.mean(values)), step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return float(np.mean(values))

    study = optuna.create_study(
        direction="minimize" if metric in LOWER_IS_BETTER else "maximize",
        sampler=optuna.samplers.TPESampler(seed=search.seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=TRIALS_BEFORE_PRUNING),
    )
    study.enqueue_trial(_declared(trainer, space))
    study.optimize(score, search.trials, callbacks=[lambda _, trial: progress(_line(_record(trial, metric), metric, search))])
    return trainer.with_values(study.best_trial.user_attrs["fields"]), [_record(trial, metric) for trial in study.trials]


def _measure(trainer: Trainer, fold: pl.DataFrame, **columns: Unpack[Columns]) -> float:
    fitted, signature = fit_in_library(trainer, fold, **columns)
    task = columns["task"]
    scored = examples(fold.filter(pl.col("split") == TEST), signature, task=task, label=columns["label"])
    value = measure(task.main_metric, task.sample(scored.label, fitted.predict(scored.features)))
    if np.isnan(value):
        raise untrainable_fold(
            f"{task.main_metric} is undefined on the {len(scored)} rows of a scored fold, which have one label"
        )
    return value


def _suggest(trial: optuna.Trial, name: str, span: Range | tuple[Any, ...]) -> Any:
    if isinstance(span, tuple):
        return span[trial.suggest_categorical(name, range(len(span)))]  # by place: optuna stores plain values only
    if isinstance(span.low, int) and isinstance(span.high, int):
        return trial.suggest_int(name, span.low, span.high, log=span.log)
    return trial.suggest_float(name, span.low, span.high, log=span.log)


def _declared(trainer: Trainer, space: Space) -> dict[str, Any]:
    """What `_suggest` is to draw in the first trial."""
    values = {name: trainer.value(name) for name in space}
    return {name: span.index(values[name]) if isinstance(span, tuple) else values[name] for name, span in space.items()}


def _record(trial: optuna.trial.FrozenTrial, metric: str) -> dict[str, Any]:
    fields: dict[str, Any] = trial.user_attrs["fields"]
    folds: list[float] = trial.user_attrs["folds"]
    return {"trial": trial.number, "state": trial.state.name.lower(), metric: float(np.mean(folds)), "folds": folds, **fields}


def _line(record: dict[str, Any], metric: str, search: Search) -> str:
    ending = f"stopped after fold {len(record['folds'])}" if record["state"] == "pruned" else f"{search.folds} folds"
    return f"search · trial {record['trial'] + 1} of {search.trials} · {metric} {record[metric]:.4f} · {ending}"
