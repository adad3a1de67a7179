"""What a signal has beyond another one, that it is made from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn


class Residual(nn.Module):
    """The code of x minus that of `source`, a signal like x: what has to be added to it.

    A model around which it stands starts from the source, and few steps do. With `first`, only
    coefficients of each block from that one on are coded, and the ones below come back from the
    source: what a low band says of x stays as it is.

    Args:
        codec: an orthogonal one in whose code the coefficients of a block are its channels.
        first: the lowest coefficient of a block that is coded.
    """

    given = ("source",)

    def __init__(self, codec: Any, first: int = 0) -> None:
        super().__init__()
        self.inner = codec
        self.first = first
        self.factor: int = codec.factor
        self.width: int = codec.channels(1)
        if not 0 <= first < self.width:
            raise ValueError(f"first must lie in 0 .. {self.width - 1}, not {first}.")

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that it was made with."""
        return {"codec": self.inner, "first": self.first}

    def channels(self, channels: int) -> int:
        return channels * (self.width - self.first)

    def encode(self, x: Tensor, source: Tensor) -> Tensor:
        """x and source [B, C, *spatial] -> [B, channels(C), *about spatial / factor]."""
        more = self.inner.encode(x) - self.inner.encode(source)
        return self._blocks(more)[:, :, self.first :].flatten(1, 2)

    def decode(self, z: Tensor, spatial: Sequence[int], source: Tensor) -> Tensor:
        """The same back to x, cut to `spatial`."""
        blocks = self._blocks(self.inner.encode(source))
        low, high = blocks[:, :, : self.first], blocks[:, :, self.first :]
        code = torch.cat((low, high + z.reshape(high.shape)), dim=2).flatten(1, 2)
        x: Tensor = self.inner.decode(code, spatial)
        return x

    def _blocks(self, code: Tensor) -> Tensor:
        """[B, C width, ...] -> [B, C, width, ...]."""
        return rearrange(code, "b (c k) ... -> b c k ...", k=self.width)
