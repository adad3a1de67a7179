"""Any folder of videos as clips of one size, rate and length.

Every clip of a split is decoded in full when the folder is opened, so that a cut or foreign one is
left out there, with the reason, and never ends an epoch in the middle. What comes of it stays in
memory if it is not too much.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from mmdiff import noise
from mmdiff.data.folders import describe, find, for_each, warn_of
from mmdiff.data.splits import choose
from mmdiff.errors import UserError
from mmdiff.image.decoding import Mode, Sides, reason
from mmdiff.image.folders import sizes, usable, usual_sides
from mmdiff.video.decoding import FRAMES, SUFFIXES, decode, read_header

CACHE_BYTES = 1 << 30  # decoded clips up to this size stay in memory
FPS = 10.0  # of frames that are files, which say none


class Clips(Protocol):
    """Clips of one shape: float32 [C, T, H, W] in [-1, 1]."""

    @property
    def shape(self) -> tuple[int, int, int, int]: ...

    @property
    def fps(self) -> float: ...

    def __len__(self) -> int: ...

    def clip(self, seed: int, index: int, visit: int) -> Tensor:
        """Clip `index`; all that is random is a function of (seed, index, visit).

        Raises:
            UserError: its file has gone or is broken now.
        """


@dataclass(frozen=True)
class Held:
    """What a data set holds of one split.

    Attributes:
        clips: all of them.
        targets: the class of each, -1 for none.
        labels: the names of the classes, () if there are none.
        files: name -> size in bytes of the files that it was read from.
        left_out: files that are no data, and why.
        notes: what else people should know of it.
        costly: clips are decoded when they are asked for.
    """

    clips: Clips
    targets: Sequence[int]
    labels: tuple[str, ...] = ()
    files: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    costly: bool = False


@dataclass(frozen=True)
class Film:
    """A video of any length, at a rate and a size of its own choice.

    Attributes:
        path, mode, sides, fps: what `decode` is told.
        length: in frames.
        pixels: uint8 [C, length, H, W]; None where they are decoded when they are asked for.
    """

    path: Path
    mode: Mode
    sides: Sides
    fps: float
    length: int
    pixels: Tensor | None = None

    def part(self, start: int, count: int) -> Tensor:
        """uint8 [C, count, H, W]."""
        if self.pixels is not None:
            return self.pixels[:, start : start + count]
        try:
            part = decode(self.path, self.mode, self.sides, self.fps, start, count)
            if part.shape[1] < count:
                raise ValueError("it became shorter")
        except Exception as error:
            raise UserError(f"{self.path} can no longer be read ({reason(error)}).") from error
        return part


class Crops:
    """Crops in time of films: a film counts as several items, about as many as it has crops.

    Each visit takes another crop from about the item's place.
    """

    def __init__(self, films: Sequence[Film], frames: int) -> None:
        first = films[0]
        self.shape = (1 if first.mode == "L" else 3, frames, *first.sides)
        self.fps = first.fps
        # (film, which of its parts, of how many)
        self.items = [
            (index, part, parts)
            for index, film in enumerate(films)
            for parts in [max(1, round(film.length / frames))]
            for part in range(parts)
        ]
        self._films, self._frames = films, frames

    def __len__(self) -> int:
        return len(self.items)

    def clip(self, seed: int, index: int, visit: int) -> Tensor:
        film, part, parts = self.items[index]
        where = float(noise.uniform(seed, torch.tensor([index]), visit, noise.DATA))
        free = self._films[film].length - self._frames
        return self.cut(index, int((part + where) / parts * (free + 1)))

    def length(self, index: int) -> int:
        """Of the film of item `index`, in frames."""
        return self._films[self.items[index][0]].length

    def cut(self, index: int, start: int) -> Tensor:
        """What begins at a frame of the film of item `index`, or as late as it can."""
        film = self._films[self.items[index][0]]
        return film.part(min(start, film.length - self._frames), self._frames) / 127.5 - 1


def open_folder(
    root: Path, split: str, sides: Sides | None, frames: int, fps: float | None
) -> Held:
    """The videos under `root`, at any depth; see `datasets.open_videos` for the rules.

    Raises:
        UserError: `root` is missing, is not a folder or holds no video of so many frames.
    """
    found = find(root, (*SUFFIXES, *FRAMES), "videos")
    files, bad = _clips(found.files)
    headers = for_each(read_header, [root / name for name in files], "listing videos")
    sound, unusable = usable(files, headers)
    bad |= unusable
    if not sound:
        raise UserError(f"{root} holds no usable video, {describe(bad)}: put others into it.")
    # Both splits decide colour, size and rate from all files, so that they always agree.
    mode: Mode = "L" if all(header.grey for header in sound.values()) else "RGB"
    sides = sides or usual_sides(next(iter(sound.values())).sides)
    fps = fps or _most_common([header.fps for header in sound.values()])
    total = sum(header.length(fps) for header in sound.values())
    keep = total * (1 if mode == "L" else 3) * sides[0] * sides[1] <= CACHE_BYTES

    def film(name: str, keep: bool = keep) -> Film | str:
        """A film, or why there is none."""
        try:
            pixels = decode(root / name, mode, sides, fps)
        except Exception as error:  # a broken file may raise anything
            return f"unreadable: {reason(error)}"
        length = pixels.shape[1]
        if length < frames:
            return f"too short: {length} frame{'s'[: length > 1]}"
        return Film(root / name, mode, sides, fps, length, pixels if keep else None)

    chosen = choose(list(sound), split, lambda name: isinstance(film(name, keep=False), Film))
    films = dict(zip(chosen.names, for_each(film, chosen.names, "reading videos"), strict=True))
    bad |= chosen.left_out | {n: flaw for n, flaw in films.items() if isinstance(flaw, str)}
    kept = {name: film for name, film in films.items() if isinstance(film, Film)}
    if not kept:
        raise UserError(
            f"{root} holds no video of {frames} frames for the {split} split, {describe(bad)}: "
            "put others into it, or ask for fewer frames."
        )
    warn_of(root, bad)
    crops = Crops(list(kept.values()), frames)
    target = dict(zip(chosen.names, chosen.targets, strict=True))
    targets = [target[name] for name in kept]
    minutes = sum(film.length for film in kept.values()) / fps / 60
    amount = f"{len(kept):,} videos, {minutes:,.1f} minutes"
    notes = (amount, sizes([sound[name].sides for name in kept]), chosen.note)
    return Held(
        crops,
        [targets[index] for index, _, _ in crops.items],
        chosen.labels,
        {name: files[name] for name in kept},
        found.left_out | bad,
        tuple(filter(None, notes)),
        costly=not keep,
    )


def _clips(files: Mapping[str, int]) -> tuple[dict[str, int], dict[str, str]]:
    """Name -> bytes of what is a video: a file, or a folder of numbered pictures; what is none."""
    clips: dict[str, int] = {}
    stills: dict[str, list[str]] = {}
    for name, size in files.items():
        path = Path(name)
        if path.suffix.lower() in SUFFIXES:
            clips[name] = size
        else:
            stills.setdefault(path.parent.as_posix(), []).append(name)
    bad: dict[str, str] = {}
    for folder, names in stills.items():
        if sum(any(map(str.isdecimal, Path(name).stem)) for name in names) > 1:
            clips[folder] = sum(files[name] for name in names)
        else:
            bad |= dict.fromkeys(names, "of one frame")
    return dict(sorted(clips.items())), bad


def _most_common(rates: Sequence[float]) -> float:
    """Frames a second, of those that say any."""
    said = Counter(round(rate, 2) for rate in rates if rate)
    return said.most_common(1)[0][0] if said else FPS
