"""What a signal has beyond another one, that it is made from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn


class Residual(nn.Module):
    """The code of x minus that of `source`, a signal like x: what has to be added to it.

    A model around which it stands starts from the source, and few steps do.

    Args:
        codec: a linear one.
    """

    given = ("source",)

    def __init__(self, codec: Any) -> None:
        super().__init__()
        self.inner = codec
        self.factor: int = codec.factor

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that it was made with."""
        return {"codec": self.inner}

    def channels(self, channels: int) -> int:
        inner: int = self.inner.channels(channels)
        return inner

    def encode(self, x: Tensor, source: Tensor) -> Tensor:
        """x and source [B, C, *spatial] -> [B, channels(C), *about spatial / factor]."""
        code: Tensor = self.inner.encode(x - source)
        return code

    def decode(self, z: Tensor, spatial: Sequence[int], source: Tensor) -> Tensor:
        """The same back to x, cut to `spatial`."""
        x: Tensor = source + self.inner.decode(z, spatial)
        return x
