"""Any folder of sound files as sounds of one rate and one number of channels.

Nothing about the files is trusted: every one of a split is decoded in full when the folder is
opened, so that a cut, foreign or silent file is left out there, with the reason, and never ends an
epoch in the middle. What comes of it stays in memory if it is not too much.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Protocol

import torch
from torch import Tensor

from mmdiff.audio.sound import (
    SUFFIXES,
    SoundInfo,
    blocks,
    header,
    mix,
    read_resampled,
    resampled,
    resampled_length,
)
from mmdiff.conditions import Class
from mmdiff.data.containers import FILMS
from mmdiff.data.folders import Found, find, for_each, some, warn_of
from mmdiff.data.splits import choose
from mmdiff.errors import UserError

CACHE_BYTES = 1 << 30  # sounds up to this size, as they are used, stay in memory
_SILENCE = 1e-4  # a peak below this, -80 dB of full scale, is dither at most


class Recording(Protocol):
    """A sound [C, length] in [-1, 1], whose largest magnitude is `peak`."""

    @property
    def length(self) -> int: ...

    @property
    def peak(self) -> float: ...

    def part(self, start: int, frames: int) -> Tensor:
        """[C, frames], or up to the end; the same whichever part is asked for."""


class HeldSound:
    """A sound in memory, `x` [C, L]."""

    def __init__(self, x: Tensor) -> None:
        self._x = x
        self.length = x.shape[1]
        self.peak = float(x.abs().max())

    def part(self, start: int, frames: int) -> Tensor:
        return self._x[:, start : start + frames]


@dataclass(frozen=True)
class StoredSound:
    """A sound file that is decoded when it is asked for, a part at a time.

    Attributes:
        path, info: the file, and what it holds.
        sample_rate, channels: what its parts come in.
        loudest: the largest magnitude in the file; what is beyond 1 makes all of it quieter.
    """

    path: Path
    info: SoundInfo
    sample_rate: int
    channels: int
    loudest: float

    @property
    def length(self) -> int:
        """In frames at `sample_rate`."""
        return resampled_length(self.info.frames, self.info.sample_rate, self.sample_rate)

    @property
    def peak(self) -> float:
        return min(1.0, self.loudest)

    def part(self, start: int, frames: int) -> Tensor:
        """[channels, frames], or up to the end.

        Raises:
            UserError: the file has gone, or is not what it was.
        """
        frames = min(frames, self.length - start)
        try:
            x = read_resampled(self.path, self.info, self.sample_rate, start, frames)
        except ValueError as error:
            raise UserError(f"{self.path} became shorter: open the folder again.") from error
        return self.scaled(mix(x, self.channels))

    def scaled(self, x: Tensor) -> Tensor:
        # Between its samples a sound may be louder than at them, which resampling brings out.
        return (x * (1 / max(1.0, self.loudest))).clamp(-1, 1)


@dataclass(frozen=True)
class Held:
    """The sounds of one split.

    Attributes:
        sounds: of any length.
        sample_rate: in Hz.
        files: relative path -> size in bytes of what they were read from.
        conditions: what is known of each sound, such as its label.
        told: for each condition the class of each sound.
        left_out: relative path -> why it is none of the sounds.
        note: what else a user should know.
        aligned: each sound is one thing that begins at its beginning, such as a word; otherwise
            any part of it will do.
    """

    sounds: Sequence[Recording]
    sample_rate: int
    files: Mapping[str, int] = field(default_factory=dict)
    conditions: Mapping[str, Class] = field(default_factory=dict)
    told: Mapping[str, Sequence[int]] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    aligned: bool = False


def open_folder(
    root: Path, split: str, sample_rate: int | None, channels: int, labelled: bool = True
) -> Held:
    """The sounds under `root`, at any depth; see `datasets.open_sounds` for the rules.

    Raises:
        UserError: `root` is missing, is not a folder or holds no sound that can be read and heard.
    """
    found = _found(root)
    headers = for_each(_rate, [root / name for name in found.files], "listing sounds")
    rates: dict[str, int] = {}
    bad: dict[str, str] = {}
    for name, rate in zip(found.files, headers, strict=True):
        if isinstance(rate, int):
            rates[name] = rate
        else:
            bad[name] = rate
    if not rates:
        name, reason = next(iter(bad.items()))
        raise UserError(
            f"{root} holds no readable sound: replace its files ({some(list(bad))}), none of which "
            f"opens. The first of them is {reason}"
        )
    # Both splits decide the rate from all files, so that they always agree.
    common = Counter(rates.values())
    sample_rate = sample_rate or max(common, key=lambda rate: (common[rate], rate))

    shelf = _Shelf(sample_rate, channels)
    chosen = choose(
        list(rates),
        split,
        lambda name: not isinstance(shelf.measure(root / name), str),
        labelled,
    )
    bad |= chosen.left_out
    loaded = for_each(shelf.load, [root / name for name in chosen.names], "reading sounds")
    sounds: dict[str, Recording] = {}
    for name, sound in zip(chosen.names, loaded, strict=True):
        if isinstance(sound, str):
            bad[name] = sound
        else:
            sounds[name] = shelf.kept(sound)
    if not sounds:
        raise UserError(
            f"{root} holds no sound for the {split} split: every file that belongs to it "
            f"({some(chosen.names)}) is broken or silent; replace such files, or take them out."
        )
    warn_of(root, bad)
    places = dict(zip(chosen.names, chosen.targets, strict=True))
    return Held(
        sounds=list(sounds.values()),
        sample_rate=sample_rate,
        files={name: found.files[name] for name in sounds},
        conditions={"label": Class(len(chosen.labels), chosen.labels)} if chosen.labels else {},
        told={"label": [places[name] for name in sounds]} if chosen.labels else {},
        left_out={**found.left_out, **bad},
        note=chosen.note,
    )


def _found(root: Path) -> Found:
    """The sounds under `root`; where there are none, the films, which hold some."""
    found = find(root, (*SUFFIXES, *FILMS), "sounds")
    sounds = {name: size for name, size in found.files.items() if name.lower().endswith(SUFFIXES)}
    if not sounds:
        return found
    films = dict.fromkeys(found.files.keys() - sounds.keys(), "of another kind")
    return Found(sounds, found.left_out | films)


class _Shelf:
    """Decodes files on several threads, and keeps what comes of them until it is too much.

    Then nothing is kept, so that it never depends on the threads which sounds are in memory.
    """

    def __init__(self, sample_rate: int, channels: int) -> None:
        self._sample_rate, self._channels = sample_rate, channels
        self._bytes = 0
        self._lock = Lock()
        self._held: dict[Path, HeldSound] = {}

    def kept(self, sound: StoredSound) -> Recording:
        """The same sound, in memory if all sounds are."""
        return self._held[sound.path] if self._has_room(0) else sound

    def measure(self, path: Path) -> StoredSound | str:
        """What is in a file, or why it cannot be used."""
        return self._decode(path, None)

    def load(self, path: Path) -> StoredSound | str:
        """The same, and what is in it goes into memory while there is room."""
        parts: list[Tensor] | None = [] if self._has_room(0) else None
        sound = self._decode(path, parts)
        if parts and not isinstance(sound, str):
            held = HeldSound(sound.scaled(torch.cat(parts, 1)))
            with self._lock:
                self._held[path] = held
        return sound

    def _decode(self, path: Path, parts: list[Tensor] | None) -> StoredSound | str:
        frames, loudest = 0, 0.0

        def mixed() -> Iterator[Tensor]:
            nonlocal frames, loudest
            for block in blocks(path):
                x = mix(block, self._channels)
                frames += x.shape[1]
                loudest = max(loudest, float(x.abs().max()))
                yield x

        try:
            rate, channels = header(path)
            target = rate if parts is None else self._sample_rate
            for x in resampled(mixed(), rate, target):
                if parts is not None and self._has_room(4 * x.numel()):
                    parts.append(x)
        except UserError as error:
            return _reason(path, error)
        info = SoundInfo(rate, channels, frames)
        sound = StoredSound(path, info, self._sample_rate, self._channels, loudest)
        return sound if sound.length and loudest >= _SILENCE else "silent"

    def _has_room(self, count: int) -> bool:
        with self._lock:
            self._bytes += count
            if self._bytes > CACHE_BYTES:
                self._held.clear()
            return self._bytes <= CACHE_BYTES


def _rate(path: Path) -> int | str:
    try:
        return header(path)[0]
    except UserError as error:
        return _reason(path, error)


def _reason(path: Path, error: UserError) -> str:
    """As short as the files' names are beside it."""
    return f"unreadable: {str(error).removeprefix(str(path)).strip().split(':')[0]}"
