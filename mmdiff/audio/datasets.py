"""Data sets of sounds by name: changing the data is changing one word."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from mmdiff import noise
from mmdiff.audio.decoding import HIGHEST_RATE, LOWEST_RATE
from mmdiff.audio.folders import Held, HeldSound, Recording, StoredSound, open_folder
from mmdiff.audio.fsdd import open_fsdd
from mmdiff.audio.synthetic import synthetic
from mmdiff.conditions import Class, Condition
from mmdiff.data.folders import describe, identity, names_of
from mmdiff.data.splits import describe_classes
from mmdiff.errors import UserError
from mmdiff.modality import Modality

NAMES = ("fsdd", "synthetic", "folder:PATH")

LONGEST = 1 << 25  # samples of a clip: a batch of longer ones fits into no memory

_SYNTHETIC_COUNTS = {"train": 1000, "test": 100}
_SYNTHETIC_BYTES = 4 << 30  # all of it at once is in memory
_AGAIN = noise.DATA + 1  # the stream of numbers of what is drawn again
_SHIFT = 256  # a word begins up to this many samples late
_FADE = 0.01  # seconds that a sound takes to end where the window does
_QUIET = 0.01  # of the peak of its sound, -40 dB: a crop below it is drawn again
_TRIES = 8
_STEPS = 8  # lengths of native items


class Sounds(Dataset[dict[str, Any]]):
    """Sounds of one length, or native ones, and what is known of them, see `open_sounds`.

    An item is {"x": float32 [C, L] in [-scale, scale]}, and the class of each condition by name.

    Attributes:
        name: what `open_sounds` was asked for.
        shape: (C, L) of every item; of native ones that which most have.
        shapes: of each item, where they are native.
        sample_rate: in Hz.
        scale: what values in [-1, 1] were multiplied by.
        conditions: what items tell, such as {"label": Class(10, names)}.
        identity: hex digest of the files, wherever they lie, and of what makes items of them.
        costly: whether items are decoded when they are asked for, which other processes can do.
        names: of the files that items of a folder come from, without suffixes; () of other sets.
    """

    def __init__(
        self,
        name: str,
        held: Held,
        shape: tuple[int, int],
        scale: float = 1.0,
        shift: bool = False,
        flip: bool = False,
        native: bool = False,
        seed: int = 0,
    ) -> None:
        self.name = name
        self.shape: tuple[int, ...] = shape
        self._longest = shape[1]
        self.sample_rate = held.sample_rate
        self.scale = scale
        self.conditions: Mapping[str, Condition] = held.conditions
        self.identity = identity(
            held.files,
            shape=shape,
            sample_rate=held.sample_rate,
            scale=scale,
            augmented=[shift, flip],
            **({"native": True} if native else {}),
        )
        self.costly = any(isinstance(sound, StoredSound) for sound in held.sounds)
        self._held, self._flip, self._native, self._seed = held, flip, native, seed
        self._late = _SHIFT if held.aligned and shift else 0
        # (sound, which of its parts, of how many)
        self._items = [
            (sound, part, parts)
            for sound, parts in enumerate(map(self._parts, held.sounds))
            for part in range(parts)
        ]
        if native:
            self.shapes = [(shape[0], self._long(sound)) for sound, _, _ in self._items]
            self.shape = Counter(self.shapes).most_common(1)[0][0]
        files = names_of(held.files) if name.startswith("folder:") else ()
        self.names = tuple(files[sound] for sound, _, _ in self._items) if files else ()

    @property
    def modality(self) -> Modality:
        from mmdiff.audio.modality import Sound  # which opens these

        return Sound(self.sample_rate, self.scale)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.visit(index, 0)

    def visit(self, index: int, count: int) -> dict[str, Any]:
        """What item `index` is when it is visited for the `count`-th time, from 0.

        All that is random is a function of (seed, index, count).

        Raises:
            UserError: a file of a folder has gone or is broken now.
        """
        place, part, parts = self._items[index]
        sound = self._held.sounds[place]
        # One number each for the place and the sign, three apart as when `speech` was trained.
        keys = 3 * index + torch.arange(2)
        where, sign = noise.uniform(self._seed, keys, count, noise.DATA).tolist()
        if parts > 1:
            x = self._crop(sound, (part + where) / parts, index, count)
        else:
            long = self._long(place) if self._native else self._longest
            x = self._begun(sound, long, int(where * min(self._late, long)))
        scale = -self.scale if self._flip and sign < 0.5 else self.scale
        return {"x": x * scale, **self.told(index)}

    def told(self, index: int) -> dict[str, Any]:
        """What is told of item `index`, without decoding it."""
        place, _, _ = self._items[index]
        return {what: values[place] for what, values in self._held.told.items()}

    def length(self, index: int) -> int:
        """Samples of all of the sound that item `index` is from."""
        return self._held.sounds[self._items[index][0]].length

    def cut(self, index: int, start: int) -> dict[str, Any]:
        """Of the sound that item `index` is from what begins at a sample; zeros follow its end."""
        part = self._held.sounds[self._items[index][0]].part(start, self.shape[1])
        x = F.pad(part, (0, self.shape[1] - part.shape[1]))
        return {"x": x * self.scale, **self.told(index)}

    def summary(self) -> str:
        """How much of what there is, and what was left out: a few lines for people."""
        held = self._held
        channels, _ = self.shape
        ends = sorted({long for _, long in getattr(self, "shapes", [self.shape])})
        lengths = (f"{long / self.sample_rate:.3g}" for long in dict.fromkeys((ends[0], ends[-1])))
        minutes = sum(sound.length for sound in held.sounds) / self.sample_rate / 60
        lines = [
            f"{self.name}: {len(held.sounds):,} sounds, {minutes:,.1f} minutes, as {len(self):,} "
            f"clips of {' to '.join(lengths)} s, {self.sample_rate:,} Hz, "
            f"{channels} channel{'s' * (channels > 1)}"
        ]
        for what, condition in self._held.conditions.items():
            lines.append(f"{what}: {describe_classes(condition.names, held.told[what])}")
        lines += [held.note] * bool(held.note)
        lines += [describe(held.left_out)] * bool(held.left_out)
        return "\n".join(lines)

    def _parts(self, sound: Recording) -> int:
        """How many items a sound is worth."""
        return 1 if self._held.aligned else max(1, round(sound.length / self._longest))

    def _long(self, place: int) -> int:
        """Samples of a native item: in eighths of the longest, so that many are alike."""
        step = -(-self._longest // _STEPS)
        return min(self._longest, -(-(self._held.sounds[place].length + self._late) // step) * step)

    def _crop(self, sound: Recording, place: float, index: int, count: int) -> Tensor:
        """A window whose beginning lies at `place` in [0, 1) of all that are possible.

        If there is next to nothing to hear in it, one from anywhere in which there is.
        """
        free = sound.length - self._longest

        def window(place: float) -> Tensor:
            return sound.part(int(place * (free + 1)), self._longest)

        x = window(place)
        for key in range(_TRIES * index, _TRIES * (index + 1)):
            if x.abs().max() >= _QUIET * sound.peak:
                break
            elsewhere = noise.uniform(self._seed, torch.tensor([key]), count, _AGAIN)
            x = max(x, window(elsewhere.item()), key=lambda x: float(x.abs().max()))
        return x

    def _begun(self, sound: Recording, long: int, shift: int) -> Tensor:
        """A window in which `sound` begins at `shift`, and fades out where it is too long."""
        room = long - shift
        x = torch.zeros(self.shape[0], long)
        part = sound.part(0, room)
        x[:, shift : shift + part.shape[1]] = part
        if sound.length > room:
            fade = min(room, round(_FADE * self.sample_rate))
            x[:, -fade:] *= torch.linspace(math.pi / 2, 0, fade).sin() ** 2
        return x


def open_sounds(
    name: str,
    split: str = "train",
    data_dir: Path | str | None = None,
    sample_rate: int | None = None,
    seconds: float | None = None,
    channels: int = 1,
    scale: float = 1.0,
    shift: bool = False,
    flip: bool = False,
    labelled: bool = True,
    native: bool = False,
    seed: int = 0,
) -> Sounds:
    """A data set of sounds with values in [-scale, scale].

    `fsdd` is spoken digits, labelled with digit and speaker. Each begins where its window does, at
    a peak of 0.9, with zeros after it; the few that are longer fade out at the window's end.

    `synthetic` is made on the spot, see `mmdiff.audio.synthetic`.

    `folder:PATH` is any folder of sounds (what libsndfile reads: WAV, FLAC, Ogg, Opus, MP3, AIFF,
    AU, CAF and more; and what PyAV does if it is installed; the sound of films where there is no
    other), at any depth, of any rates and channels. A file of less than 1.5 windows is one item,
    which begins where the file does; zeros follow, or it fades out. A longer one counts as several
    items, about as many as it has windows; each visit takes another crop from about its place, or
    from elsewhere if that is 40 dB or more below the peak of the file. Files whose values go beyond
    [-1, 1] are made quieter as a whole. `mmdiff.data.splits.choose` tells splits and classes. What
    cannot be read, or is silent, is left out with a warning.

    Args:
        name: one of `NAMES`.
        split: "train" or "test".
        data_dir: where `fsdd` is, or is downloaded to; $MMDIFF_DATA or ./data if None.
        sample_rate: in Hz. If None: 8000 for `fsdd`, 22050 for `synthetic`, and for a folder the
            most common rate of its files.
        seconds: length of the items; 0.64 for `fsdd` and 1.5 for others if None.
        channels: of the items; mono becomes the same on all, and of several the mean.
        scale: what all values are multiplied by.
        shift: let the digits of `fsdd` begin 0 to 255 samples later at each visit.
        flip: turn the sign of half of the visits.
        labelled: whether a folder's folders are classes; a model that is told none can be held
            against voices, say, that it was not trained on.
        native: what is shorter than `seconds` stays so, to an eighth of that. Batches are of sounds
            of one length.
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
        held = open_folder(
            Path(path).expanduser().absolute(), split, sample_rate, channels, labelled
        )
    elif name == "fsdd":
        root = Path(data_dir or os.environ.get("MMDIFF_DATA") or "data").expanduser().absolute()
        held = open_fsdd(root, split, sample_rate or 8000, channels)
    else:
        held = _open_synthetic(split, sample_rate or 22050, seconds, channels)
    _check_format(held.sample_rate, seconds)
    shape = (channels, max(1, round(seconds * held.sample_rate)))
    return Sounds(name, held, shape, scale, shift, flip, native, seed)


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
    return Held(
        sounds=[HeldSound(wave) for wave in waves],
        sample_rate=sample_rate,
        files={f"synthetic {split}": count},
        conditions={"label": Class(len(labels), labels)},
        told={"label": targets.tolist()},
    )
