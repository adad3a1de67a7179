"""A transformer over patches, for signals of one, two or three dimensions and of any size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, overload

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdiff.conditions import Condition
from mmdiff.nn.conditioned import Conditioned
from mmdiff.nn.patcher import Patcher, Placed
from mmdiff.nn.tokens import TokenEmbedding
from mmdiff.nn.trunk import Trunk

_EMBEDDING = 256


class Transformer(Conditioned):
    """Transformer over patches after Peebles & Xie 2023 and Li & He 2025, any size, native.

    Tokens know where they are by rotary embedding of their coordinates, which sees distances alone:
    a signal of another size or duration is more or fewer of them. Tokens that it is told stand in
    the same sequence, without a place.

    Args:
        dims: 1 (x is [B, C, L]), 2 ([B, C, H, W]) or 3 ([B, C, T, H, W]).
        in_channels: channels of x.
        out_channels: channels of what is returned.
        width: of a token, a multiple of 64.
        depth: blocks, see `mmdiff.nn.trunk`.
        patch: positions that a token holds, on all axes or on each.
        spacing: between neighbouring positions on each axis, in the data's own units, such as
            seconds; 1 if None: pixels, frames, samples.
        scale: on each axis, the distance in these units that turns the fastest pair of channels by
            1 radian; that of neighbouring tokens if None.
        conditions: what it can be told, such as {"label": Class(10)}.

    Sides that patches do not divide are filled up and cropped inside. The output starts at 0.
    """

    def __init__(
        self,
        dims: int,
        in_channels: int,
        out_channels: int,
        width: int = 256,
        depth: int = 6,
        patch: int | Sequence[int] = 4,
        spacing: Sequence[float] | None = None,
        scale: Sequence[float] | None = None,
        conditions: Mapping[str, Condition] | None = None,
    ) -> None:
        super().__init__(conditions, _EMBEDDING)
        if dims not in (1, 2, 3):
            raise ValueError(f"Transformer is for 1 to 3 dimensions, not {dims}.")
        sizes = [patch] * dims if isinstance(patch, int) else list(patch)
        steps = [1.0] * dims if spacing is None else list(spacing)
        scales = (
            [n * d for n, d in zip(sizes, steps, strict=True)] if scale is None else list(scale)
        )
        if not all(len(each) == dims and min(each) > 0 for each in (sizes, steps, scales)):
            raise ValueError(
                "Transformer needs for each axis a patch of at least 1, and a spacing and a scale "
                f"above 0, not {sizes}, {steps} and {scales}."
            )
        self.config: dict[str, Any] = {
            "dims": dims,
            "in_channels": in_channels,
            "out_channels": out_channels,
            "width": width,
            "depth": depth,
            "patch": sizes,
            "spacing": steps,
            "scale": scales,
            "conditions": dict(self.conditions),
        }
        told = dict(self._that_enter("tokens"))
        self.tokens = TokenEmbedding(told, width) if told else None
        self.patcher = Patcher(in_channels + self._aligned(), out_channels, width, sizes, steps)
        self.trunk = Trunk(width, depth, _EMBEDDING, scales)

    @overload
    def forward(self, x: Tensor, t: Tensor, **told: Any) -> Tensor: ...

    @overload
    def forward(self, x: Sequence[Tensor], t: Tensor, **told: Any) -> list[Tensor]: ...

    def forward(
        self, x: Tensor | Sequence[Tensor], t: Tensor, **told: Any
    ) -> Tensor | list[Tensor]:
        """x [B, in_channels, *spatial] at t [B] in [0, 1] -> [B, out_channels, *spatial].

        Or B signals [in_channels, *spatial] of different sides at once, to a list of such; signals
        that it is told of them are a list then, too. A condition that is left out is not told.
        """
        if isinstance(x, Tensor):
            given = self._given(x, told)
            output = self._trunk(self.patcher.tokenise(self._with_signals(x, given)), t, given)
            return self.patcher.untokenise(output, x.shape[2:])
        ones = [
            self._given(one[None], {n: v if v is None else v[i][None] for n, v in told.items()})
            for i, one in enumerate(x)
        ]
        joined = [
            self._with_signals(one[None], given)[0] for one, given in zip(x, ones, strict=True)
        ]
        pooled = {
            name: kind.stack([given[name][0] for given in ones])
            for name, kind in self.conditions.items()
            if kind.enters != "channels"
        }
        output = self._trunk(self.patcher.tokenise(joined), t, pooled)
        return [
            self.patcher.untokenise(row[None], one.shape[1:])[0]
            for row, one in zip(output, x, strict=True)
        ]

    def _trunk(self, placed: Placed, t: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        """What comes of the signal's tokens: [B, N, width]."""
        tokens, places, exist = placed
        embedding = F.silu(self._embed(t, given))[:, None]
        if self.tokens is None:
            return self.trunk(tokens, places, embedding, exist)
        words, spoken = self.tokens(given, len(tokens))
        nowhere = places.new_full((len(places), words.shape[1], places.shape[2]), math.nan)
        exist = spoken.new_ones(tokens.shape[:2]) if exist is None else exist
        output = self.trunk(
            torch.cat((words, tokens), dim=1),
            torch.cat((nowhere, places), dim=1),
            embedding,
            torch.cat((spoken, exist), dim=1),
        )
        return output[:, words.shape[1] :]
