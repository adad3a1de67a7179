"""The short-time Fourier transform as a codec."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from mmdiff.nn.codecs import AxisCodec
from mmdiff.nn.frames import margins, overlap_add

Form = Literal["complex", "polar"]


class STFT(AxisCodec):
    """The short-time Fourier transform, windowed by Hann on both ways.

    The window is divided by the root of its overlapped squares, and bins that stand for two
    frequencies are scaled by the root of 2, so that the code has the energy of the signal and
    `decode` is both the inverse and the transpose of `encode` (a Parseval frame). It is redundant:
    there are 2 (n_fft / 2 + 1) channels for each `hop` samples.

    Args:
        n_fft: even, the length of the window.
        hop: at most half of it.
        form: "complex" (real and imaginary parts) or "polar" (magnitudes and phases in radians).
        dims: dimensions of the signal; the axes are transformed one after the other.
    """

    window: Tensor
    gains: Tensor

    def __init__(
        self, n_fft: int = 1024, hop: int = 256, form: Form = "complex", dims: int = 1
    ) -> None:
        super().__init__(dims)
        if n_fft < 2 or n_fft % 2 or not 1 <= hop <= n_fft // 2:
            raise ValueError(f"STFT needs an even n_fft and 1 <= hop <= n_fft / 2: {n_fft}, {hop}.")
        if form not in get_args(Form):
            raise ValueError(f'unknown form {form!r}; known are "complex" and "polar".')
        self.config = {"n_fft": n_fft, "hop": hop, "form": form, "dims": dims}
        self.n_fft, self.factor, self.width, self.form = n_fft, hop, n_fft + 2, form
        hann = torch.hann_window(n_fft, dtype=torch.float64)
        squares = F.pad(hann.square(), (0, -n_fft % hop)).reshape(-1, hop).sum(0)
        window = hann / squares.repeat(-(-n_fft // hop))[:n_fft].sqrt()
        gains = torch.full((n_fft // 2 + 1, 1), math.sqrt(2), dtype=torch.float64)
        gains[0] = gains[-1] = 1
        self.register_buffer("window", window.float(), persistent=False)
        self.register_buffer("gains", gains.float(), persistent=False)

    def analyse(self, x: Tensor) -> Tensor:
        frames = F.pad(x, margins(x.shape[2], self.n_fft, self.factor))
        frames = frames.unfold(2, self.n_fft, self.factor) * self.window
        bins = torch.fft.rfft(frames, norm="ortho")
        bins = rearrange(bins, "b c l k -> b c k l")
        real, imaginary = bins.real * self.gains, bins.imag * self.gains
        if self.form == "polar":
            real, imaginary = _polar(real, imaginary)
        return rearrange(torch.cat((real, imaginary), dim=2), "b c k l -> b (c k) l")

    def synthesise(self, z: Tensor, length: int) -> Tensor:
        real, imaginary = rearrange(z, "b (c k) l -> b c k l", k=self.width).chunk(2, dim=2)
        if self.form == "polar":
            real, imaginary = real * imaginary.cos(), real * imaginary.sin()
        bins = torch.complex(real / self.gains, imaginary / self.gains)
        bins = rearrange(bins, "b c k l -> b c l k")
        frames = torch.fft.irfft(bins, n=self.n_fft, norm="ortho") * self.window
        return overlap_add(frames, self.factor, length)


def _polar(real: Tensor, imaginary: Tensor) -> tuple[Tensor, Tensor]:
    """Magnitude and phase; at zero, where neither has a gradient, both are 0, as are gradients."""
    square = real.square() + imaginary.square()
    zero = square == 0
    magnitude = torch.where(zero, 0, torch.where(zero, 1, square).sqrt())
    return magnitude, torch.atan2(imaginary, torch.where(zero, 1, real))
