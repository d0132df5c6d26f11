"""A small network with embeddings: its inputs, its layers and the heads of the tasks."""
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mlops_assets.spec.training import Lightning
from mlops_assets.tasks.task import Activation, Offsets
from mlops_assets.training.signature import UNKNOWN, Signature

EDGES = 16  # steps per number; measured on four months of flights, steps gain 0.012 AUC over plain standardised numbers
CLIP = 4.0  # standard deviations; the value of a broken sensor must not saturate the network
HIDE_CATEGORY = 0.01  # of training codes become UNKNOWN, so that the network learns an effect for unseen categories
MAX_EMBEDDING = 8


class Head(NamedTuple):
    """The end of a network: the loss of raw outputs against the truth, what makes the output of them, and their number."""

    loss: Callable[[Tensor, Tensor], Tensor]
    activation: Callable[[Tensor], Tensor]
    outputs: int = 1


HEADS: dict[Activation, Head] = {
    "sigmoid": Head(nn.functional.binary_cross_entropy_with_logits, torch.sigmoid),
    "softmax": Head(nn.functional.cross_entropy, partial(torch.softmax, dim=1)),
    "identity": Head(nn.functional.mse_loss, nn.Identity()),
}


class Inputs(nn.Module):
    """Encoded rows (see Signature.encode) as inputs of the dense layers; exported with the network.

    A number becomes its clipped standard score, whether it is missing, and EDGES steps at its training quantiles
    (thermometer code); a category becomes a row of its embedding.
    """

    mean: Tensor
    scale: Tensor
    edges: Tensor

    def __init__(self, signature: Signature, features: NDArray[np.float32]) -> None:
        super().__init__()
        self.numbers = len(signature.numeric)
        for name, values in statistics_of(features[:, : self.numbers].astype(np.float64)).items():
            self.register_buffer(name, torch.from_numpy(values.astype(np.float32)))
        embeddings: list[nn.Embedding] = []
        for codes in (len(values) + 1 for values in signature.categories.values()):
            embeddings.append(nn.Embedding(codes, min(MAX_EMBEDDING, codes // 2 + 1)))
            nn.init.normal_(embeddings[-1].weight, std=0.1)
        self.embeddings = nn.ModuleList(embeddings)
        self.width = self.numbers * (2 + EDGES) + sum(embedding.embedding_dim for embedding in embeddings)

    def forward(self, features: Tensor) -> Tensor:
        raw, codes = features[:, : self.numbers], features[:, self.numbers :].long()
        missing = torch.isnan(raw)
        score = ((raw - self.mean) / self.scale).clamp(-CLIP, CLIP)
        score = torch.where(missing, torch.zeros_like(score), score)
        steps = (raw.unsqueeze(-1) > self.edges).float().flatten(1)  # a missing number is above no edge
        if self.training:
            codes = torch.where(torch.rand(codes.shape, device=codes.device) < HIDE_CATEGORY, UNKNOWN, codes)
        embedded = [embedding(codes[:, index]) for index, embedding in enumerate(self.embeddings)]
        return torch.cat([score, missing.float(), steps, *embedded], dim=1)


class Trainable(nn.Module):
    """A network from encoded rows, (rows, inputs), to the output of a task. Its number is a standard score: of labels with this
    `mean` and `scale`, to which `offsets` add the other columns.
    """

    head: Head
    mean_label, scale_label = 0.0, 1.0
    offsets: Offsets | None = None

    def rescale(self, mean: float, scale: float, offsets: Offsets) -> None:
        self.mean_label, self.scale_label, self.offsets = mean, scale, offsets

    def raw(self, features: Tensor) -> Tensor:
        """Before the activation of the head."""
        raise NotImplementedError

    def forward(self, features: Tensor) -> Tensor:
        """(rows, inputs) in, the output of the task out."""
        return self.finished(self.head.activation(self.raw(features)))

    def finished(self, output: Tensor) -> Tensor:
        """As Offsets.added, of a number."""
        if self.offsets is None:
            return output
        units, level, slope, center, least = self.offsets
        number = output * self.scale_label + self.mean_label
        scale = (level + slope * (number - center)).clamp(min=least)
        return torch.stack([number + unit * scale for unit in units], dim=1)


class Network(Trainable):
    """Inputs, then dense layers, then the head of the task."""

    def __init__(self, trainer: Lightning, head: Head, signature: Signature, features: NDArray[np.float32]) -> None:
        super().__init__()
        self.head = head
        inputs = Inputs(signature, features)
        widths = (inputs.width, *trainer.hidden)
        layers: list[nn.Module] = [inputs]
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(trainer.dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], head.outputs))

    def raw(self, features: Tensor) -> Tensor:
        raw = self.layers(features)
        return raw.squeeze(1) if self.head.outputs == 1 else raw


def statistics_of(numbers: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """mean and scale, (columns,), and edges, EDGES quantiles (columns, EDGES), of the values that are not missing."""
    levels = np.linspace(0, 1, EDGES + 2)[1:-1]
    known = [column[~np.isnan(column)] for column in numbers.T]
    known = [values if len(values) else np.zeros(1) for values in known]  # a column without values has mean 0 and scale 1
    return {
        "mean": np.array([values.mean() for values in known]),
        "scale": np.array([values.std() or 1.0 for values in known]),
        "edges": np.array([np.quantile(values, levels) for values in known]).reshape(len(known), EDGES),
    }
