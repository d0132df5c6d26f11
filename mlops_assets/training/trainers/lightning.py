"""A small network with embeddings, trained by PyTorch Lightning."""
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

import io
import logging
import math
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import onnx
import pytorch_lightning as lightning
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributed import get_rank, get_world_size, is_initialized
from torch.utils.data import DataLoader, Sampler, TensorDataset

from mlops_assets.spec.training import Lightning
from mlops_assets.tasks.task import Offsets, Task
from mlops_assets.training.fitted import THREADS, Examples, History, Progress, UntrainableRows, silent
from mlops_assets.training.imported import UnusableTrainer
from mlops_assets.training.onnx_file import seal
from mlops_assets.training.signature import INPUT, OUTPUT, Signature
from mlops_assets.training.trainers.network import HEADS, Head, Network, Trainable

SCORING_ROWS = 65_536  # bounds memory when many rows are scored at once
OPSET = 18
VALIDATION_LOSS = "validation_loss"


class Learner(lightning.LightningModule):
    """How the built-in network learns: the loss of its head, AdamW, a learning rate falling linearly to 0 at `max_epochs`."""

    def __init__(self, network: Network, declared: Lightning, *, batches: int) -> None:
        super().__init__()
        self.network = network
        self.declared = declared
        self.steps = batches * declared.max_epochs

    def training_step(self, batch: list[Tensor], _index: int) -> Tensor:
        features, label = batch
        return self.network.head.loss(self.network.raw(features), label)

    def configure_optimizers(self) -> Any:
        rate, decay = self.declared.learning_rate, self.declared.weight_decay
        optimizer = torch.optim.AdamW(self.network.parameters(), lr=rate, weight_decay=decay)
        fall = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=1.0, end_factor=0.0, total_iters=self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": fall, "interval": "step"}}


class Watch(lightning.Callback):
    """Measures the loss of the task on the validation rows after each epoch, and keeps the best weights. The training ends after
    `epochs` epochs, or when this loss has not fallen for `patience` of them.
    """

    def __init__(
        self, network: Trainable, validation: Examples | None, *, epochs: int, patience: int, progress: Progress
    ) -> None:
        self.network, self.validation, self.epochs, self.patience, self.progress = network, validation, epochs, patience, progress
        self.losses: list[Tensor] = []
        self.history: History = []
        self.lowest, self.best = math.inf, dict[str, Tensor]()
        self.waited = 0
        self.file: Path | None = None  # in which it comes back from another process

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "progress": silent}  # which belongs to this process

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if outputs is not None:  # a module that optimizes by hand returns no loss
            self.losses.append((outputs["loss"] if isinstance(outputs, dict) else outputs).detach())

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        mean = torch.stack(self.losses).mean() if self.losses else torch.tensor(math.nan)
        measured = {"train_loss": float(trainer.strategy.reduce(mean, reduce_op="mean"))}  # over all processes
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

    def on_fit_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if self.file and trainer.is_global_zero:
            torch.save((self.history, self.best), self.file)

    def _validate(self, module: lightning.LightningModule, rows: Examples) -> float:
        network = self.network.to(module.device)
        network.eval()
        with torch.no_grad():
            parts = [(network.raw(features.to(module.device)), label) for features, label in loader(rows, SCORING_ROWS)]
            raw, label = (torch.cat(column) for column in zip(*parts, strict=True))
            loss = float(network.head.loss(raw, label.to(module.device)))
        network.train()
        return loss


# What trains a fresh network on rows for a number of epochs, or until the loss on the validation rows stops falling.
Learn = Callable[[Examples, Examples | None, int], Watch]
Split = Callable[[Tensor], tuple[Tensor, ...]]


@dataclass(frozen=True)
class FittedNetwork:
    """A trained network; see training/fitted.py."""

    network: Trainable
    signature: Signature
    history: History
    output: str = OUTPUT  # its name in the model file

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        with torch.inference_mode():
            parts = [self.network(part) for part in torch.from_numpy(features).split(SCORING_ROWS)]
        return torch.cat(parts).double().numpy()

    def to_onnx(self) -> bytes:
        # The older exporter: the new one takes seconds instead of 0.1 s, writes a larger file with stack traces of the
        # machine in it, and logs warnings that cannot be turned off. Both agree with torch to 1e-7.
        file = io.BytesIO()
        rows: dict[int, str] = {0: "rows"}
        with warnings.catch_warnings(action="ignore"):
            torch.onnx.export(
                self.network,
                (torch.zeros(2, len(self.signature.inputs)),),
                cast(Any, file),
                dynamo=False,
                input_names=[INPUT],
                output_names=[self.output],
                dynamic_axes={INPUT: rows, self.output: rows},
                opset_version=OPSET,
            )
        return seal(onnx.load_from_string(file.getvalue()), self.signature)


def accelerator() -> str:
    """The accelerator that Lightning trains on here: cpu, or its kind with its name."""
    device = torch.accelerator.current_accelerator(check_available=True)
    if device is None:
        return "cpu"
    return f"{device.type} {torch.cuda.get_device_name()}" if device.type == "cuda" else device.type


def train(
    trainer: Lightning, task: Task[Any], *, signature: Signature, train: Examples, validation: Examples, progress: Progress
) -> FittedNetwork:
    """Early stopping on the validation loss finds the number of epochs; then a fresh network trains on training and
    validation rows together for that many. `history` is that of the first pass. For a task that CALIBRATES both networks learn
    the standard score of the label, and the first one, which has not learned the validation rows, predicts them.

    Seeded; on a CPU the same rows give the same weights. Raises UntrainableRows.
    """
    head = head_of(task)

    def learn(rows: Examples, parts: Examples | None, epochs: int) -> Watch:
        with repeatable(trainer.seed):
            network, batches = (
                Network(trainer, head, signature, rows.features),
                loader(rows, trainer.batch_size, seed=trainer.seed),
            )
            watch = Watch(network, parts, epochs=epochs, patience=trainer.patience, progress=progress)
            learn_on(trainer.devices, Learner(network, trainer, batches=len(batches)), batches, epochs=epochs, watch=watch)
        return watch

    return fit_network(
        learn, task, signature=signature, train=train, validation=validation, epochs=trainer.max_epochs, progress=progress
    )


def head_of(task: Task[Any]) -> Head:
    return HEADS[task.ACTIVATION]._replace(outputs=task.outputs)


def fit_network(
    learn: Learn, task: Task[Any], *, signature: Signature, train: Examples, validation: Examples, epochs: int, progress: Progress
) -> FittedNetwork:
    """As `train`, of any network."""
    if not task.CALIBRATES:
        _, last, history = _learn_twice(learn, (train, validation), epochs, progress)
        return FittedNetwork(last, signature, history, task.OUTPUT)
    mean, scale = float(train.label.mean()), float(train.label.std()) or 1.0
    scores = [((part.label - mean) / scale).astype(np.float32) for part in (train, validation)]
    parts = Examples(train.features, scores[0]), Examples(validation.features, scores[1])
    first, last, history = _learn_twice(learn, parts, epochs, progress)
    first.rescale(mean, scale, Offsets((0.0,)))
    prediction = FittedNetwork(first, signature, []).predict(validation.features)[:, 0]
    last.rescale(mean, scale, task.offsets(validation.label, prediction))
    return FittedNetwork(last, signature, history, task.OUTPUT)


def _learn_twice(
    learn: Learn, parts: tuple[Examples, Examples], epochs: int, progress: Progress
) -> tuple[Trainable, Trainable, History]:
    """The network after the best epoch on training rows, the one that has learned all rows for as many epochs, and the history
    of the first."""
    train, validation = parts
    progress(f"network · searching for the best epoch on {len(train)} + {len(validation)} rows")
    first = learn(train, validation, epochs)
    finite = [record for record in first.history if math.isfinite(record[VALIDATION_LOSS])]
    if not finite:
        raise UntrainableRows("lightning · the validation loss is not a number from the first epoch on. Lower learning_rate.")
    best = int(min(finite, key=lambda record: record[VALIDATION_LOSS])["epoch"])
    first.network.load_state_dict(first.best)
    # The validation rows are the latest weeks, which resemble the next ones most.
    progress(f"network · best epoch {best}; training on all {len(train) + len(validation)} rows")
    last = learn(train + validation, None, best)
    return first.network.cpu().eval(), last.network.cpu().eval(), first.history


def learn_on(devices: int, module: lightning.LightningModule, batches: DataLoader[Any], *, epochs: int, watch: Watch) -> None:
    """Trains the module by Lightning's loop, without files, bars and logs: in this process, or on several devices in a process
    each (GPUs where there are any, else CPU cores), which share every batch and average their gradients. Raises UnusableTrainer.
    """
    if devices == 1:
        _loop(epochs, watch, devices=1).fit(module, batches)
        return
    if 0 < torch.accelerator.device_count() < devices:
        found = f"devices is {devices}, and this machine has {torch.accelerator.device_count()}"
        raise UnusableTrainer(f"lightning · {found}. Declare as many, or train on a machine with more.")
    with TemporaryDirectory() as folder:
        watch.file = Path(folder) / "watch.pt"
        # Not forked: a process that has used torch or OpenMP may hang in a copy of itself.
        _loop(epochs, watch, devices=devices, strategy="ddp_spawn", use_distributed_sampler=False).fit(module, batches)
        watch.history, watch.best = torch.load(watch.file)


def _loop(epochs: int, watch: Watch, **options: Any) -> lightning.Trainer:
    return lightning.Trainer(
        max_epochs=epochs,
        callbacks=[watch],
        accelerator="auto",
        deterministic="warn",  # some GPU kernels have no deterministic variant; all CPU ones have
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **options,
    )


class Batches(Sampler[Tensor]):
    """Row numbers in whole batches, in order; where a seed is given, shuffled anew for each epoch, and of several processes that
    train together each gets its share of every batch that is large enough.
    """

    # Recorded models are trained again to the same digest: the order of the random draws must not change.
    def __init__(self, rows: int, size: int, seed: int | None) -> None:
        self.rows, self.size, self.seed = rows, size, seed
        self.generator: torch.Generator | None = None  # in the process that draws: another one cannot have it

    def __iter__(self) -> Iterator[Tensor]:
        if self.seed is None:
            yield from torch.arange(self.rows).split(self.size)
            return
        self.generator = self.generator or torch.Generator().manual_seed(self.seed)
        first, step = (get_rank(), get_world_size()) if is_initialized() else (0, 1)
        for batch in torch.randperm(self.rows, generator=self.generator).split(self.size):
            yield batch[first::step] if len(batch) >= step else batch

    def __len__(self) -> int:
        return math.ceil(self.rows / self.size)


def loader(rows: Examples, size: int, *, seed: int | None = None, split: Split | None = None) -> DataLoader[Any]:
    """`split` makes several tensors of the features. A whole batch at a time: to collate row by row takes longer than a step."""
    features = torch.from_numpy(rows.features)
    data = TensorDataset(*(split(features) if split else (features,)), torch.from_numpy(rows.label))
    return DataLoader(data, sampler=Batches(len(rows), size, seed), batch_size=None, num_workers=0)


@contextmanager
def repeatable(seed: int) -> Generator[None]:
    """Torch's randomness from `seed`, on THREADS threads, without Lightning's advice (more workers, a logger).

    The settings and the random state of torch, and the level of Lightning's log, are restored afterwards.
    """
    log, deterministic = logging.getLogger("pytorch_lightning"), torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    with warnings.catch_warnings(action="ignore"), torch.random.fork_rng(), ExitStack() as settings:
        settings.callback(log.setLevel, log.level)
        settings.callback(torch.set_num_threads, torch.get_num_threads())
        settings.callback(torch.use_deterministic_algorithms, deterministic, warn_only=warn_only)
        log.setLevel(logging.ERROR)
        torch.set_num_threads(THREADS)
        torch.manual_seed(seed)
        yield
