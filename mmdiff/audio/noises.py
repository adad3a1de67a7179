"""Noise to put under sounds: of a colour, or out of a folder of recordings.

A source of noise gives [C, L] at any level, all that is random a function of (seed, index, visit).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor

from mmdiff import noise
from mmdiff.audio.folders import Held, open_folder
from mmdiff.audio.sound import at_speed, mix
from mmdiff.data.folders import identity

Colour = Literal["white", "pink", "brown", "shaped"]
COLOURS: tuple[Colour, ...] = get_args(Colour)

_SLOPES = {"white": 0.0, "pink": 0.5, "brown": 1.0}  # amplitude falls as frequency to this power
_LOWEST = 30.0  # Hz: below, where a loudspeaker moves air no more, a spectrum is flat
_KNOTS = 8  # of a shaped spectrum's curve
_SWING = 10.0  # dB, their deviation
_SPEEDS = (70, 140)  # percent, at which recordings are played
_WAVE, _CURVE, _PLACE = 32, 33, 34  # streams of random numbers


class Source(Protocol):
    """Where noise comes from."""

    def __call__(self, shape: tuple[int, int], seed: int, index: int, visit: int) -> Tensor:
        """Noise of `shape` [C, L]."""


@dataclass(frozen=True)
class Coloured:
    """Steady Gaussian noise, another on each channel.

    Its power falls as f^0 ("white"), f^-1 ("pink") or f^-2 ("brown"), or it follows a smooth curve
    over the octaves that is drawn anew each time, with a deviation of 10 dB ("shaped").
    """

    colour: Colour
    sample_rate: int

    def __post_init__(self) -> None:
        if self.colour not in COLOURS:
            raise ValueError(f"unknown colour {self.colour!r}; known are {', '.join(COLOURS)}.")

    def __call__(self, shape: tuple[int, int], seed: int, index: int, visit: int) -> Tensor:
        at = torch.tensor([index])
        white = noise.normal(seed, at, visit, shape, _WAVE)[0]
        f = torch.fft.rfftfreq(shape[1], 1 / self.sample_rate).clamp(min=_LOWEST)
        if self.colour == "shaped":
            levels = noise.normal(seed, at, visit, (_KNOTS,), _CURVE)[0] * _SWING
            octaves = (f / _LOWEST).log2()
            place = octaves * ((_KNOTS - 1) / octaves[-1].clamp(min=1))
            left = place.long().clamp(max=_KNOTS - 2)
            size = 10 ** (torch.lerp(levels[left], levels[left + 1], place - left) / 20)
        else:
            size = (f / _LOWEST) ** -_SLOPES[self.colour]
        return torch.fft.irfft(torch.fft.rfft(white) * size, n=shape[1])


@dataclass(frozen=True, repr=False)
class Recorded:
    """Any stretch of any of the sounds that are `held`, each time at another speed.

    A short one comes again and again. Speeds make many noises of few.
    """

    held: Held

    @classmethod
    def open(cls, root: Path | str, split: str, sample_rate: int, channels: int) -> Recorded:
        """The noises under `root`, at any depth, by the rules of `mmdiff.audio.datasets`.

        Raises:
            UserError: `root` is missing, is not a folder or holds no sound.
        """
        path = Path(root).expanduser().absolute()
        return cls(open_folder(path, split, sample_rate, channels, labelled=False))

    def __repr__(self) -> str:
        """Says what is held, wherever it lies."""
        return f"Recorded({identity(self.held.files, sample_rate=self.held.sample_rate)})"

    def __call__(self, shape: tuple[int, int], seed: int, index: int, visit: int) -> Tensor:
        channels, length = shape
        keys = 3 * index + torch.arange(3)
        which, where, fast = noise.uniform(seed, keys, visit, _PLACE).tolist()
        sound = self.held.sounds[int(which * len(self.held.sounds))]
        percent = round(_SPEEDS[0] * (_SPEEDS[1] / _SPEEDS[0]) ** fast)
        needed = -(-length * percent // 100)
        start = int(where * max(1, sound.length - needed + 1))
        x = at_speed(mix(sound.part(start, needed), channels), percent)
        return x.repeat(1, -(-length // x.shape[1]))[:, :length]
