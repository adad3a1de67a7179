"""What a model of sound from sound is told: a noisy recording, half of its band, its mel frames.

A task is a part of the checkpoint, so that a model is told in use what it was told in training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

from einops import rearrange
from torch import Tensor

from mmdiff.audio.degradations import low_band
from mmdiff.audio.mel import Mel
from mmdiff.conditions import Condition, Signal


class Task(Protocol):
    """What there is to do; a frozen dataclass."""

    name: ClassVar[str]

    @property
    def sample_rate(self) -> int:
        """Of what the model makes, in Hz."""

    def conditions(self, channels: int) -> Mapping[str, Condition]:
        """What a model of so many channels is told."""

    def told(self, x: Tensor, scale: float = 1.0) -> dict[str, Tensor]:
        """What it is told of a recording `x` [C, L] in [-1, 1].

        What is sound like x itself comes times `scale`, as the model's x does.
        """


@dataclass(frozen=True)
class Enhance:
    """Make a recording clean, told all of it: "source" [C, L]."""

    name: ClassVar[str] = "enhance"

    sample_rate: int

    def conditions(self, channels: int) -> Mapping[str, Condition]:
        return {"source": Signal(channels)}

    def told(self, x: Tensor, scale: float = 1.0) -> dict[str, Tensor]:
        return {"source": x * scale}


@dataclass(frozen=True)
class Upsample:
    """Make up what a recording at the rate `low` lacks, told what it has.

    It is told "source" [C, L], and "mel", its log-mel frames: of a spectrum with its phases a
    network finds the energies only slowly. Both rates are in Hz, and the source comes at
    `sample_rate`, with nothing above `low` / 2.
    """

    name: ClassVar[str] = "upsample"

    low: int
    sample_rate: int

    def __post_init__(self) -> None:
        if not 0 < self.low < self.sample_rate:
            raise ValueError(
                f"from {self.low:,} Hz there is nothing to make up at {self.sample_rate:,} Hz: "
                "choose a lower rate to begin from, or a higher sample rate."
            )

    def conditions(self, channels: int) -> Mapping[str, Condition]:
        return {"source": Signal(channels), "mel": _mel(channels, Mel(self.sample_rate))}

    def told(self, x: Tensor, scale: float = 1.0) -> dict[str, Tensor]:
        low = low_band(x, self.sample_rate, self.low)
        return {"source": low * scale, "mel": _frames(low, Mel(self.sample_rate))}


@dataclass(frozen=True)
class Vocode:
    """Make a sound of its log-mel frames: "mel" [C bands, ceil(L / hop)], whatever the scale."""

    name: ClassVar[str] = "vocode"

    mel: Mel

    @property
    def sample_rate(self) -> int:
        return self.mel.sample_rate

    def conditions(self, channels: int) -> Mapping[str, Condition]:
        return {"mel": _mel(channels, self.mel)}

    def told(self, x: Tensor, scale: float = 1.0) -> dict[str, Tensor]:
        return {"mel": _frames(x, self.mel)}


def _mel(channels: int, mel: Mel) -> Condition:
    return Signal(channels * mel.bands, mel.hop)


def _frames(x: Tensor, mel: Mel) -> Tensor:
    return rearrange(mel.of(x), "c bands frames -> (c bands) frames")


def parse(text: str, sample_rate: int) -> Task:
    """The task that people call "enhance", "vocode" or "upsample:8000".

    Args:
        text: its name, and for upsampling the rate in Hz that a recording has.
        sample_rate: of the model, in Hz.

    Raises:
        ValueError: an unknown task, or a rate from which there is nothing to make up.
    """
    name, _, rate = text.partition(":")
    if name == Upsample.name and rate.isdecimal():
        return Upsample(int(rate), sample_rate)
    if text == Enhance.name:
        return Enhance(sample_rate)
    if text == Vocode.name:
        return Vocode(Mel(sample_rate))
    raise ValueError(
        f"unknown task {text!r}; known are enhance, vocode, and upsample:RATE, such as "
        "upsample:8000 for recordings at 8,000 Hz."
    )
