"""The blocks that the U-Nets are made of, for one to three dimensions from the same code.

To all of them a signal is an image of height 1: only images have a choice of memory layouts.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_HEAD = 32
_TINY = 1e-6  # of a mean square
_FIR = (1.0, 3.0, 3.0, 1.0)
_APPLY: dict[tuple[int, bool], Any] = {
    (2, False): F.conv2d,
    (2, True): F.conv_transpose2d,
    (3, False): F.conv3d,
    (3, True): F.conv_transpose3d,
}


class Conv1d(nn.Conv1d):
    """A convolution of signals [B, C, 1, L] that keeps lengths."""

    def forward(self, x: Tensor) -> Tensor:
        margin = self.kernel_size[0] // 2
        return F.conv2d(x, self.weight[:, :, None], self.bias, padding=(0, margin))


class Conv3d(nn.Conv3d):
    """A convolution of signals [B, C, T, H, W] that keeps sides.

    oneDNN leaves a bfloat16 gradient of 3x3x3 weights unwritten where T = 2 (torch 2.11): there a
    third plane of zeros goes in, which is what lies beyond the second anyway.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2] != 2 or x.device.type != "cpu" or not torch.is_grad_enabled():
            return super().forward(x)
        return super().forward(F.pad(x, (0, 0, 0, 0, 0, 1)))[:, :, :2]


_CONVS = {1: Conv1d, 2: nn.Conv2d, 3: Conv3d}


def conv(
    dims: int, channels_in: int, channels_out: int, kernel: int, zero: bool = False
) -> nn.Module:
    """A convolution that keeps lengths (odd `kernel`); with `zero`, it starts as the zero map."""
    layer = _CONVS[dims](channels_in, channels_out, kernel, padding=kernel // 2)
    if zero:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def group_norm(channels: int) -> nn.GroupNorm:
    """Group normalisation in up to 8 groups, of at least two channels each.

    A group of one channel would be a constant where only one position is left.
    """
    whole = (g for g in (8, 4, 2) if channels % g == 0 and channels >= 2 * g)
    return nn.GroupNorm(next(whole, 1), channels)


class PositionNorm(nn.Module):
    """Each position on its own, over its channels, to a mean square of 1 (Zhang & Sennrich 2019).

    Unlike a group's statistics it depends on nothing far away.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, *spatial] -> the same shape."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        scale = wide.square().mean(1, keepdim=True).add(_TINY).rsqrt().to(x.dtype)
        return x * scale * self.weight.to(x.dtype)[(..., *(None,) * (x.ndim - 2))]


class ResBlock(nn.Module):
    """Two convolutions around a residual; the embedding scales and shifts what is between them.

    Dhariwal & Nichol 2021 (adaptive group normalisation). It starts as the identity.
    """

    def __init__(self, dims: int, channels: int, embedding: int, local: bool = False) -> None:
        super().__init__()
        norm = PositionNorm if local else group_norm
        self.norm_in = norm(channels)
        self.conv_in = conv(dims, channels, channels, 3)
        self.modulation = nn.Linear(embedding, 2 * channels)
        self.norm_out = norm(channels)
        self.conv_out = conv(dims, channels, channels, 3, zero=True)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """x [B, C, *spatial], embedding [B, E] -> the shape of x."""
        h = self.conv_in(F.silu(self.norm_in(x)))
        modulation = self.modulation(embedding)
        scale, shift = modulation[(..., *(None,) * (x.ndim - 2))].chunk(2, dim=1)
        # On a CPU, addcmul takes three times as long, and one more large tensor costs page faults.
        h = (self.norm_out(h) * (1 + scale)).add_(shift)
        return x + self.conv_out(F.silu(h))


class Attention(nn.Module):
    """Self-attention over all positions, a head for 32 channels; it starts as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = max(1, channels // _HEAD)
        if channels % self.heads:
            raise ValueError(
                f"{self.heads} heads do not divide {channels} channels: use a multiple of {_HEAD}."
            )
        self.norm = group_norm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, *spatial] -> the same shape."""
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        h = attend(q, k, v).transpose(1, 2).flatten(2)
        return x + self.out(h).transpose(1, 2).reshape(x.shape)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attention [B, heads, N, d] in the dtype of `v`; to those keys alone where `mask` is true."""
    if v.device.type != "cpu" or v.dtype != torch.bfloat16:
        return F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v, mask)
    # On a CPU the bf16 kernel's backward takes three times as long as float32's.
    with torch.autocast("cpu", enabled=False):
        return F.scaled_dot_product_attention(q.float(), k.float(), v.float(), mask).to(v.dtype)


class Resample(nn.Module):
    """Halve or double every side: the filter [1, 3, 3, 1] and a mix of channels in one convolution.

    The filter is the B-spline that keeps most of the aliases (down) and images (up) out
    (Karras et al. 2020); it is fixed, the channel mix is learned. Multiplied out into a dense
    kernel it runs at the speed of any convolution. Only a CPU that trains in float32 is faster
    with one after the other, which is the same but for rounding.
    """

    fir: Tensor

    def __init__(self, dims: int, channels_in: int, channels_out: int, up: bool) -> None:
        super().__init__()
        self.up = up
        sides = (1, 2) if dims == 1 else (2,) * dims  # a signal keeps its height of 1
        self.stride, self.padding = sides, tuple(side // 2 for side in sides)
        self.weight = nn.Parameter(torch.empty(channels_out, channels_in))
        self.bias = nn.Parameter(torch.zeros(channels_out))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        fir = torch.tensor(_FIR) / sum(_FIR)
        kernel = fir[None] if dims == 1 else fir
        for _ in range(dims - 1):
            kernel = kernel[..., None] * fir
        # Doubling inserts zeros between the samples: the gain makes up for them.
        self.register_buffer("fir", kernel * (2**dims if up else 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, *spatial], even sides (but for a signal's height) -> [B, C', *half], or double."""
        mix = self.weight[(..., *(None,) * self.fir.ndim)]
        if x.device.type != "cpu" or not self.training or torch.is_autocast_enabled("cpu"):
            dense = (mix.transpose(0, 1) if self.up else mix) * self.fir
            return self._filter(x, dense, self.bias)
        convolve = _APPLY[self.fir.ndim, False]
        each = self.fir.expand(len(mix) if self.up else x.shape[1], 1, *self.fir.shape)
        if self.up:
            return self._filter(convolve(x, mix), each, self.bias, groups=len(each))
        return convolve(self._filter(x, each, None, groups=len(each)), mix, self.bias)

    def _filter(self, x: Tensor, kernel: Tensor, bias: Tensor | None, groups: int = 1) -> Tensor:
        apply = _APPLY[self.fir.ndim, self.up]
        return apply(x, kernel, bias, stride=self.stride, padding=self.padding, groups=groups)
