"""What happens to a recording: noise, a room, a microphone's limits, a lossy file.

A degradation makes a damaged sound of a clean one, [C, L] in about [-1, 1], which stays aligned
with it: no damage delays, and the part of the clean sound in it keeps its level. All that is random
is a function of (seed, index, visit), so that a training that is resumed sees the same again.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import soundfile
import torch
from torch import Tensor

from mmdiff import noise
from mmdiff.audio.levels import active_level, ratio
from mmdiff.audio.noises import COLOURS, Coloured, Source
from mmdiff.audio.sound import resample

Range = tuple[float, float]  # from, to: numbers in between are equally likely

# Streams of random numbers.
_SNR, _SOURCE, _ROOM, _TAIL, _CLIPPED, _COMPRESSED, _CHANCE, _ORDER = range(40, 48)

_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


class Degradation(Protocol):
    """See the head of this module."""

    def __call__(self, x: Tensor, seed: int, index: int, visit: int) -> Tensor:
        """`x` [C, L] when item `index` is visited for the `visit`-th time, damaged: [C, L]."""


@dataclass(frozen=True)
class Noise:
    """Noise from one of the sources, at a drawn distance from the sound.

    Attributes:
        sample_rate: in Hz.
        sources: each as likely as the others.
        snr: in dB, the level of the sound where it is active (`active_level`) above the root mean
            square of the noise. Silence stays silence.
    """

    sample_rate: int
    sources: Sequence[Source]
    snr: Range

    def __call__(self, x: Tensor, seed: int, index: int, visit: int) -> Tensor:
        (which,) = _uniform(seed, index, visit, _SOURCE)
        source = self.sources[int(which * len(self.sources))]
        added = source((x.shape[0], x.shape[1]), seed, index, visit)
        level = float(added.square().mean().sqrt())
        if not level:
            return x
        wanted = active_level(x, self.sample_rate) / ratio(
            _within(self.snr, seed, index, visit, _SNR)
        )
        return x + added * (wanted / level)


@dataclass(frozen=True)
class Room:
    """The echoes of a room: after the direct sound, noise that dies away (Polack 1988).

    The direct sound comes first and is the clean one, without delay. After 2 to 10 ms follow the
    reflections, dense from the first: Gaussian noise, another on each channel, duller than the
    sound, whose energy falls by 60 dB in `rt60`. There is no geometry in it, which makes it quick
    enough to draw a room for each visit.

    Attributes:
        sample_rate: in Hz.
        rt60: seconds.
        direct: dB, the energy of the direct sound above that of all reflections.
    """

    sample_rate: int
    rt60: Range = (0.15, 0.8)
    direct: Range = (-3.0, 12.0)

    def __call__(self, x: Tensor, seed: int, index: int, visit: int) -> Tensor:
        response = self.response(len(x), seed, index, visit)
        size = _power(x.shape[1] + response.shape[1])
        echoed = torch.fft.irfft(torch.fft.rfft(x, size) * torch.fft.rfft(response, size), size)
        return echoed[:, : x.shape[1]]

    def response(self, channels: int, seed: int, index: int, visit: int) -> Tensor:
        """[channels, N]: what a click of 1 becomes."""
        drawn = _uniform(seed, index, visit, _ROOM, 4)
        rt60, direct, gap, dull = (
            low + (high - low) * part
            for part, (low, high) in zip(
                drawn, (self.rt60, self.direct, (0.002, 0.01), (1500.0, 8000.0)), strict=True
            )
        )
        length = max(2, round(rt60 * self.sample_rate))
        white = noise.normal(seed, torch.tensor([index]), visit, (channels, length), _TAIL)[0]
        size = _power(length)
        low_pass = (1 + (torch.fft.rfftfreq(size, 1 / self.sample_rate) / dull) ** 2).rsqrt()
        tail = torch.fft.irfft(torch.fft.rfft(white, size) * low_pass, size)[:, :length]
        tail *= 10 ** (-3 * torch.arange(length) / length)
        tail[:, : max(1, round(gap * self.sample_rate))] = 0
        energy = tail.square().sum(1, keepdim=True).clamp(min=1e-12)
        tail *= ratio(-direct) / energy.sqrt()
        tail[:, 0] = 1
        return tail


@dataclass(frozen=True)
class Clipped:
    """A microphone that was set too loud cuts off what is at most `depth` dB below the peak."""

    depth: Range = (1.0, 12.0)

    def __call__(self, x: Tensor, seed: int, index: int, visit: int) -> Tensor:
        limit = float(x.abs().max()) * ratio(-_within(self.depth, seed, index, visit, _CLIPPED))
        return x.clamp(-limit, limit)


@dataclass(frozen=True)
class Compressed:
    """As an MP3 of a variable bit rate leaves it, each channel on its own.

    Attributes:
        sample_rate: in Hz, one that MP3 knows.
        quality: 0 is the best; close to 1 is the worst, about 22 kbit/s at 16 kHz.
    """

    sample_rate: int
    quality: Range = (0.2, 0.95)

    def __post_init__(self) -> None:
        if self.sample_rate not in _MP3_RATES:
            known = ", ".join(f"{rate:,}" for rate in _MP3_RATES)
            raise ValueError(f"MP3 knows no sample rate of {self.sample_rate:,} Hz, only {known}.")

    def __call__(self, x: Tensor, seed: int, index: int, visit: int) -> Tensor:
        quality = _within(self.quality, seed, index, visit, _COMPRESSED)
        peak = max(1.0, float(x.abs().max()))  # beyond which an encoder clips
        return torch.stack([self._channel(one / peak, quality) for one in x]) * peak

    def _channel(self, x: Tensor, quality: float) -> Tensor:
        """[L] -> [L]; at a variable bit rate the file says which of what is decoded is padding."""
        with io.BytesIO() as file:
            soundfile.write(
                file, x.numpy(), self.sample_rate, format="MP3",
                bitrate_mode="VARIABLE", compression_level=quality,
            )  # fmt: skip
            file.seek(0)
            return torch.from_numpy(soundfile.read(file, dtype="float32")[0])


@dataclass(frozen=True)
class LowBand:
    """What a recording at a lower sample rate `rate` keeps: nothing above half of it."""

    sample_rate: int
    rate: int

    def __call__(self, x: Tensor, seed: int, index: int, visit: int) -> Tensor:
        return low_band(x, self.sample_rate, self.rate)


@dataclass(frozen=True)
class Sometimes:
    """A degradation at a share `chance` of all visits, and none at the others."""

    chance: float
    part: Degradation

    def __call__(self, x: Tensor, seed: int, index: int, visit: int) -> Tensor:
        (drawn,) = _uniform(seed, index, visit, _CHANCE)
        return self.part(x, seed, index, visit) if drawn < self.chance else x


@dataclass(frozen=True)
class Chain:
    """Several degradations, one after another, in an order that is drawn at each visit."""

    parts: Sequence[Degradation]

    def __call__(self, x: Tensor, seed: int, index: int, visit: int) -> Tensor:
        drawn = _uniform(seed, index, visit, _ORDER, len(self.parts))
        for place in sorted(range(len(self.parts)), key=drawn.__getitem__):
            # Each part has a seed of its own: two of a kind must not draw the same.
            x = self.parts[place](x, seed + (place << 32), index, visit)
        return x


def everyday(sample_rate: int, recorded: Source | None = None) -> Chain:
    """What goes wrong with a recording of a voice: an enhancer's training.

    Nine of ten have noise, one of four a second and softer one, two of five a room, one of ten each
    is clipped or was an MP3; about one of twenty is clean, so that an enhancer learns to leave it
    alone. Two thirds of the noise are `recorded`, if that is given, and the rest is of all colours.
    """
    colours: list[Source] = [Coloured(colour, sample_rate) for colour in COLOURS]
    sources = (*colours, *([recorded] * 2 * len(colours) if recorded else ()))
    parts: list[Degradation] = [
        Sometimes(0.9, Noise(sample_rate, sources, (-3.0, 30.0))),
        Sometimes(0.25, Noise(sample_rate, sources, (5.0, 30.0))),
        Sometimes(0.4, Room(sample_rate)),
        Sometimes(0.1, Clipped()),
    ]
    if sample_rate in _MP3_RATES:
        parts.append(Sometimes(0.1, Compressed(sample_rate)))
    return Chain(tuple(parts))


def low_band(x: Tensor, sample_rate: int, rate: int) -> Tensor:
    """`x` [C, L] at `sample_rate` as it is after a stay at the lower `rate`: [C, L]."""
    length = x.shape[1]
    extra = -(-sample_rate // rate) + 1  # so that rounding of lengths takes nothing away
    low = resample(torch.nn.functional.pad(x, (0, extra)), sample_rate, rate)
    return resample(low, rate, sample_rate)[:, :length]


def _power(length: int) -> int:
    """The next power of two, at which Fourier transforms are quick."""
    return 1 << (length - 1).bit_length()


def _uniform(seed: int, index: int, visit: int, stream: int, count: int = 1) -> list[float]:
    """So many numbers in [0, 1)."""
    return noise.uniform(seed, count * index + torch.arange(count), visit, stream).tolist()


def _within(span: Range, seed: int, index: int, visit: int, stream: int) -> float:
    (part,) = _uniform(seed, index, visit, stream)
    return span[0] + (span[1] - span[0]) * part
