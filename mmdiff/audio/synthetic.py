"""Sounds that are computed: plucked strings at the pitches of a scale, and five drums.

A data set without files. Everything about a sound is drawn from its seed, in Hz and seconds, so
that one seed is one sound at every sample rate, up to the frequencies that the rate can hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdiff import noise

SPLITS = ("train", "test")
BAND = 0.45  # of the sample rate: nothing is above it
PEAK = 0.95

_NOTES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
# C major from C3 to C5, equally tempered on A4 = 440 Hz.
PITCHES = {
    f"{name}{octave}": 440.0 * 2 ** (octave - 4 + (step - 9) / 12)
    for octave in (3, 4, 5)
    for name, step in _NOTES.items()
    if octave < 5 or name == "C"
}

_PARAMETERS, _MODES, _BINS, _PLACE = range(4)  # uses of a seed, no two of which share numbers
_STREAM = 8
_LOWEST_RATE = 4000
_WORKING_RATE = 40000  # Hz, at least
_HIGHEST = 18000.0  # Hz
_FADE = 0.03  # seconds, at the end of a clip
_ONSET = (0.004, 0.012)  # seconds, when a sound begins
_SOFTEST = -14.0  # dB, the level of velocity 0


def synthetic(
    count: int, split: str, sample_rate: int, samples: int, channels: int
) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """The first `count` sounds of a split, every label as often as the others.

    Sound i is a function of (split, i) and the format; its label is i modulo the labels.

    Args:
        count: how many, 0 or more.
        split: "train" or "test", which share no sound.
        sample_rate: in Hz, from 4000.
        samples: of each clip; a sound that lasts longer fades out at the end.
        channels: 1, or 2 with each sound at a place of its own between them.

    Returns:
        Waves float32 [count, channels, samples] with a peak of at most 0.95, labels int64 [count],
        and the names of the labels.

    Raises:
        ValueError: an argument out of range.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; known are {', '.join(SPLITS)}.")
    if count < 0 or samples < 1 or sample_rate < _LOWEST_RATE or channels not in (1, 2):
        raise ValueError(
            "synthetic sounds need a count from 0, at least one sample, "
            f"a rate from {_LOWEST_RATE} Hz and 1 or 2 channels."
        )
    waves = torch.empty(count, channels, samples)
    labels = torch.arange(count) % len(LABELS)
    for i, label in enumerate(labels.tolist()):
        seed = i * len(SPLITS) + SPLITS.index(split)
        mono = sound(LABELS[label], samples, sample_rate, seed)
        waves[i] = mono if channels == 1 else _placed(mono, seed)
    return waves, labels, LABELS


def sound(label: str, samples: int, sample_rate: int, seed: int) -> Tensor:
    """[samples] float32: the sound of one of `LABELS`."""
    if label in PITCHES:
        return plucked_string(PITCHES[label], samples, sample_rate, seed)
    return DRUMS[label](samples, sample_rate, seed)


def plucked_string(frequency: float, samples: int, sample_rate: int, seed: int) -> Tensor:
    """[samples] float32: a string of `frequency` Hz, out of tune by at most 4 cents.

    The sum of its modes. Stiffness spreads partial n to n sqrt(1 + B n^2), and its amplitude decays
    at a rate b1 + b3 f^2 (Bensa, Bilbao, Kronland-Martinet & Smith 2003); plucked at the fraction p
    of its length, it drives the bridge by sin(pi n p) / n (Fletcher & Rossing 1998, chapter 2),
    less above the brightness of the plectrum. Parallel and across the bridge it decays at
    different rates and is tuned a little differently (Weinreich 1977): a fast and a slow decay,
    beating. Two resonances of a body colour it.

    Raises:
        ValueError: a frequency that is not above 0, below 0.45 of the rate and below 18 kHz.
    """
    if not 0 < frequency < min(BAND * sample_rate, _HIGHEST):
        raise ValueError(f"no string of {frequency} Hz can sound at {sample_rate} Hz.")
    u = _Draws(seed)
    velocity, frequency = u(0, 1), frequency * 2 ** (u(-4, 4) / 1200)
    stiffness, place = u.log(1e-5, 8e-5), u(0.08, 0.4)
    bright = u.log(900, 2200) * 2 ** (2 * velocity)
    ring = u.log(0.7, 1.6) * (260 / frequency) ** 0.5  # seconds to 1 / e
    loss = u.log(3e-7, 1e-6)
    tilt, apart = u(0.2, 0.6), 2 ** (u(-1.5, 1.5) / 1200)
    air, wood = u(95, 115), u(180, 230)
    time = _Clock(samples, sample_rate, u(*_ONSET))
    n = torch.arange(1, _HIGHEST // frequency + 1, dtype=torch.float64)
    f = n * frequency * ((1 + stiffness * n**2) / (1 + stiffness)).sqrt()
    body = 0.5 + _resonance(f, air, 25) + 1.5 * _resonance(f, wood, 50)
    amplitude = (math.pi * place * n).sin() / n * body / (1 + (f / bright) ** 2)
    decay = 1 / ring + loss * f**2
    f, decay = torch.cat((f, f * apart)), torch.cat((2.5 * decay, decay))
    amplitude = torch.cat((math.cos(tilt) * amplitude, math.sin(tilt) * amplitude))
    wave = _modes(time, f, amplitude, decay, torch.zeros_like(f))
    wave = wave + 0.08 * _noise(time, seed, 300, bright) * time.decay(0.004)
    return _finished(wave, time, 0.0015, velocity)


def kick(samples: int, sample_rate: int, seed: int) -> Tensor:
    """[samples] float32: a bass drum: a tone that falls as the head comes to rest, and a beater."""
    u = _Draws(seed)
    velocity, base, ring = u(0, 1), u.log(44, 60), u.log(0.09, 0.22)
    time = _Clock(samples, sample_rate, u(*_ONSET))
    phase = time.glide(base * u(3, 5), base, u(0.02, 0.04))
    wave = phase.sin() * time.decay(ring)
    wave = wave + 0.15 * (2 * phase).sin() * time.decay(ring / 3)
    click = _noise(time, seed, 400, 2500) * time.decay(0.004)
    return _finished(wave + u(0.1, 0.3) * (0.5 + velocity) * click, time, 0.002, velocity)


def tom(samples: int, sample_rate: int, seed: int) -> Tensor:
    """[samples] float32: a drum tuned between 85 and 170 Hz, six modes of an ideal membrane.

    Their ratios are those of zeros of Bessel functions (Fletcher & Rossing 1998, chapter 3).
    """
    u = _Draws(seed)
    velocity, base, ring = u(0, 1), u.log(85, 170), u.log(0.15, 0.35)
    time = _Clock(samples, sample_rate, u(*_ONSET))
    phase = time.glide(base * u(1.2, 1.5), base, u(0.03, 0.07))
    wave = torch.zeros(())
    for mode, ratio in enumerate((1.0, 1.594, 2.136, 2.296, 2.653, 2.918)):
        strength = u(0.3, 1) * (0.3 + 0.4 * velocity) if mode else 1.0
        wave = wave + strength / ratio * (ratio * phase).sin() * time.decay(ring / ratio**2)
    click = _noise(time, seed, 300, 2000) * time.decay(0.008)
    return _finished(wave + u(0.1, 0.25) * click, time, 0.0015, velocity)


def snare(samples: int, sample_rate: int, seed: int) -> Tensor:
    """[samples] float32: two modes of the heads, and the wires: noise that decays more slowly."""
    u = _Draws(seed)
    velocity, base, ring = u(0, 1), u.log(165, 215), u.log(0.05, 0.09)
    time = _Clock(samples, sample_rate, u(*_ONSET))
    phase = time.glide(base * u(1.15, 1.4), base, 0.015)
    heads = phase.sin() * time.decay(ring)
    heads = heads + 0.6 * (u(1.55, 1.75) * phase).sin() * time.decay(ring / 2)
    wires = _noise(time, seed, u.log(1000, 1800), u.log(5000, 9000))
    wires = wires * (time.decay(0.02) + u(0.4, 0.8) * time.decay(u.log(0.06, 0.14)))
    return _finished(heads + u(0.7, 1.3) * wires, time, 0.001, velocity)


def hat(samples: int, sample_rate: int, seed: int, rings: tuple[float, float]) -> Tensor:
    """[samples] float32: a hi-hat that falls to 1 / e in one of `rings` (from, to; seconds).

    Many modes at unrelated frequencies, and noise between them.
    """
    u = _Draws(seed)
    velocity, ring, edge = u(0, 1), u.log(*rings), u.log(5000, 7500)
    time = _Clock(samples, sample_rate, u(*_ONSET))
    drawn = noise.uniform(seed, torch.arange(3 * 160), _MODES, _STREAM)
    place, turn, size = drawn.double().view(3, -1)
    f = 1500 * 12**place  # evenly over the octaves up to 18 kHz
    amplitude = size * (f / edge).clamp(max=1) ** 2 / (1 + (f / 14000) ** 4)
    decay = (0.6 + 0.4 * f / edge) / ring
    ringing = _modes(time, f, 0.25 * amplitude, decay, 2 * math.pi * turn)
    sizzle = _noise(time, seed, edge, 12000) * (time.decay(ring) + 0.7 * time.decay(0.012))
    return _finished(ringing + u(0.5, 1) * sizzle, time, 0.001, velocity)


DRUMS: dict[str, Callable[[int, int, int], Tensor]] = {
    "kick": kick,
    "snare": snare,
    "closed-hat": partial(hat, rings=(0.018, 0.04)),
    "open-hat": partial(hat, rings=(0.18, 0.4)),
    "tom": tom,
}
LABELS: tuple[str, ...] = (*PITCHES, *DRUMS)


class _Draws:
    """Numbers between bounds, one after another, from a seed."""

    def __init__(self, seed: int) -> None:
        drawn = noise.uniform(seed, torch.arange(24), _PARAMETERS, _STREAM)
        self._left: Iterator[float] = iter(drawn.tolist())

    def __call__(self, low: float, high: float) -> float:
        return low + (high - low) * next(self._left)

    def log(self, low: float, high: float) -> float:
        """Evenly in the logarithm."""
        return low * (high / low) ** next(self._left)


class _Clock:
    """The times at which a sound is computed, in seconds from its beginning at `onset`.

    They are as many times denser than the clip's samples as it takes for 40 kHz. What begins
    suddenly has no highest frequency: a sound is computed whole at a rate that holds it, and then
    filtered and thinned out, so that at every rate it is the same.
    """

    def __init__(self, samples: int, sample_rate: int, onset: float) -> None:
        self.samples, self.sample_rate, self.onset = samples, sample_rate, onset
        factor = max(1, math.ceil(_WORKING_RATE / sample_rate))
        self.count, self.rate = factor * samples, factor * sample_rate
        times = torch.arange(self.count, dtype=torch.float64) / self.rate - onset
        self._passed = times.clamp(min=0)
        self._left = (self.count - 1) / self.rate - onset - times

    def decay(self, seconds: float) -> Tensor:
        """[count]: falls from 1, to 1 / e in `seconds`."""
        return (self._passed.float() / -seconds).exp()

    def window(self, rise: float) -> Tensor:
        """[count]: 0 before the beginning, then up to 1 in `rise` seconds, and down at the end."""
        return _ramp(self._passed, rise) * _ramp(self._left, _FADE)

    def glide(self, start: float, end: float, seconds: float) -> Tensor:
        """[count] float64: the phase of a tone that falls from `start` to `end` Hz, to within 1 / e
        of the way in `seconds`."""
        lead = (start - end) * seconds * (1 - (self._passed / -seconds).exp())
        return 2 * math.pi * (end * self._passed + lead)


def _modes(time: _Clock, f: Tensor, amplitude: Tensor, decay: Tensor, phase: Tensor) -> Tensor:
    """[count]: the sum of amplitude exp(-decay t) sin(2 pi f t + phase), over [N] modes.

    An exponential of coarse plus fine time is the product of two, so that all modes at all times
    are one product of matrices, with some sqrt(count) exponentials for each mode.
    """
    heard = f < _HIGHEST
    f, amplitude, decay, phase = (each[heard] for each in (f, amplitude, decay, phase))
    width = math.isqrt(time.count - 1) + 1
    fine = torch.arange(width, dtype=torch.float64)[:, None] / time.rate
    coarse = fine * width - time.onset
    turn, size = 2 * math.pi * f * coarse + phase, amplitude * (-decay * coarse).exp()
    rows = torch.cat((size * turn.sin(), size * turn.cos()), 1).float()
    turn, size = 2 * math.pi * f * fine, (-decay * fine).exp()
    columns = torch.cat((size * turn.cos(), size * turn.sin()), 1).float()
    return (rows @ columns.T).flatten()[: time.count]


def _noise(time: _Clock, seed: int, low: float, high: float) -> Tensor:
    """[count]: steady Gaussian noise, mostly from `low` to `high` Hz, of variance 1.

    One complex number for each frequency that fits a whole number of times into the clip.
    """
    spacing = time.rate / time.count
    f = spacing * torch.arange(1, int(_HIGHEST / spacing) + 1)
    power = _band(torch.arange(0, _HIGHEST, 10), low, high).square().sum() * 10
    size = _band(f, low, high) * (spacing / power).sqrt() * (time.count / 2)
    drawn = noise.normal(seed, torch.zeros(1).long(), _BINS, (len(f), 2), _STREAM)[0]
    bins = F.pad(torch.view_as_complex(drawn) * size, (1, 0))
    return torch.fft.irfft(bins, n=time.count)


def _band(f: Tensor, low: float, high: float) -> Tensor:
    return (f / low) ** 2 / (1 + (f / low) ** 2) / (1 + (f / high) ** 2)


def _resonance(f: Tensor, centre: float, width: float) -> Tensor:
    """1 at `centre` Hz and 0.7 at half of `width` from it."""
    return (1 + ((f - centre) / (width / 2)) ** 2).rsqrt()


def _finished(wave: Tensor, time: _Clock, rise: float, velocity: float) -> Tensor:
    """[count] -> [samples] float32: begun and ended smoothly, at the level of `velocity`."""
    bins = torch.fft.rfft(wave.float() * time.window(rise))[: time.samples // 2 + 1]
    f = torch.arange(len(bins)) / time.samples  # in units of the sample rate
    wave = torch.fft.irfft(bins * _ramp(BAND - f, 0.05), n=time.samples)
    # The mean is taken out by one slow wave, which is 0 at both ends as the clip is.
    slow = torch.hann_window(time.samples)
    wave = wave - slow * (wave.mean() / slow.mean())
    level = PEAK * 10 ** (_SOFTEST / 20 * (1 - velocity))
    return wave * (level / wave.abs().max().clamp(min=1e-9))


def _ramp(x: Tensor, width: float) -> Tensor:
    """Half a cosine from 0 where x <= 0 up to 1 where x >= `width`, float32."""
    return (0.5 - 0.5 * (math.pi / width * x.clamp(0, width)).cos()).float()


def _placed(wave: Tensor, seed: int) -> Tensor:
    """[samples] -> [2, samples]: somewhere between left and right, as loud anywhere."""
    where = noise.uniform(seed, torch.zeros(1).long(), _PLACE, _STREAM)
    angle = math.pi / 2 * (0.15 + 0.7 * where)
    return torch.cat((angle.cos(), angle.sin()))[:, None] * wave
