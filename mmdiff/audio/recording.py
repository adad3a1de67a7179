"""A sound that is gone through in parts, twice: once to measure it, and once to work on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mmdiff.audio import sound
from mmdiff.audio.levels import level_of


@dataclass(frozen=True)
class Recording:
    """A sound [channels, frames] in parts, and what a first pass through it found.

    Attributes:
        parts: all of it, from the beginning at each call, in parts [channels, any length].
        sample_rate: in Hz.
        channels, frames: its shape.
        level: see `active_level`.
        peak: the largest absolute value.
    """

    parts: Callable[[], Iterable[Tensor]]
    sample_rate: int
    channels: int
    frames: int
    level: float
    peak: float

    @classmethod
    def of(cls, source: Tensor | Path | str, sample_rate: int | None = None) -> Recording:
        """A tensor [C, L] with its rate, or a file, which has one.

        Raises:
            UserError: a file that cannot be read.
            ValueError: a tensor of another shape, with NaN or infinite values, or without a rate.
        """
        if not isinstance(source, Tensor):
            rate, _ = sound.header(source)
            return cls._measured(lambda: sound.blocks(source), rate)
        if source.ndim != 2 or not source.numel() or not source.is_floating_point():
            raise ValueError(
                f"a sound is a floating-point tensor [C, L] with C, L > 0, not {source.dtype} of "
                f"shape {list(source.shape)}."
            )
        if not source.isfinite().all():
            raise ValueError("the sound has NaN or infinite values in it.")
        if sample_rate is None or sample_rate < 1:
            raise ValueError(f"a sound needs a sample rate in Hz, not {sample_rate}.")
        whole = source.detach().to("cpu", torch.float32)
        return cls._measured(lambda: [whole], sample_rate)

    @classmethod
    def _measured(cls, parts: Callable[[], Iterable[Tensor]], sample_rate: int) -> Recording:
        frames, peak, channels = 0, 0.0, 0

        def seen() -> Iterator[Tensor]:
            nonlocal frames, peak, channels
            for part in parts():
                channels, frames = len(part), frames + part.shape[1]
                peak = max(peak, float(part.abs().max()))
                yield part

        level = level_of(seen(), sample_rate)
        return cls(parts, sample_rate, channels, frames, level, peak)

    def length(self, sample_rate: int) -> int:
        """Its frames at another rate."""
        return sound.resampled_length(self.frames, self.sample_rate, sample_rate)

    def at(self, sample_rate: int) -> Iterator[Tensor]:
        """All of it at another rate, in parts that make `length(sample_rate)` frames."""
        parts = sound.resampled(self.parts(), self.sample_rate, sample_rate)
        return fitted(parts, self.length(sample_rate))


def fitted(parts: Iterable[Tensor], frames: int) -> Iterator[Tensor]:
    """Parts [C, any length] cut, or followed by zeros, to so many frames in all.

    A rate that does not divide the other leaves a frame more or less.
    """
    for part in parts:
        yield part[:, :frames]
        frames -= min(frames, part.shape[1])
    if frames:
        yield part.new_zeros(len(part), frames)
