"""Signals of any size as tokens that know their places, and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from mmdiff.nn.codecs import from_patches, to_patches


class Placed(NamedTuple):
    """A batch of sequences of tokens."""

    tokens: Tensor  # [B, N, width]
    places: Tensor  # their coordinates: [B, N, axes], or [1, N, axes] if the same in all
    exist: Tensor | None  # bool [B, N], where sequences were filled up; None: all do


class Patcher(nn.Module):
    """Cuts a signal into patches, a token each, and puts it together again; the latter starts at 0.

    Sides that patches do not divide are filled up with zeros at their ends, and cropped again.

    Args:
        in_channels: of the signals that are cut.
        out_channels: of those that are put together.
        width: of a token.
        patch: positions that a token holds on each axis.
        spacing: between neighbouring positions on each axis, in units of the coordinates: pixels,
            frames or seconds.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        width: int,
        patch: Sequence[int],
        spacing: Sequence[float],
    ) -> None:
        super().__init__()
        self.patch, self.spacing = tuple(patch), tuple(spacing)
        self.enter = nn.Linear(in_channels * math.prod(patch), width)
        self.leave = nn.Linear(width, out_channels * math.prod(patch))
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def tokenise(self, x: Tensor | Sequence[Tensor]) -> Placed:
        """x [B, C, *sides], or B signals [C, *sides] of different sides.

        A token's place is the centre of what it holds, in a signal that begins at 0.
        """
        if isinstance(x, Tensor):
            return Placed(self.enter(self._cut(x)), self._places(x)[None], None)
        patches = pad_sequence([self._cut(one[None])[0] for one in x], batch_first=True)
        nowhere = math.nan  # is where no token exists
        places = pad_sequence([self._places(one[None]) for one in x], True, nowhere)
        return Placed(self.enter(patches), places, places[..., 0].isnan().logical_not())

    def untokenise(self, tokens: Tensor, sides: Sequence[int]) -> Tensor:
        """Tokens [B, N, width] of signals of `sides` -> [B, out_channels, *sides].

        Those beyond the first that such signals have are left out.
        """
        grid = self.grid(sides)
        patches = self.leave(tokens[:, : math.prod(grid)])
        y = from_patches(rearrange(patches, "b n c -> b c n").unflatten(2, grid), self.patch)
        for axis, side in enumerate(sides, start=2):
            y = y.narrow(axis, 0, side)
        return y

    def grid(self, sides: Sequence[int]) -> tuple[int, ...]:
        """How many patches there are along each axis of a signal of `sides`."""
        return tuple(-(-side // size) for side, size in zip(sides, self.patch, strict=True))

    def _cut(self, x: Tensor) -> Tensor:
        """[B, C, *sides] -> [B, N, C (all of patch)]."""
        sizes = zip(x.shape[2:], self.patch, strict=True)
        margins = [m for side, size in reversed(list(sizes)) for m in (0, -side % size)]
        return rearrange(to_patches(F.pad(x, margins), self.patch), "b c ... -> b (...) c")

    def _places(self, x: Tensor) -> Tensor:
        """The coordinates [N, axes] of the tokens of x [B, C, *sides], in float32 or wider."""
        dtype = torch.promote_types(x.dtype, torch.float32)
        centres = [
            (torch.arange(count, dtype=dtype, device=x.device) + 0.5) * (size * step)
            for count, size, step in zip(
                self.grid(x.shape[2:]), self.patch, self.spacing, strict=True
            )
        ]
        return torch.stack(torch.meshgrid(*centres, indexing="ij"), dim=-1).flatten(0, -2)
