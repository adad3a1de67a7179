"""A prior for vocoders: noise that is as loud, in time and frequency, as what is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from mmdiff.audio.mel import Mel
from mmdiff.conditions import Signal
from mmdiff.nn import MDCT
from mmdiff.nn.mdct import basis


class PriorGrad(nn.Module):
    """The MDCT of x, each coefficient divided by what the mel energy expects of it.

    Noise of deviation 1 in such a code is noise with the spectrum of x: diffusion begins there, and
    not at white noise (Lee et al. 2022, whose variance follows the energy of frames alone).

    With P the energy of a mel band, A the area of its filter and E the energy of the analysis
    window, a coefficient at the band's centre has variance P / (A E), which is interpolated between
    centres and between frames.

    Args:
        codec: turns a signal of one or more channels to coefficients.
        mel: how the frames were made.
    """

    given = ("mel",)
    between: Tensor

    def __init__(self, codec: MDCT, mel: Mel) -> None:
        super().__init__()
        self.inner = codec
        self.mel = mel
        self.factor = codec.factor
        self._frames = Signal(mel.bands, factor=mel.hop / codec.factor)
        filters = mel.filters.double()
        area = filters.sum(1)
        hann = torch.hann_window(mel.window, dtype=torch.float64)
        spectrum = _interpolated(filters) / (area * hann.square().sum())
        heard = torch.fft.rfft(basis(codec.factor, codec.window), n=mel.window)
        both = torch.full((filters.shape[1],), 2.0, dtype=torch.float64)  # signs of a frequency
        both[0] = both[-1] = 1
        between = (heard.abs().square() * both / mel.window) @ spectrum
        self.register_buffer("between", between.float(), persistent=False)

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that it was made with."""
        return {"codec": self.inner, "mel": self.mel}

    def channels(self, channels: int) -> int:
        return self.inner.channels(channels)

    def encode(self, x: Tensor, mel: Tensor) -> Tensor:
        """x [B, C, L] and mel [B, C bands, frames] -> [B, C width, about L / factor]."""
        code = self.inner.encode(x)
        return code / self._deviation(mel, code.shape[2])

    def decode(self, z: Tensor, spatial: Sequence[int], mel: Tensor) -> Tensor:
        """The same back to x, cut to `spatial`."""
        return self.inner.decode(z * self._deviation(mel, z.shape[2]), spatial)

    def _deviation(self, mel: Tensor, positions: int) -> Tensor:
        """[B, C width, positions]: what a coefficient's size is expected to be."""
        each = rearrange(mel, "b (c m) l -> (b c) m l", m=self.mel.bands)
        power = self._frames.align(each.exp(), (positions,))[:, :-1]
        deviation = (self.between @ power).sqrt()
        return rearrange(deviation, "(b c) k l -> b (c k) l", b=len(mel))


def _interpolated(filters: Tensor) -> Tensor:
    """[bins, bands]: what each band says of each bin, linear between the bands' centres."""
    bands, bins = filters.shape
    places = torch.arange(bins, dtype=filters.dtype)
    centres = (filters @ places) / filters.sum(1)
    above = torch.searchsorted(centres, places).clamp(1, bands - 1)
    part = (places - centres[above - 1]) / (centres[above] - centres[above - 1])
    part = part.clamp(0, 1)[:, None]
    unit = torch.eye(bands, dtype=filters.dtype)
    return (1 - part) * unit[above - 1] + part * unit[above]
