"""Sounds and what a model is told of them: the data set of a model of sound from sound."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from mmdiff import noise
from mmdiff.audio.datasets import Sounds
from mmdiff.audio.degradations import Degradation, everyday
from mmdiff.audio.levels import active_level, ratio
from mmdiff.audio.noises import Recorded
from mmdiff.audio.sound import at_speed
from mmdiff.audio.tasks import Enhance, Task, parse
from mmdiff.conditions import Condition
from mmdiff.data.folders import identity
from mmdiff.modality import Modality

LEVELS = (-30.0, -20.0)  # dB of full scale where a sound is active
SPEEDS = (85, 120)  # percent: voices that differ as people do

_LEVEL, _SPEED = 48, 49  # streams of random numbers


class PairedSounds(Dataset[dict[str, Any]]):
    """Items {"x": clean sound [C, L], and by name what `task` tells of it}, see `Sounds`.

    At each visit a clip comes at another level, from -30 to -20 dB of full scale where it is
    active; what is told is of the same clip, degraded. Where that is too loud for a file, both are
    made quieter. All that is random is a function of (seed, index, visit).

    Args:
        data: the clean sounds; of their classes nothing is told.
        task: what a model is told, at the sample rate of the data.
        degradation: what happens to a clip before it is told; nothing if None.
        seed: of the levels, the speeds and the degradation.
        speeds: percent from, to, at which clips are played, another at each visit; what a slow one
            has too much is left out, and after a fast one there is silence.

    Raises:
        ValueError: a task at another sample rate.
    """

    def __init__(
        self,
        data: Sounds,
        task: Task,
        degradation: Degradation | None = None,
        seed: int = 0,
        speeds: tuple[int, int] = (100, 100),
    ) -> None:
        if task.sample_rate != data.sample_rate:
            raise ValueError(
                f"a task at {task.sample_rate:,} Hz needs sounds at that rate, and {data.name} is "
                f"at {data.sample_rate:,} Hz: open it at the task's."
            )
        self.name, self.shape, self.scale = data.name, data.shape, data.scale
        self.sample_rate, self.task = data.sample_rate, task
        self.conditions: Mapping[str, Condition] = task.conditions(data.shape[0])
        self.identity = identity(
            {},
            data=data.identity,
            task=repr(task),
            degradation=repr(degradation),
            seed=seed,
            speeds=speeds,
        )
        self.costly = data.costly or degradation is not None
        self._data, self._degradation, self._seed = data, degradation, seed
        self._speeds = speeds

    @property
    def modality(self) -> Modality:
        return self._data.modality

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.visit(index, 0)

    def visit(self, index: int, count: int) -> dict[str, Any]:
        """See `Sounds.visit`."""
        x = self._at_a_speed(self._data.visit(index, count)["x"] / self.scale, index, count)
        x = self._at_a_level(x, index, count)
        degraded = x
        if self._degradation is not None:
            degraded = self._degradation(x, self._seed, index, count)
            loudest = max(1.0, float(degraded.abs().max()))
            x, degraded = x / loudest, degraded / loudest
        return {"x": x * self.scale, **self.task.told(degraded, self.scale)}

    def summary(self) -> str:
        """See `Sounds.summary`; the task has a line of its own."""
        return f"{self._data.summary()}\ntold: {', '.join(self.conditions)} ({self.task.name})"

    def _at_a_speed(self, x: Tensor, index: int, count: int) -> Tensor:
        slowest, fastest = self._speeds
        drawn = float(noise.uniform(self._seed, torch.tensor([index]), count, _SPEED))
        played = at_speed(x, slowest + int(drawn * (fastest - slowest + 1)))[:, : x.shape[1]]
        return torch.nn.functional.pad(played, (0, x.shape[1] - played.shape[1]))

    def _at_a_level(self, x: Tensor, index: int, count: int) -> Tensor:
        drawn = float(noise.uniform(self._seed, torch.tensor([index]), count, _LEVEL))
        wanted = ratio(LEVELS[0] + (LEVELS[1] - LEVELS[0]) * drawn)
        level, peak = active_level(x, self.sample_rate), float(x.abs().max())
        return x * min(wanted / level, 1 / peak) if level else x


def open_pairs(data: Sounds, split: str, task: str, noise: str | None = None) -> PairedSounds:
    """`data`, and what a model is told for a task; for enhancing it is `everyday` damage.

    An enhancer meets voices of all kinds, so that it trains on its few at many speeds.

    Args:
        data: the clean sounds, of a split.
        split: "train" or "test", of the noise too.
        task: what `mmdiff.audio.tasks.parse` knows, such as "upsample:8000".
        noise: "folder:PATH" of recorded noise, for enhancing.

    Raises:
        UserError: a folder that is missing or holds no sound.
        ValueError: an unknown task, one that the sample rate does not go with, noise for a task
            that has none, or noise that is no folder.
    """
    what = parse(task, data.sample_rate)
    if not isinstance(what, Enhance):
        if noise:
            raise ValueError(f"noise is for the task enhance: leave it out to {what.name}.")
        return PairedSounds(data, what)
    recorded = None
    if noise:
        kind, _, path = noise.partition(":")
        if kind != "folder" or not path:
            raise ValueError(f"noise is folder:PATH, a folder of recordings, not {noise!r}.")
        recorded = Recorded.open(path, split, data.sample_rate, data.shape[0])
    speeds = SPEEDS if split == "train" else (100, 100)
    return PairedSounds(data, what, everyday(data.sample_rate, recorded), speeds=speeds)
