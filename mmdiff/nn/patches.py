"""Trade positions for channels: squares of an image, or stretches of a signal, become channels."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def to_patches(x: Tensor, patch: int) -> Tensor:
    """[B, C, *(n patch)] -> [B, C patch^dims, *n] in one or two dimensions."""
    if patch == 1:
        return x
    if x.ndim == 4:
        return F.pixel_unshuffle(x, patch)
    return x.unflatten(2, (-1, patch)).transpose(2, 3).flatten(1, 2)


def from_patches(x: Tensor, patch: int) -> Tensor:
    """[B, C patch^dims, *n] -> [B, C, *(n patch)], the inverse of `to_patches`."""
    if patch == 1:
        return x
    if x.ndim == 4:
        return F.pixel_shuffle(x, patch)
    return x.unflatten(1, (-1, patch)).transpose(2, 3).flatten(2)
