"""What stands between a waveform and a network: a shorter sequence with more channels.

Every front end is a module with

    encode: [B, C, L] -> [B, channels(C), about L / factor]
    decode: the same back, cut to `length`

for any L, and `FrontEnd` puts one around any one-dimensional backbone: noise, loss and sampler stay
with the waveform.
"""

from __future__ import annotations

import math
from typing import Any, Literal, Protocol, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmdiff.audio.mdct import MDCT, basis
from mmdiff.nn.patches import from_patches, to_patches

LARGEST = 8192  # samples that `parse` lets a front end take at a time

Form = Literal["complex", "polar"]
Start = Literal["mdct", "random"]


class Transform(Protocol):
    """The contract of a front end. `config` holds the arguments that it was made with."""

    config: dict[str, Any]
    factor: int

    def channels(self, channels: int) -> int:
        """Channels of the code of a signal with `channels` channels."""

    def encode(self, x: Tensor) -> Tensor:
        """[B, C, L] -> [B, channels(C), L']."""

    def decode(self, y: Tensor, length: int) -> Tensor:
        """[B, channels(C), L'] -> [B, C, length]."""


class Raw(nn.Module):
    """The waveform as it is."""

    factor = 1

    def __init__(self) -> None:
        super().__init__()
        self.config: dict[str, Any] = {}

    def channels(self, channels: int) -> int:
        return channels

    def encode(self, x: Tensor) -> Tensor:
        return x

    def decode(self, y: Tensor, length: int) -> Tensor:
        return y


class Patch(nn.Module):
    """Stretches of `size` samples become channels: `b c (l p) -> b (c p) l`. Orthonormal."""

    def __init__(self, size: int) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"a patch has at least 1 sample, not {size}.")
        self.config = {"size": size}
        self.factor = size

    def channels(self, channels: int) -> int:
        return channels * self.factor

    def encode(self, x: Tensor) -> Tensor:
        return to_patches(F.pad(x, (0, -x.shape[2] % self.factor)), self.factor)

    def decode(self, y: Tensor, length: int) -> Tensor:
        return from_patches(y, self.factor)[..., :length]


class STFT(nn.Module):
    """The short-time Fourier transform, windowed by Hann on both ways.

    The window is divided by the root of its overlapped squares, and bins that stand for two
    frequencies are scaled by the root of 2, so that the code has the energy of the signal and
    `decode` is both the inverse and the transpose of `encode` (a Parseval frame). It is redundant:
    there are 2 (n_fft / 2 + 1) channels for each `hop` samples.

    Args:
        n_fft: even, the length of the window.
        hop: at most half of it.
        form: "complex" (real and imaginary parts) or "polar" (magnitudes and phases in radians).
    """

    window: Tensor
    gains: Tensor

    def __init__(self, n_fft: int = 1024, hop: int = 256, form: Form = "complex") -> None:
        super().__init__()
        if n_fft < 2 or n_fft % 2 or not 1 <= hop <= n_fft // 2:
            raise ValueError(f"STFT needs an even n_fft and 1 <= hop <= n_fft / 2: {n_fft}, {hop}.")
        if form not in get_args(Form):
            raise ValueError(f'unknown form {form!r}; known are "complex" and "polar".')
        self.config = {"n_fft": n_fft, "hop": hop, "form": form}
        self.n_fft, self.factor, self.form = n_fft, hop, form
        hann = torch.hann_window(n_fft, dtype=torch.float64)
        squares = F.pad(hann.square(), (0, -n_fft % hop)).reshape(-1, hop).sum(0)
        window = hann / squares.repeat(-(-n_fft // hop))[:n_fft].sqrt()
        gains = torch.full((n_fft // 2 + 1, 1), math.sqrt(2), dtype=torch.float64)
        gains[0] = gains[-1] = 1
        self.register_buffer("window", window.float(), persistent=False)
        self.register_buffer("gains", gains.float(), persistent=False)

    def channels(self, channels: int) -> int:
        return channels * (self.n_fft + 2)

    def encode(self, x: Tensor) -> Tensor:
        frames = F.pad(x, _margins(x.shape[2], self.n_fft, self.factor))
        frames = frames.unfold(2, self.n_fft, self.factor) * self.window
        bins = torch.fft.rfft(frames, norm="ortho").transpose(2, 3)
        real, imaginary = bins.real * self.gains, bins.imag * self.gains
        if self.form == "polar":
            real, imaginary = _polar(real, imaginary)
        return torch.cat((real, imaginary), dim=2).flatten(1, 2)

    def decode(self, y: Tensor, length: int) -> Tensor:
        real, imaginary = y.unflatten(1, (-1, self.n_fft + 2)).chunk(2, dim=2)
        if self.form == "polar":
            real, imaginary = real * imaginary.cos(), real * imaginary.sin()
        bins = torch.complex(real / self.gains, imaginary / self.gains).transpose(2, 3)
        frames = torch.fft.irfft(bins, n=self.n_fft, norm="ortho") * self.window
        return _overlap_add(frames, self.factor, length)


class LearnedConv(nn.Module):
    """One convolution before the backbone, one transposed convolution behind it, both learned.

    Args:
        kernel: at least `stride`.
        stride: samples per frame.
        channels: filters, for each channel of the signal.
        start: "mdct" begins as a perfect reconstruction, with the filters of an MDCT (it needs
            kernel = 2 stride and channels = stride), "random" as any convolution.
    """

    def __init__(
        self, kernel: int = 128, stride: int = 64, channels: int = 64, start: Start = "mdct"
    ) -> None:
        super().__init__()
        if not 1 <= stride <= kernel or channels < 1:
            raise ValueError(f"LearnedConv needs 1 <= stride <= kernel: {stride}, {kernel}.")
        if start not in get_args(Start):
            raise ValueError(f'unknown start {start!r}; known are "mdct" and "random".')
        self.config = {"kernel": kernel, "stride": stride, "channels": channels, "start": start}
        self.kernel, self.factor, self.filters = kernel, stride, channels
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

    def channels(self, channels: int) -> int:
        return channels * self.filters

    def encode(self, x: Tensor) -> Tensor:
        padded = F.pad(x, _margins(x.shape[2], self.kernel, self.factor))
        return self.analysis(padded.flatten(0, 1)[:, None]).unflatten(0, x.shape[:2]).flatten(1, 2)

    def decode(self, y: Tensor, length: int) -> Tensor:
        # On a CPU, torch's transposed convolution takes up to ten times as long.
        code = y.unflatten(1, (-1, self.filters)).transpose(2, 3)
        return _overlap_add(code @ self.synthesis.weight[:, 0], self.factor, length)


class FrontEnd(nn.Module):
    """A one-dimensional backbone behind a front end, itself a backbone on waveforms.

    Args:
        transform: the front end.
        backbone: takes and returns `transform.channels(C)` channels.

    The front end computes in float32 (or wider, as x is) under autocast too. For bfloat16 use
    autocast: weights of less than float32 would be those of the front end, too. The convolution of
    `LearnedConv` follows `torch.backends.cudnn.allow_tf32`.
    """

    def __init__(self, transform: nn.Module, backbone: nn.Module) -> None:
        super().__init__()
        self.transform: Any = transform
        self.backbone: Any = backbone

    @property
    def config(self) -> dict[str, Any]:
        """{"transform", "backbone"}: the name and the arguments of each."""
        return {
            key: {"name": type(part).__name__, "config": part.config}
            for key, part in (("transform", self.transform), ("backbone", self.backbone))
        }

    @property
    def conditions(self) -> dict[str, int]:
        """Numbers of classes of the backbone's conditions by name."""
        return dict(self.backbone.conditions)

    def forward(self, x: Tensor, t: Tensor, **cond: Tensor | None) -> Tensor:
        """x [B, C, L] at t [B] -> [B, C, L], in the dtype of x."""
        wide = torch.promote_types(x.dtype, torch.float32)
        with torch.autocast(x.device.type, enabled=False):
            code = self.transform.encode(x.to(wide))
        output = self.backbone(code, t, **cond)
        with torch.autocast(x.device.type, enabled=False):
            y: Tensor = self.transform.decode(output.to(wide), x.shape[2])
        return y.to(x.dtype)


TRANSFORMS: dict[str, type[nn.Module]] = {
    kind.__name__: kind for kind in (Raw, Patch, STFT, LearnedConv, MDCT)
}


def build(description: dict[str, Any]) -> nn.Module:
    """The front end that {"name", "config"} describes."""
    if description["name"] not in TRANSFORMS:
        raise ValueError(f"unknown front end {description['name']!r}")
    return TRANSFORMS[description["name"]](**description["config"])


def parse(text: str) -> nn.Module:
    """The front end that a few letters name.

    raw; patch:P; stft or stft:N (a window of N, a quarter of it as hop; 1024); learned or learned:S
    (a stride of S, twice that as kernel; 64); mdct or mdct:M (M bands; 64).

    Raises:
        ValueError: anything else, or a number beyond `LARGEST` (a transform's matrix has that many
            rows and columns).
    """
    name, _, number = text.partition(":")
    if number and not number.isdecimal():
        raise ValueError(f"{text!r} does not end in a whole number, as patch:32 does.")
    size = int(number or 0)
    if size > LARGEST:
        raise ValueError(f"{text!r} takes too much at a time: use a number up to {LARGEST}.")
    if name == "raw" and not number:
        return Raw()
    if name == "patch" and number:
        return Patch(size)
    if name == "stft":
        return STFT(size, max(1, size // 4)) if number else STFT()
    if name == "learned":
        return LearnedConv(2 * size, size, size) if number else LearnedConv()
    if name == "mdct":
        return MDCT(size if number else 64)
    raise ValueError(
        f"unknown front end {text!r}; known are raw, patch:P, stft, stft:N, learned, learned:S, "
        "mdct and mdct:M."
    )


def _margins(length: int, window: int, hop: int) -> tuple[int, int]:
    """Zeros before and after a signal, for every sample to lie in the same number of windows."""
    before = window - hop
    return before, before + (-(length + before)) % hop


def _overlap_add(frames: Tensor, hop: int, length: int) -> Tensor:
    """[B, C, N, window] -> [B, C, length], without the zeros that `_margins` put before it."""
    batch, channels, count, window = frames.shape
    parts = frames.split(hop, dim=3)
    x = frames.new_zeros(batch, channels, count + len(parts) - 1, hop)
    for first, part in enumerate(parts):
        x[:, :, first : first + count, : part.shape[3]] += part
    return x.flatten(2)[..., window - hop : window - hop + length]


def _polar(real: Tensor, imaginary: Tensor) -> tuple[Tensor, Tensor]:
    """Magnitude and phase; at zero, where neither has a gradient, both are 0, as are gradients."""
    square = real.square() + imaginary.square()
    zero = square == 0
    magnitude = torch.where(zero, 0, torch.where(zero, 1, square).sqrt())
    return magnitude, torch.atan2(imaginary, torch.where(zero, 1, real))
