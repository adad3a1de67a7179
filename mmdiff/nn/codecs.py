"""Codecs: what stands between a signal and a network, a shorter sequence with more channels.

Every codec is a module with

    encode: [B, C, *spatial] -> [B, channels(C), *about spatial / factor]
    decode: the same back, cut to `spatial`

for any sizes and 1, 2 or 3 dimensions. `FrontEnd` puts one around a backbone: noise, loss and
sampler stay with the signal. `mmdiff.Diffusion(codec=)` puts one around a model: they work on the
code.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

_PATCHES = {
    1: "b c (l p) -> b (c p) l",
    2: "b c (h p) (w q) -> b (c p q) h w",
    3: "b c (t p) (h q) (w r) -> b (c p q r) t h w",
}


def to_patches(x: Tensor, patch: int | Sequence[int]) -> Tensor:
    """[B, C, *(n patch)] -> [B, C (all of patch), *n] in one, two or three dimensions.

    `patch` is one size for all axes, or one for each.
    """
    return x if patch == 1 else rearrange(x, _PATCHES[x.ndim - 2], **_sizes(x, patch))


def from_patches(x: Tensor, patch: int | Sequence[int]) -> Tensor:
    """[B, C (all of patch), *n] -> [B, C, *(n patch)], the inverse of `to_patches`."""
    if patch == 1:
        return x
    cut, whole = reversed(_PATCHES[x.ndim - 2].split(" -> "))
    return rearrange(x, f"{cut} -> {whole}", **_sizes(x, patch))


def _sizes(x: Tensor, patch: int | Sequence[int]) -> dict[str, int]:
    sizes = (patch,) * (x.ndim - 2) if isinstance(patch, int) else patch
    return dict(zip("pqr", sizes, strict=False))


class Raw(nn.Module):
    """The signal as it is."""

    factor = 1

    def __init__(self) -> None:
        super().__init__()
        self.config: dict[str, Any] = {}

    def channels(self, channels: int) -> int:
        return channels

    def encode(self, x: Tensor) -> Tensor:
        return x

    def decode(self, z: Tensor, spatial: Sequence[int]) -> Tensor:
        return z


class Patch(nn.Module):
    """Blocks of `size` positions on every axis become channels: `b c (l p) -> b (c p) l`.

    Orthonormal.
    """

    def __init__(self, size: int, dims: int = 1) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"a patch has at least 1 position, not {size}.")
        self.config = {"size": size, "dims": dims}
        self.factor, self.dims = size, dims

    def channels(self, channels: int) -> int:
        return channels * self.factor**self.dims

    def encode(self, x: Tensor) -> Tensor:
        margins = [m for side in reversed(x.shape[2:]) for m in (0, -side % self.factor)]
        return to_patches(F.pad(x, margins), self.factor)

    def decode(self, z: Tensor, spatial: Sequence[int]) -> Tensor:
        x = from_patches(z, self.factor)
        for axis, side in enumerate(spatial, start=2):
            x = x.narrow(axis, 0, side)
        return x


class AxisCodec(nn.Module):
    """A codec of one dimension, for as many as `dims`: one axis after the other.

    Subclasses code [B, C, L] -> [B, C width, N] in `analyse`, and back in `synthesise`.
    """

    factor: int
    width: int  # channels of the code for one of the signal

    def __init__(self, dims: int) -> None:
        super().__init__()
        if dims not in (1, 2, 3):
            raise ValueError(f"{type(self).__name__} is for 1 to 3 dimensions, not {dims}.")
        self.dims = dims

    @abstractmethod
    def analyse(self, x: Tensor) -> Tensor:
        """[B, C, L] -> [B, C width, about L / factor]."""

    @abstractmethod
    def synthesise(self, z: Tensor, length: int) -> Tensor:
        """[B, C width, N] -> [B, C, length]."""

    def channels(self, channels: int) -> int:
        return channels * self.width**self.dims

    def encode(self, x: Tensor) -> Tensor:
        for axis in range(2, x.ndim):
            x = _along(axis, x, self.analyse)
        return x

    def decode(self, z: Tensor, spatial: Sequence[int]) -> Tensor:
        for axis, side in reversed(list(enumerate(spatial, start=2))):
            z = _along(axis, z, lambda part, side=side: self.synthesise(part, side))  # type: ignore[misc]
        return z


def _along(axis: int, x: Tensor, code: Callable[[Tensor], Tensor]) -> Tensor:
    """`code`, of [B, C, L], along one axis of x [B, C, *spatial]; the other axes join the batch."""
    if x.ndim == 3:
        return code(x)
    x = x.movedim(axis, -1)
    others = x.shape[2:-1]
    coded = code(rearrange(x, "b c ... l -> (b ...) c l", b=len(x)))
    coded = coded.unflatten(0, (len(x), *others))
    return rearrange(coded, "b ... c l -> b c ... l").movedim(-1, axis)
