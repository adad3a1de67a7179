"""A learned convolution as a codec."""

from __future__ import annotations

from typing import Literal, get_args

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from mmdiff.nn.codecs import AxisCodec
from mmdiff.nn.frames import margins, overlap_add
from mmdiff.nn.mdct import basis

Start = Literal["mdct", "random"]


class LearnedConv(AxisCodec):
    """One convolution before the backbone, one transposed convolution behind it, both learned.

    Args:
        kernel: at least `stride`.
        stride: samples per frame.
        channels: filters, for each channel of the signal.
        start: "mdct" begins as a perfect reconstruction, with the filters of an MDCT (it needs
            kernel = 2 stride and channels = stride), "random" as any convolution.
        dims: dimensions of the signal; the axes are transformed one after the other, by the same
            filters.
    """

    def __init__(
        self,
        kernel: int = 128,
        stride: int = 64,
        channels: int = 64,
        start: Start = "mdct",
        dims: int = 1,
    ) -> None:
        super().__init__(dims)
        if not 1 <= stride <= kernel or channels < 1:
            raise ValueError(f"LearnedConv needs 1 <= stride <= kernel: {stride}, {kernel}.")
        if start not in get_args(Start):
            raise ValueError(f'unknown start {start!r}; known are "mdct" and "random".')
        self.config = {
            "kernel": kernel,
            "stride": stride,
            "channels": channels,
            "start": start,
            "dims": dims,
        }
        self.kernel, self.factor, self.width = kernel, stride, channels
        self.analysis = nn.Conv1d(1, channels, kernel, stride, bias=False)
        self.synthesis = nn.ConvTranspose1d(channels, 1, kernel, stride, bias=False)
        if start == "mdct":
            if (kernel, channels) != (2 * stride, stride):
                raise ValueError(
                    'start="mdct" needs kernel = 2 stride and channels = stride: '
                    'change them, or use start="random".'
                )
            filters = basis(stride)[:, None].float()
            self.analysis.weight = nn.Parameter(filters.clone())
            self.synthesis.weight = nn.Parameter(filters)

    def analyse(self, x: Tensor) -> Tensor:
        padded = F.pad(x, margins(x.shape[2], self.kernel, self.factor))
        code = self.analysis(rearrange(padded, "b c l -> (b c) 1 l"))
        return rearrange(code, "(b c) k l -> b (c k) l", b=len(x))

    def synthesise(self, z: Tensor, length: int) -> Tensor:
        # On a CPU, torch's transposed convolution takes up to ten times as long.
        code = rearrange(z, "b (c k) l -> b c l k", k=self.width)
        return overlap_add(code @ self.synthesis.weight[:, 0], self.factor, length)
