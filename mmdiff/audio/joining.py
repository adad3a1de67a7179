"""Many clips as one sound."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

GAP = 0.15  # seconds of silence between two clips


def one_after_another(clips: Tensor, sample_rate: int) -> Tensor:
    """[N, C, L] -> [C, N L + (N - 1) gaps]: with `GAP` seconds of silence between them."""
    gap = round(GAP * sample_rate)
    joined = F.pad(clips, (0, gap)).transpose(0, 1).flatten(1)
    return joined[:, : joined.shape[1] - gap]
