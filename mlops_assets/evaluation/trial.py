"""Trains a quick model on the rows of a use case and judges it, in this process: nothing is stored or registered."""

import math
from dataclasses import dataclass
from time import perf_counter

import polars as pl
from threadpoolctl import threadpool_limits

from mlops_assets.evaluation.blind_answer import answer_blind, describe_little
from mlops_assets.evaluation.evaluate import Evaluation, evaluate, permutation_importance
from mlops_assets.evaluation.gates.case import Case, Verdict
from mlops_assets.evaluation.judge import judge
from mlops_assets.foundation.names import SEED
from mlops_assets.inspection.inspected import Inspected
from mlops_assets.inspection.suspicious_rows import find_unlabelled, find_untrainable
from mlops_assets.spec.training import Trainer
from mlops_assets.training.fitted import TEST, TRAIN, VALIDATION, UntrainableRows
from mlops_assets.training.onnx_model import OnnxModel
from mlops_assets.training.train import fit, training_columns
from mlops_assets.training.training_record import TRAIN_SECONDS, in_training_order

MOST_ROWS = {TRAIN: 20_000, VALIDATION: 5_000, TEST: 10_000}
MOST_STEPS = {"max_iter": 100, "max_iterations": 100, "max_epochs": 3}  # fields of a trainer


@dataclass(frozen=True)
class Trial:
    """`evaluation` has the model's metrics on the test rows, and as `reference` those of the best answer that reads no input.
    `rows` are those that it was trained on, and `warning` says where it has learned little.
    """

    trainer: Trainer
    rows: int
    seconds: float
    evaluation: Evaluation
    verdicts: tuple[Verdict, ...]
    warning: str

    def shortened(self, declared: Trainer) -> dict[str, tuple[int, int]]:
        """The steps of this model and of the declared one, by field, where they differ."""
        steps = {name: (getattr(self.trainer, name, 0), getattr(declared, name, 0)) for name in MOST_STEPS}
        return {name: (quick, full) for name, (quick, full) in steps.items() if quick != full}

    @property
    def judged(self) -> list[Verdict]:
        return [verdict for verdict in self.verdicts if not (verdict.passed and math.isnan(verdict.measured))]

    @property
    def not_judged(self) -> list[Verdict]:
        """The gates that need a champion or served answers."""
        return [verdict for verdict in self.verdicts if verdict not in self.judged]


# As evaluate_candidate.
@threadpool_limits.wrap(limits=1, user_api="blas")
def run_trial(data: Inspected) -> Trial:
    """Raises UntrainableRows, UnreadableRows, UnusableTrainer."""
    use_case, label, task = data.use_case, data.label, data.task
    rows, trainer, started = _bounded(data), _quick(data.use_case.trainer), perf_counter()
    model = fit(trainer, rows, **training_columns(use_case))
    seconds, test, onnx = perf_counter() - started, rows.filter(pl.col("split") == TEST), OnnxModel.from_bytes(model.onnx)
    truth, output, blind = task.truth(test[label]), onnx.predict(test), answer_blind(use_case, rows, test)
    importance = permutation_importance(onnx.predict, test, task=task, inputs=use_case.features.inputs, label=label, seed=SEED)
    evaluation = evaluate(
        test, output, task=task, candidate=model.digest, label=label, slices=use_case.slices, seed=SEED, reference=blind,
        importance=importance,
    )  # fmt: skip
    verdicts = judge(use_case.gates, Case(
        evaluation, truth, output, None, test, parity=None, served=0, model=onnx, onnx=model.onnx, training_rows=rows,
        use_case=use_case, training={TRAIN_SECONDS: str(seconds)}, seed=SEED,
    ))  # fmt: skip
    return Trial(trainer, len(rows) - len(test), seconds, evaluation, verdicts, describe_little(task, truth, output, blind))


def _bounded(data: Inspected) -> pl.DataFrame:
    """The rows of the training set, of a large part some."""
    if problems := [*find_unlabelled(data), *find_untrainable(data)] if data.problem or not data.is_trainable else []:
        raise UntrainableRows(f"{data.use_case.name} · {' '.join(map(str, problems))}")
    parts = [(data.part(name), most) for name, most in MOST_ROWS.items()]
    drawn = [part.sample(most, seed=SEED) if len(part) > most else part for part, most in parts]
    return in_training_order(pl.concat(drawn), data.use_case)


def _quick(trainer: Trainer) -> Trainer:
    steps = {name: min(getattr(trainer, name), most) for name, most in MOST_STEPS.items() if name in type(trainer).model_fields}
    return trainer.but(**steps)
