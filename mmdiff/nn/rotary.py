"""Rotary embedding of real coordinates, some channels for each axis (Su et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

_SPAN = 256.0  # the slowest pair of an axis turns that many times slower than its fastest


class Rotary(nn.Module):
    """Turns pairs of the channels of queries and keys by angles in proportion to coordinates.

    The product of a query at p and a key at q, R(p) a . R(q) b = a . R(q - p) b, depends on
    differences of coordinates alone. Every axis has an equal share of the pairs, and a like share
    has no axis, for what does not depend on places. A token without a place on an axis, such as a
    word, says NaN there: those pairs are left out of its products.

    Args:
        head: channels of a head, even.
        scales: for each axis the distance that turns its fastest pair by 1 radian, in the units of
            the coordinates: usually that of neighbouring tokens.
    """

    frequencies: Tensor  # [axes, pairs of an axis], in radians per unit

    def __init__(self, head: int, scales: Sequence[float]) -> None:
        super().__init__()
        pairs = head // 2 // (len(scales) + 1)
        self.free = head // 2 - pairs * len(scales)  # pairs without an axis
        turns = _SPAN ** -torch.linspace(0, 1, pairs, dtype=torch.float64)
        each = turns / torch.tensor(scales, dtype=torch.float64)[:, None]
        self.register_buffer("frequencies", each.float(), persistent=False)

    def angles(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Coordinates [B, N, axes] -> cosines and sines [B, N, 1, head / 2], for `turn`."""
        angle = (places[..., None] * self.frequencies).flatten(2)
        nowhere = angle.isnan()
        free = angle.new_zeros(*angle.shape[:2], self.free)
        cos = torch.cat((angle.cos().masked_fill(nowhere, 0.0), free + 1), dim=2)
        sin = torch.cat((angle.sin().masked_fill(nowhere, 0.0), free), dim=2)
        return cos[:, :, None], sin[:, :, None]


def turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x [B, N, heads, head], channel i and i + head / 2 being a pair -> the same, turned."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1)
