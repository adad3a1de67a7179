"""A vector for the time."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_WAVES = 64


class TimeEmbedding(nn.Module):
    """t in [0, 1] -> [B, features]: sinusoids of 1000 t (Ho et al. 2020) through two layers."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.layer_in = nn.Linear(2 * _WAVES, features)
        self.layer_out = nn.Linear(features, features)

    def forward(self, t: Tensor) -> Tensor:
        # Always float32 here: bf16 cannot tell neighbouring times apart.
        index = torch.arange(_WAVES, dtype=torch.float32, device=t.device)
        angle = 1000.0 * t.float()[:, None] * torch.exp(-math.log(10000.0) / _WAVES * index)
        waves = torch.cat((angle.cos(), angle.sin()), dim=1).to(self.layer_in.weight.dtype)
        return self.layer_out(F.silu(self.layer_in(waves)))
