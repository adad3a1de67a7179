"""Data sets of sounds by name: changing the data is changing one word."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TypedDict

import torch
from torch import Tensor
from torch.utils.data import Dataset

from mmdiff import noise
from mmdiff.audio.checks import HIGHEST_RATE, LOWEST_RATE
from mmdiff.audio.folders import Held, StoredSound, open_folder
from mmdiff.audio.fsdd import open_fsdd
from mmdiff.audio.synthetic import synthetic
from mmdiff.errors import UserError

NAMES = ("fsdd", "synthetic", "folder:PATH")

LONGEST = 1 << 25  # samples of a clip: a batch of longer ones fits into no memory

_SYNTHETIC_COUNTS = {"train": 1000, "test": 100}
_SYNTHETIC_BYTES = 4 << 30  # all of it at once is in memory
_STREAM = 16  # of random numbers; training draws others from the same seed
_SHIFT = 256  # a word begins up to this many samples late
_QUIETER = 6.0  # up to this many dB
_FADE = 0.01  # seconds that a word takes to end where the window does


class SoundItem(TypedDict):
    """One sound: `x` float32 [C, L] in [-scale, scale]; `label` and `speaker` -1 for none."""

    x: Tensor
    label: int
    speaker: int


class Sounds(Dataset[SoundItem]):
    """Sounds of one length and what is known of them, see `open_sounds`.

    Attributes:
        name: what `open_sounds` was asked for.
        shape: (C, L) of every item.
        sample_rate: in Hz.
        labels, speakers: the names of the classes, () if there are none.
        scale: what values in [-1, 1] were multiplied by.
    """

    def __init__(
        self, name: str, held: Held, shape: tuple[int, int], scale: float, augment: bool, seed: int
    ) -> None:
        self.name = name
        self.shape = shape
        self.sample_rate = held.sample_rate
        self.labels = held.labels
        self.speakers = held.speakers
        self.scale = scale
        self._held, self._augment, self._seed = held, augment, seed
        # (sound, which of its parts, of how many)
        self._items = [
            (sound, part, parts)
            for sound, parts in enumerate(map(self._parts, held.sounds))
            for part in range(parts)
        ]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> SoundItem:
        return self.visit(index, 0)

    def visit(self, index: int, count: int) -> SoundItem:
        """What item `index` is when it is visited for the `count`-th time, from 0.

        All that is random is a function of (seed, index, count).

        Raises:
            UserError: a file of a folder has gone or is broken now.
        """
        sound, part, parts = self._items[index]
        held = self._held
        # One number each for the place, the sign and the loudness.
        keys = 3 * index + torch.arange(3)
        where, sign, quieter = noise.uniform(self._seed, keys, count, _STREAM).tolist()
        if held.aligned:
            shift = int(where * min(_SHIFT, self.shape[1])) if self._augment else 0
            x = self._word(held.sounds[sound], shift)
        else:
            x = self._crop(held.sounds[sound], (part + where) / parts)
        scale = self.scale
        if self._augment:
            scale *= -1 if sign < 0.5 else 1
            scale *= 1 if held.aligned else 10 ** (-_QUIETER * quieter / 20)
        speaker = -1 if held.voices is None else held.voices[sound]
        return {"x": x * scale, "label": held.targets[sound], "speaker": speaker}

    def _parts(self, sound: Tensor | StoredSound) -> int:
        """How many items a sound is worth."""
        return 1 if self._held.aligned else max(1, round(_length(sound) / self.shape[1]))

    def _crop(self, sound: Tensor | StoredSound, place: float) -> Tensor:
        """A window whose beginning lies at `place` in [0, 1) of all that are possible."""
        free = max(0, _length(sound) - self.shape[1])
        return self._window(_part(sound, int(place * (free + 1)), self.shape[1]), 0)

    def _word(self, sound: Tensor | StoredSound, shift: int) -> Tensor:
        """A window in which `sound` begins at `shift`, and fades out where it is too long."""
        room = self.shape[1] - shift
        x = self._window(_part(sound, 0, room), shift)
        if _length(sound) > room:
            fade = min(room, round(_FADE * self.sample_rate))
            x[:, -fade:] *= torch.linspace(math.pi / 2, 0, fade).sin() ** 2
        return x

    def _window(self, x: Tensor, shift: int) -> Tensor:
        """`x` with `shift` zeros before it, and zeros after it."""
        window = torch.zeros(self.shape)
        window[:, shift : shift + x.shape[1]] = x
        return window


def open_sounds(
    name: str,
    split: str = "train",
    data_dir: Path | None = None,
    sample_rate: int | None = None,
    seconds: float | None = None,
    channels: int = 1,
    scale: float = 1.0,
    augment: bool = False,
    seed: int = 0,
) -> Sounds:
    """A data set of sounds with values in [-scale, scale].

    `fsdd` is spoken digits, labelled with digit and speaker. Each begins where its window does, at
    a peak of 0.9, with zeros after it; the few that are longer fade out at the window's end.

    `synthetic` is made on the spot, see `mmdiff.audio.synthetic`.

    `folder:PATH` is any folder of sounds (WAV, FLAC, Ogg Vorbis, Opus, MP3, AIFF), at any depth, of
    any rates and channels. A file that is longer than the window counts as several items, about as
    many as it has windows; each visit takes another crop from about its place. Shorter files have
    zeros after them. Files whose values go beyond [-1, 1] are made quieter as a whole. The folders
    right below PATH are the classes if there are several and no sound lies outside of them. `train`
    and `test` below PATH are the splits; without them a tenth of the files, chosen by their names,
    is held out for "test". A file that cannot be read, or is silent, is left out with a warning.

    Args:
        name: one of `NAMES`.
        split: "train" or "test".
        data_dir: where `fsdd` is, or is downloaded to; $MMDIFF_DATA or ./data if None.
        sample_rate: in Hz. If None: 8000 for `fsdd`, 22050 for `synthetic`, and for a folder the
            most common rate of its files.
        seconds: length of the items; 0.64 for `fsdd` and 1.5 for others if None.
        channels: of the items; mono becomes the same on all, and of several the mean.
        scale: what all values are multiplied by.
        augment: flip the sign of half of the visits; let digits begin 0 to 255 samples later, make
            others up to 6 dB quieter.
        seed: of the crops and the augmentation.

    Raises:
        UserError: an unknown name; data that are missing and cannot be downloaded, or are broken.
        ValueError: an unknown split; a rate, length, number of channels or scale that no sound
            can have or no memory can hold.
    """
    if split not in ("train", "test"):
        raise ValueError(f'unknown split {split!r}; known are "train" and "test".')
    kind, _, path = name.partition(":")
    if not (name in NAMES or (kind == "folder" and path)):
        raise UserError(f"unknown data set {name!r}; known are {', '.join(NAMES)}.")
    seconds = seconds if seconds is not None else 0.64 if name == "fsdd" else 1.5
    for what, value in (
        ("a length in seconds", seconds),
        ("a number of channels", channels),
        ("a scale", scale),
    ):
        if not 0 < value < math.inf:
            raise ValueError(f"{what} must be positive, not {value}.")
    if sample_rate is not None:
        _check_format(sample_rate, seconds)
    if kind == "folder":
        held = open_folder(Path(path).expanduser(), split, sample_rate, channels)
    elif name == "fsdd":
        root = Path(data_dir or os.environ.get("MMDIFF_DATA") or "data").expanduser()
        held = open_fsdd(root, split, sample_rate or 8000, channels)
    else:
        held = _open_synthetic(split, sample_rate or 22050, seconds, channels)
    _check_format(held.sample_rate, seconds)
    shape = (channels, max(1, round(seconds * held.sample_rate)))
    return Sounds(name, held, shape, scale, augment, seed)


def _check_format(sample_rate: int, seconds: float) -> None:
    """Raises ValueError for what is no sound, or too long a one."""
    if not LOWEST_RATE <= sample_rate <= HIGHEST_RATE:
        raise ValueError(
            f"a sample rate must lie in {LOWEST_RATE} to {HIGHEST_RATE:,} Hz, not {sample_rate:,}: "
            "choose another."
        )
    if seconds * sample_rate > LONGEST:
        raise ValueError(
            f"a clip of {seconds:g} s at {sample_rate:,} Hz is longer than {LONGEST:,} samples: "
            "choose fewer seconds or a lower sample rate."
        )


def _open_synthetic(split: str, sample_rate: int, seconds: float, channels: int) -> Held:
    samples = max(1, round(seconds * sample_rate))
    count = _SYNTHETIC_COUNTS[split]
    if 4 * count * channels * samples > _SYNTHETIC_BYTES:
        raise ValueError(
            f"{count:,} synthetic clips of {seconds:g} s at {sample_rate:,} Hz need more than "
            f"{_SYNTHETIC_BYTES >> 30} GiB of memory: choose fewer seconds or a lower sample rate."
        )
    waves, targets, labels = synthetic(count, split, sample_rate, samples, channels)
    return Held(list(waves), sample_rate, targets.tolist(), tuple(labels))


def _length(sound: Tensor | StoredSound) -> int:
    return sound.length if isinstance(sound, StoredSound) else sound.shape[1]


def _part(sound: Tensor | StoredSound, start: int, frames: int) -> Tensor:
    """Frames `start` to `start + frames`, or to the end of the sound."""
    frames = min(frames, _length(sound) - start)
    if isinstance(sound, StoredSound):
        return sound.part(start, frames)
    return sound[:, start : start + frames]
