"""Many clips as one sound."""

from __future__ import annotations

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

GAP = 0.15  # seconds of silence between two clips


def one_after_another(clips: Tensor, sample_rate: int) -> Tensor:
    """[N, C, L] -> [C, N L + (N - 1) gaps]: with `GAP` seconds of silence between them."""
    gap = round(GAP * sample_rate)
    joined = rearrange(F.pad(clips, (0, gap)), "n c l -> c (n l)")
    return joined[:, : joined.shape[1] - gap]
