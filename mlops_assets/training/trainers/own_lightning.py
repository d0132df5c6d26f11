"""A LightningModule from outside this package, between our encoding of rows and the output of the task."""
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from typing import Any, cast

import numpy as np
import pytorch_lightning as lightning
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlops_assets.spec.training import OwnLightning
from mlops_assets.tasks.task import Task
from mlops_assets.training.fitted import Examples, Progress
from mlops_assets.training.imported import UnusableTrainer, build
from mlops_assets.training.signature import Signature
from mlops_assets.training.trainers.lightning import (
    FittedNetwork,
    Watch,
    accelerator,
    fit_network,
    head_of,
    learn_on,
    loader,
    repeatable,
)  # fmt: skip
from mlops_assets.training.trainers.network import CLIP, Head, Trainable, statistics_of

__all__ = ["accelerator", "train"]  # what a trainer's module has

MEANING = {"sigmoid": "a logit of yes", "softmax": "a logit of each class", "identity": "the number, as its standard score"}


class OwnNetwork(Trainable):
    """Encoded rows in, the output of the task out. The module gets, of n numbers and m categories, `numbers`, float32
    (rows, 2 * n): the clipped standard scores, 0 where a value is missing, then 1 where it is missing; and `codes`, int64
    (rows, m), where 0 is a missing or unknown value.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self, module: lightning.LightningModule, head: Head, signature: Signature, features: NDArray[np.float32]
    ) -> None:
        super().__init__()
        self.module, self.head, self.numbers = module, head, len(signature.numeric)
        known = statistics_of(features[:, : self.numbers].astype(np.float64))
        for name in ("mean", "scale"):
            self.register_buffer(name, torch.from_numpy(known[name].astype(np.float32)))

    def split(self, features: Tensor) -> tuple[Tensor, Tensor]:
        raw, codes = features[:, : self.numbers], features[:, self.numbers :].long()
        missing = torch.isnan(raw)
        score = ((raw - self.mean) / self.scale).clamp(-CLIP, CLIP)
        return torch.cat([torch.where(missing, torch.zeros_like(score), score), missing.float()], dim=1), codes

    def raw(self, features: Tensor) -> Tensor:
        raw = cast(Tensor, self.module(*self.split(features)))
        return raw.reshape(-1) if self.head.outputs == 1 else raw


def train(
    trainer: OwnLightning, task: Task[Any], *, signature: Signature, train: Examples, validation: Examples, progress: Progress
) -> FittedNetwork:
    """As lightning.train; the module's own `training_step` has the loss that it learns. Raises UnusableTrainer."""
    head = head_of(task)

    def learn(rows: Examples, parts: Examples | None, epochs: int) -> Watch:
        with repeatable(trainer.seed):
            network = OwnNetwork(_build(trainer, head, signature), head, signature, rows.features)
            _require_shape(trainer, task, network, rows)
            watch = Watch(network, parts, epochs=epochs, patience=trainer.patience, progress=progress)
            batches = loader(rows, trainer.batch_size, seed=trainer.seed, split=network.split)
            # Always as many epochs: a learning rate that falls until the last one must fall alike in both trainings.
            learn_on(trainer.devices, network.module, batches, epochs=trainer.max_epochs, watch=watch)
        return watch

    return fit_network(
        learn, task, signature=signature, train=train, validation=validation, epochs=trainer.max_epochs, progress=progress
    )


def _build(trainer: OwnLightning, head: Head, signature: Signature) -> lightning.LightningModule:
    categories = tuple(len(values) + 1 for values in signature.categories.values())
    module = build(trainer, numbers=2 * len(signature.numeric), categories=categories, outputs=head.outputs)
    if not isinstance(module, lightning.LightningModule):
        found = f"it is no LightningModule of pytorch_lightning but {type(module).__mro__[1].__module__}"
        raise UnusableTrainer(f"OwnLightning · {trainer.module} · {found}. Make it a subclass.")
    return module


def _require_shape(trainer: OwnLightning, task: Task[Any], network: OwnNetwork, rows: Examples) -> None:
    """Raises UnusableTrainer where `forward` gives something else than a task's raw outputs."""
    network.eval()
    with torch.no_grad():
        output: Any = network.module(*network.split(torch.from_numpy(rows.features[:2])))
    network.train()
    count, outputs = len(rows.features[:2]), network.head.outputs
    legal = [(count, outputs), (count,)] if outputs == 1 else [(count, outputs)]
    if tuple(getattr(output, "shape", ())) not in legal:
        found = f"forward gives {tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__} for {count} rows"
        meaning = MEANING[task.ACTIVATION]
        raise UnusableTrainer(f"OwnLightning · {trainer.module} · {found}; legal: {(count, outputs)}, {meaning}. Correct it.")
