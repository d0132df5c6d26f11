"""A LightningModule from outside this package, between our encoding of rows and the output of the task."""
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

import math
from typing import Any, cast

import numpy as np
import pytorch_lightning as lightning
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlops_assets.spec.training import OwnLightning
from mlops_assets.tasks.task import Task
from mlops_assets.training.fitted import Examples, History, Progress
from mlops_assets.training.imported import UnusableTrainer, build
from mlops_assets.training.signature import Signature
from mlops_assets.training.trainers.lightning import (
    SCORING_ROWS,
    VALIDATION_LOSS,
    FittedNetwork,
    accelerator,
    fit_network,
    head_of,
    loader,
    loop,
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

    def forward(self, features: Tensor) -> Tensor:
        return self.finished(self.head.activation(self.raw(features)))


class Watch(lightning.Callback):
    """Measures the loss of the task on the validation rows after each epoch, and keeps the best weights. The training ends after
    `epochs` epochs, or when this loss has not fallen for `patience` of them.
    """

    def __init__(
        self, network: OwnNetwork, validation: Examples | None, *, epochs: int, patience: int, progress: Progress
    ) -> None:
        self.network, self.validation, self.epochs, self.patience, self.progress = network, validation, epochs, patience, progress
        self.losses: list[Tensor] = []
        self.history: History = []
        self.lowest, self.best = math.inf, dict[str, Tensor]()
        self.waited = 0

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if outputs is not None:  # a module that optimizes by hand returns no loss
            self.losses.append((outputs["loss"] if isinstance(outputs, dict) else outputs).detach())

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        measured = {"train_loss": float(torch.stack(self.losses).mean()) if self.losses else math.nan}
        self.losses.clear()
        epoch = len(self.history) + 1
        if self.validation:
            measured[VALIDATION_LOSS] = self._validate(pl_module, self.validation)
            self.waited += 1
        self.history.append({"epoch": float(epoch)} | measured)
        if measured.get(VALIDATION_LOSS, math.inf) < self.lowest:
            self.lowest, self.waited = measured[VALIDATION_LOSS], 0
            self.best = {name: weight.clone() for name, weight in self.network.state_dict().items()}
        trainer.should_stop = trainer.should_stop or epoch >= self.epochs or self.waited >= self.patience
        shown = " · ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in measured.items())
        self.progress(f"epoch {epoch} of {self.epochs} · {shown}")

    def _validate(self, module: lightning.LightningModule, rows: Examples) -> float:
        network = self.network.to(module.device)
        network.eval()
        with torch.no_grad():
            parts = torch.from_numpy(rows.features).split(SCORING_ROWS)
            raw = torch.cat([network.raw(part.to(module.device)) for part in parts])
            loss = float(network.head.loss(raw, torch.from_numpy(rows.label).to(module.device)))
        network.train()
        return loss


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
            loop(trainer.max_epochs, watch).fit(network.module, batches)
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
