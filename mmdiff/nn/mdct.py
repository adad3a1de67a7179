"""The modified discrete cosine transform (Princen & Bradley 1986; Malvar 1992), orthonormal.

It trades M samples for M coefficients as cutting into blocks of M would, but its frames of 2M
samples overlap and its coefficients are sorted by frequency.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from mmdiff.nn.codecs import AxisCodec

Window = Literal["sine", "kbd"]
_KBD_ALPHA = 4.0


def overlap(bands: int, kind: Window = "sine") -> Tensor:
    """[2 bands] float64, symmetric, with w[n]^2 + w[n + bands]^2 = 1.

    "sine", or "kbd": Kaiser-Bessel derived with alpha = 4 (Fielder & Davidson, US patent 5109417).
    """
    if kind == "sine":
        n = torch.arange(2 * bands, dtype=torch.float64)
        return torch.sin(math.pi / (2 * bands) * (n + 0.5))
    beta = math.pi * _KBD_ALPHA
    kaiser = torch.kaiser_window(bands + 1, periodic=False, beta=beta, dtype=torch.float64)
    rising = (kaiser.cumsum(0)[:-1] / kaiser.sum()).sqrt()
    return torch.cat((rising, rising.flip(0)))


def basis(bands: int, kind: Window = "sine") -> Tensor:
    """The analysis filters [bands, 2 bands], float64; their transpose is the synthesis.

    X[k] = sqrt(2/M) sum_n w[n] x[n] cos(pi/M (n + 1/2 + M/2) (k + 1/2)).
    """
    n = torch.arange(2 * bands, dtype=torch.float64) + 0.5 + bands / 2
    k = torch.arange(bands, dtype=torch.float64) + 0.5
    cosines = torch.cos(math.pi / bands * k[:, None] * n)
    return math.sqrt(2 / bands) * cosines * overlap(bands, kind)


class MDCT(AxisCodec):
    """Codec: [B, C, L] -> [B, C bands, ceil(L / bands)], orthonormal for L = n bands.

    Frame l is centred on block l. No frame reaches over either end of the signal: there the window
    ends at once, and nothing has to be mirrored, padded or lost (blocks are folded into each other
    at their borders, and the two outer borders are left unfolded). White noise stays white.

    Args:
        bands: even; samples per block, and coefficients per frame.
        window: "sine" or "kbd", see `overlap`.
        dims: dimensions of the signal; the axes are transformed one after the other.
    """

    wide: Tensor
    cosines: Tensor

    def __init__(self, bands: int, window: Window = "sine", dims: int = 1) -> None:
        super().__init__(dims)
        if bands < 2 or bands % 2:
            raise ValueError(f"MDCT needs an even number of bands, at least 2, not {bands}.")
        if window not in get_args(Window):
            raise ValueError(f'unknown window {window!r}; known are "sine" and "kbd".')
        self.config = {"bands": bands, "window": window, "dims": dims}
        self.window: Window = window
        self.factor = self.width = bands
        # [4, bands / 2]: the quarters of the window, over the end of the block before, the two
        # halves of the block itself, and the start of the block after.
        quarters = overlap(bands, window).reshape(4, -1)
        half = torch.arange(bands, dtype=torch.float64) + 0.5
        cosines = math.sqrt(2 / bands) * torch.cos(math.pi / bands * half[:, None] * half)
        self.register_buffer("wide", quarters.float(), persistent=False)
        self.register_buffer("cosines", cosines.float(), persistent=False)

    def analyse(self, x: Tensor) -> Tensor:
        whole = F.pad(x, (0, -x.shape[2] % self.factor))
        blocks = rearrange(whole, "b c (l p) -> b c l p", p=self.factor)
        before, first, second, after = self._windows(blocks.shape[2], blocks)
        b, c = blocks.chunk(2, dim=3)
        none = torch.zeros_like(b[:, :, :1])
        a = torch.cat((none, c[:, :, :-1]), dim=2)
        d = torch.cat((b[:, :, 1:], none), dim=2)
        folded = torch.cat(
            (-(second * c).flip(3) - after * d, before * a - (first * b).flip(3)), dim=3
        )
        frames = folded @ self.cosines.to(x.dtype)
        return rearrange(frames, "b c l p -> b (c p) l")

    def synthesise(self, z: Tensor, length: int) -> Tensor:
        frames = rearrange(z, "b (c p) l -> b c l p", p=self.factor)
        before, first, second, after = self._windows(frames.shape[2], frames)
        low, high = (frames @ self.cosines.to(z.dtype)).chunk(2, dim=3)
        b = -first * high.flip(3)
        c = -second * low.flip(3)
        none = torch.zeros_like(b[:, :, :1])
        c = c + torch.cat(((before * high)[:, :, 1:], none), dim=2)
        b = b - torch.cat((none, (after * low)[:, :, :-1]), dim=2)
        return rearrange(torch.cat((b, c), dim=3), "b c l p -> b c (l p)")[..., :length]

    def _windows(self, count: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The quarters for each of `count` blocks, [count, bands / 2]; flat at the outer ends."""
        quarters = self.wide.to(like.dtype)
        before, first, second, after = quarters[:, None].expand(-1, count - 1, -1)
        none, whole = torch.zeros_like(quarters[:1]), torch.ones_like(quarters[:1])
        return (
            torch.cat((none, before)),
            torch.cat((whole, first)),
            torch.cat((second, whole)),
            torch.cat((after, none)),
        )
