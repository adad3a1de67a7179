"""A U-Net for signals of one, two or three dimensions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.forward_ad import unpack_dual

from mmdiff.conditions import Condition
from mmdiff.nn.codecs import from_patches, to_patches
from mmdiff.nn.conditioned import Conditioned
from mmdiff.nn.layers import Attention, PositionNorm, Resample, ResBlock, conv, group_norm
from mmdiff.nn.tokens import CrossAttention, TokenEmbedding

_EMBEDDING = 256
_FEWEST, _MOST = 2**11, 2**15  # positions, see `_in_order`


class Encoded(NamedTuple):
    """Half way through a network: what `encode` makes of a signal, and `decode` goes on with.

    What stands between the two may change `h` and `embedding`; `rest` is the network's own.
    """

    h: Tensor  # [B, width, *positions], the bottleneck
    embedding: Tensor  # [B, features], of the time and of what is told
    rest: tuple[Any, ...]


class Stage(nn.Module):
    """A residual block, then self-attention and attention to tokens, where there are any."""

    def __init__(
        self, dims: int, channels: int, attention: bool, tokens: bool, local: bool = False
    ) -> None:
        super().__init__()
        self.block = ResBlock(dims, channels, _EMBEDDING, local)
        self.attention = Attention(channels) if attention else None
        self.cross = CrossAttention(channels, _EMBEDDING) if tokens else None

    def forward(self, x: Tensor, embedding: Tensor, tokens: tuple[Tensor, ...] = ()) -> Tensor:
        x = self.block(x, embedding)
        if self.attention is not None:
            x = self.attention(x)
        return x if self.cross is None else self.cross(x, *tokens)


class Join(nn.Module):
    """Mix a skip connection back in: one 1x1 convolution over both."""

    def __init__(self, dims: int, channels: int) -> None:
        super().__init__()
        self.mix = conv(dims, 2 * channels, channels, 1)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.mix(torch.cat((x, skip), dim=1))


class UNet(Conditioned):
    """U-Net after Ronneberger et al. 2015 and Dhariwal & Nichol 2021, any size, any of the `dims`.

    Args:
        dims: 1 (x is [B, C, L]), 2 ([B, C, H, W]) or 3 ([B, C, T, H, W]).
        in_channels: channels of x.
        out_channels: channels of what is returned.
        channels: width of each level; each level halves the sides of the one before.
        blocks: residual blocks per level, down and up alike.
        attention: for each level, whether self-attention follows its blocks, and attention to
            tokens, if it is told any; by default none. Tokens always reach the coarsest block.
        patch: the sides are divided by this first, and the channels take the samples.
        conditions: what it can be told, such as {"label": Class(10)}.
        local: normalise each position on its own, so that what comes out at a place depends on
            what is near it alone, and a long signal can be worked off in windows that overlap.

    Sides that the levels do not divide are padded and cropped inside. The output starts at 0.
    """

    def __init__(
        self,
        dims: int,
        in_channels: int,
        out_channels: int,
        channels: Sequence[int] = (64, 128),
        blocks: int = 2,
        attention: Sequence[bool] | None = None,
        patch: int = 1,
        conditions: Mapping[str, Condition] | None = None,
        local: bool = False,
    ) -> None:
        super().__init__(conditions, _EMBEDDING)
        attention = [False] * len(channels) if attention is None else list(attention)
        if dims not in (1, 2, 3):
            raise ValueError(f"UNet is for 1 to 3 dimensions, not {dims}.")
        if len(attention) != len(channels) or not channels:
            raise ValueError("UNet needs one entry of `attention` for each entry of `channels`.")
        if blocks < 1 or patch < 1:
            raise ValueError("UNet needs at least one block and a patch of at least 1.")
        if local and any(attention):
            raise ValueError("attention looks at everything: a local UNet has none.")
        self.config: dict[str, Any] = {
            "dims": dims,
            "in_channels": in_channels,
            "out_channels": out_channels,
            "channels": list(channels),
            "blocks": blocks,
            "attention": attention,
            "patch": patch,
            "conditions": dict(self.conditions),
            "local": local,
        }
        self.dims, self.patch = dims, patch
        self.width, self.features = channels[-1], _EMBEDDING  # of what `Encoded` holds
        self.multiple = patch * 2 ** (len(channels) - 1)

        told = dict(self._that_enter("tokens"))
        self.tokens = TokenEmbedding(told, _EMBEDDING) if told else None
        self.stem = conv(dims, (in_channels + self._aligned()) * patch**dims, channels[0], 3)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for width, attend in zip(channels, attention, strict=True):
            how = (dims, width, attend, attend and bool(told), local)
            self.down.append(nn.ModuleList(Stage(*how) for _ in range(blocks)))
            stages = (nn.ModuleList((Join(dims, width), Stage(*how))) for _ in range(blocks))
            self.up.append(nn.ModuleList(stages))
        self.middle = Stage(dims, channels[-1], attention[-1], bool(told), local)
        self.shrink, self.grow = nn.ModuleList(), nn.ModuleList()
        for fine, coarse in pairwise(channels):
            self.shrink.append(Resample(dims, fine, coarse, up=False))
            self.grow.append(Resample(dims, coarse, fine, up=True))
        self.head_norm = (PositionNorm if local else group_norm)(channels[0])
        self.head = conv(dims, channels[0], out_channels * patch**dims, 3, zero=True)

    def forward(self, x: Tensor, t: Tensor, **told: Tensor | None) -> Tensor:
        """x [B, in_channels, *spatial] at t [B] in [0, 1] -> [B, out_channels, *spatial].

        A condition that is left out is not told.
        """
        return self.decode(self.encode(x, t, **told))

    def encode(self, x: Tensor, t: Tensor, **told: Tensor | None) -> Encoded:
        """The first half of `forward`: all the way down."""
        sides = x.shape[2:]
        given = self._given(x, told)
        embedded = self._embed(t, given)
        embedding = F.silu(embedded)
        tokens = () if self.tokens is None else self.tokens(given, len(x))
        x = to_patches(_pad(self._with_signals(x, given), self.multiple), self.patch)
        x = self.stem(_in_order(x[:, :, None] if self.dims == 1 else x, t))
        skips: list[Tensor] = []
        for level, stages in enumerate(self.down):
            if level:
                x = self.shrink[level - 1](x)
            for stage in cast(nn.ModuleList, stages):
                x = stage(x, embedding, tokens)
                skips.append(x)
        return Encoded(x, embedded, (skips, tokens, sides))

    def decode(self, encoded: Encoded) -> Tensor:
        """The second half of `forward`: the middle, and up again to [B, out_channels, *spatial]."""
        x, embedded, (skips, tokens, sides) = encoded
        embedding, skips = F.silu(embedded), list(skips)
        x = self.middle(x, embedding, tokens)
        for level in reversed(range(len(self.up))):
            for join, stage in cast(Iterable[tuple[Join, Stage]], self.up[level]):
                x = stage(join(x, skips.pop()), embedding, tokens)
            if level:
                x = self.grow[level - 1](x)
        x = self.head(F.silu(self.head_norm(x)))
        return _crop(from_patches(x[:, :, 0] if self.dims == 1 else x, self.patch), sides)


def _in_order(x: Tensor, t: Tensor) -> Tensor:
    """x [B, C, *spatial], in memory in the order in which the network is fastest.

    On a CPU, float32 convolutions of images are faster with the channels last. But group
    normalisation is slower so on few positions, in bf16 and backward, loses digits on many (1e-5 of
    the network's output at the limit), and has no forward-mode derivative.
    """
    if (
        x.ndim == 4
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and _FEWEST <= x.shape[2:].numel() <= _MOST
        and not torch.is_autocast_enabled("cpu")
        and not torch.is_grad_enabled()
        and all(unpack_dual(y).tangent is None for y in (x, t))
    ):
        # Always a copy: odd strides of a batch of one would hide the order from torch.
        return x.movedim(1, -1).clone(memory_format=torch.contiguous_format).movedim(-1, 1)
    # Front ends give signals in either order; that of images is the caller's choice.
    return x.contiguous() if x.shape[2] == 1 else x


def _margins(side: int, multiple: int) -> tuple[int, int]:
    extra = -side % multiple
    return extra // 2, extra - extra // 2


def _pad(x: Tensor, multiple: int) -> Tensor:
    """Repeat the edges, evenly on both sides, up to multiples of `multiple`."""
    margins = [margin for side in reversed(x.shape[2:]) for margin in _margins(side, multiple)]
    return F.pad(x, margins, mode="replicate") if any(margins) else x


def _crop(x: Tensor, sides: Sequence[int]) -> Tensor:
    """Undo `_pad`: the middle `sides` of x."""
    for dim, side in enumerate(sides, start=2):
        if x.shape[dim] != side:
            x = x.narrow(dim, (x.shape[dim] - side) // 2, side)
    return x
