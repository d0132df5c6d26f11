"""Modules that do not keep the contract of OwnLightning."""

from typing import Any

import torch
from torch import Tensor, nn

from tests.training.trainers.own_net import Net


class OneOutput(Net):
    def forward(self, numbers: Tensor, codes: Tensor) -> Tensor:
        return torch.zeros(len(numbers), 1)


class Plain(nn.Module):
    def __init__(self, **_fields: Any) -> None:
        super().__init__()
