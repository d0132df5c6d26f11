"""A LightningModule of a user, as docs/trainers.md describes it."""

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as lightning
import torch
from torch import Tensor, nn


class Net(lightning.LightningModule):
    def __init__(self, numbers: int, categories: Sequence[int], outputs: int, width: int = 16, rate: float = 0.02) -> None:
        super().__init__()
        self.embeddings = nn.ModuleList(nn.Embedding(count, 3) for count in categories)
        self.layers = nn.Sequential(nn.Linear(numbers + 3 * len(categories), width), nn.ReLU(), nn.Linear(width, outputs))
        self.rate = rate

    def forward(self, numbers: Tensor, codes: Tensor) -> Tensor:
        embedded = [embedding(codes[:, place]) for place, embedding in enumerate(self.embeddings)]
        return self.layers(torch.cat([numbers, *embedded], dim=1))

    def training_step(self, batch: list[Tensor], _index: int) -> Tensor:
        numbers, codes, label = batch
        output = self(numbers, codes)
        if label.dtype == torch.int64:
            return nn.functional.cross_entropy(output, label)
        is_number = bool(((label != 0) & (label != 1)).any())
        loss = nn.functional.mse_loss if is_number else nn.functional.binary_cross_entropy_with_logits
        return loss(output.squeeze(1), label)

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=self.rate)
