"""What pictures of sound show: mel spectrograms and envelopes, of sounds that come in parts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torchaudio.functional as taf
from torch import Tensor, nn

from mmdiff.errors import UserError

_WINDOW = 0.04  # seconds, about: it is a power of two of samples
_FRAMES = 8  # a window
_BAND = 32  # mel from band to band
_SILENCE = 1e-12  # -120 dB


def mel(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)


@dataclass(frozen=True)
class Outline:
    """A sound in as much detail as some pixels show.

    Attributes:
        low, high: [C, K], the extreme samples in each of K stretches of equal length.
        levels: [mels, frames] in dB, of the mean power of the channels; a mean square of 1 is 0 dB.
        span: where the frames lie in pixels, from here to there; the last one's middle is at the
            end or near it, on either side.
    """

    low: Tensor
    high: Tensor
    levels: Tensor
    span: tuple[float, float]


def outline(parts: Iterable[Tensor], length: int, sample_rate: int, width: int) -> Outline:
    """What `width` pixels show of a sound that comes in parts [C, any length], one at a time.

    There are at most as many stretches as pixels, and about two frames a pixel at most: where that
    leaves gaps between the windows of a long sound, only what is in the windows is seen.

    A Hann window of 28 to 57 ms, an eighth of it from frame to frame or more, the first frame
    centred on the first sample; triangular bands 32 mel apart, from 0 Hz to half the sample rate
    (67 bands at 8 kHz, 125 at 48 kHz), in the mel of O'Shaughnessy 1987. Nothing falls below
    -120 dB.

    Args:
        parts: on any device and in any precision.
        length: of all of them together.
        sample_rate: in Hz.
        width: in pixels.

    Raises:
        UserError: NaN.
    """
    hop = max(_window(sample_rate) // _FRAMES, length // (2 * width))
    size = -(-length // width)  # of a stretch
    low = high = torch.empty(0)

    def seen() -> Iterator[Tensor]:
        nonlocal low, high
        at = 0
        for part in parts:
            x = part.detach().to("cpu", torch.float32)
            if x.isnan().any():
                raise UserError("the sound has NaN in it: the model has diverged, use another one.")
            if not at:
                low = torch.full((len(x), -(-length // size)), torch.inf)
                high = -low
            place = ((at + torch.arange(x.shape[1])) // size).expand_as(x)
            low.scatter_reduce_(1, place, x, "amin")
            high.scatter_reduce_(1, place, x, "amax")
            at += x.shape[1]
            yield x

    frames = 1 + (2 * length + hop - 1) // (2 * hop)  # the nearest to the length
    powers = torch.cat(list(_powers(seen(), sample_rate, hop, frames)), 1)
    frame = hop / length * width
    return Outline(low, high, _decibels(powers), (-frame / 2, (frames - 0.5) * frame))


def _powers(parts: Iterable[Tensor], sample_rate: int, hop: int, frames: int) -> Iterator[Tensor]:
    """[C, any length] one after another -> [mels, some] until there are `frames` of them.

    Beyond both ends there is silence.
    """
    fft = 2 * _window(sample_rate)
    held = torch.zeros(1, fft // 2)
    for part in parts:
        held = torch.cat((held.expand(len(part), -1), part), 1)
        whole = (held.shape[1] - max(fft, hop)) // hop + 1
        if whole > 0:
            yield _mel_power(held[:, : (whole - 1) * hop + fft], sample_rate, hop).mean(0)
            held, frames = held[:, whole * hop :], frames - whole
    if frames:
        held = nn.functional.pad(held, (0, (frames - 1) * hop + fft - held.shape[1]))
        yield _mel_power(held, sample_rate, hop).mean(0)


def _window(sample_rate: int) -> int:
    """In samples."""
    return 2 ** max(3, round(math.log2(_WINDOW * sample_rate)))


def _mel_power(x: Tensor, sample_rate: int, hop: int) -> Tensor:
    """[..., L] -> [..., mels, 1 + (L - 2 windows) // hop]."""
    window = _window(sample_rate)
    fft = 2 * window  # the lowest bands lie closer together than the window's own frequencies
    x = x.detach().to(torch.promote_types(x.dtype, torch.float32))
    hann = torch.hann_window(window, dtype=x.dtype, device=x.device)
    power = taf.spectrogram(x, 0, hann, fft, hop, window, 2.0, False, center=False)
    nyquist = sample_rate / 2
    mels = max(1, round(mel(nyquist)) // _BAND)
    bands = taf.melscale_fbanks(fft // 2 + 1, 0.0, nyquist, mels, sample_rate).to(power)
    # By Parseval's theorem the bands then add up to the mean square in the window.
    return (bands.T @ power) * (2 / (fft * hann.square().sum()))


def _decibels(power: Tensor) -> Tensor:
    return 10 * power.clamp(min=_SILENCE).log10()
