"""Digits that bounce in a box, with the sound of it: a video and its sound, made on the spot.

Each touch of a wall sounds, at a pitch that tells the digit. So what is seen says exactly what is
to be heard, and the other way round but for the look of the digit.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmdiff.audio.modality import Sound
from mmdiff.conditions import Class, Condition
from mmdiff.data.folders import identity
from mmdiff.image.public import open_public
from mmdiff.joint.modality import Together
from mmdiff.joint.packing import Packing
from mmdiff.video.modality import Video
from mmdiff.video.moving import MovingDigits

SHAPE, FPS = (1, 16, 32, 32), 10.0
RATE, SCALE = 8000, 4.0  # Hz; of the sounds, as `Sound` has it
LASTS = SHAPE[1] / FPS  # seconds
PACKING = Packing({"video": SHAPE, "sound": (1, round(LASTS * RATE))})

_LOWEST = 330.0  # Hz, of a zero; each further digit is a whole tone higher
_ATTACK, _DECAY = 0.002, 0.08  # seconds in which a tone comes, and falls to 1 / e
_LOUD = 0.4  # of a tone's beginning


class Bounce:
    """Items {"x": video and sound packed as [1, N], "label": the digit}, see `modality.Data`.

    Another way of each digit at each visit, a function of (seed, index, visit).

    Args:
        split: "train" or "test", of MNIST.
        data_dir: where MNIST is; $MMDIFF_DATA or ./data if None.
        seed: of the ways.

    Raises:
        UserError: data that are missing and cannot be downloaded.
    """

    name = "bounce"
    costly = False

    def __init__(self, split: str, data_dir: Path | None = None, seed: int = 0) -> None:
        root = Path(data_dir or os.environ.get("MMDIFF_DATA") or "data").expanduser().absolute()
        mnist = open_public("mnist", split, root, None, whole=False)
        assert isinstance(mnist.pixels, Tensor)
        self.moving = MovingDigits(mnist.pixels, SHAPE, FPS)
        self.packing = PACKING
        self.shape: tuple[int, ...] = PACKING.shape
        self.conditions: Mapping[str, Condition] = {"label": Class(len(mnist.labels), mnist.labels)}
        self.identity = identity(mnist.files, name=self.name)
        self._targets, self._seed = mnist.targets.tolist(), seed

    @property
    def modality(self) -> Together:
        return Together({"video": Video(FPS), "sound": Sound(RATE, SCALE)}, self.packing)

    def summary(self) -> str:
        """What it is, in a line."""
        return f"{self.name}: {len(self):,} digits, {LASTS:g} s each, another way at each visit"

    def __len__(self) -> int:
        return len(self._targets)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.visit(index, 0)

    def visit(self, index: int, count: int) -> dict[str, Any]:
        """Item `index` at its visit number `count`."""
        digit = self._targets[index]
        way = self.moving.way(self._seed, index, count)
        video = way.clip(SHAPE[1], FPS, SHAPE[2:])
        sound = tones(way.touches(LASTS), digit) * SCALE
        return {"x": self.packing.pack({"video": video, "sound": sound}), "label": digit}


def pitch(digit: int) -> float:
    """In Hz."""
    return _LOWEST * 2 ** (digit / 6)


def tones(touches: list[float], digit: int) -> Tensor:
    """[1, L] in [-1, 1]: a tone that is heard from each of `touches` (seconds) on, and dies away.

    Its phase is that of a tone that goes on all the time, and does not tell when it is let be
    heard: no video could say that to a part of a millisecond.
    """
    time = torch.arange(round(LASTS * RATE), dtype=torch.float64) / RATE
    loud = torch.zeros_like(time)
    for touch in touches:
        since = (time - touch).clamp(min=0)
        loud += _LOUD * ((-since / _DECAY).exp() - (-since / _ATTACK).exp())
    wave = loud * (2 * math.pi * pitch(digit) * time).sin()
    return wave.clamp(-1, 1).float()[None]
