"""Data sets of videos by name: changing the data is changing one word."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from mmdiff.conditions import Class, Condition
from mmdiff.data.folders import describe, identity, names_of
from mmdiff.data.splits import describe_classes
from mmdiff.errors import UserError
from mmdiff.image.datasets import checked_sides
from mmdiff.image.decoding import Sides
from mmdiff.image.public import open_public
from mmdiff.modality import Modality
from mmdiff.video.folders import FPS, Crops, Held, open_folder
from mmdiff.video.moving import LEAST, MovingDigits

NAMES = ("moving-mnist", "folder:PATH")

FRAMES = 16
LONGEST = 1 << 25  # values of a clip: a batch of larger ones fits into no memory
_SIDES = (32, 32)


class Videos(Dataset[dict[str, Any]]):
    """Clips of one shape and what is known of them, see `open_videos`.

    An item is {"x": float32 [C, T, H, W] in [-1, 1]} with a "label" (int) where there are classes.

    Attributes:
        name: what `open_videos` was asked for.
        shape: (C, T, H, W) of every item.
        fps: frames a second.
        conditions: what items tell beside x: {"label": Class} or {}.
        identity: a hex digest of what is in it, the same wherever its files lie.
        costly: each item is decoded when it is asked for.
        names: of the files that items of a folder come from, without suffixes; () of other sets.
    """

    def __init__(self, name: str, held: Held, seed: int = 0) -> None:
        self.name = name
        self.shape: tuple[int, ...] = held.clips.shape
        self.fps = held.clips.fps
        labels = held.labels
        self.conditions: Mapping[str, Condition] = (
            {"label": Class(len(labels), labels)} if labels else {}
        )
        self.costly = held.costly
        self.identity = identity(
            held.files,
            name=None if name.startswith("folder:") else name,
            shape=self.shape,
            fps=self.fps,
            labels=labels,
        )
        files = names_of(held.files)
        self.names = (
            tuple(files[film] for film, _, _ in held.clips.items)
            if isinstance(held.clips, Crops)
            else ()
        )
        self._held, self._seed = held, seed

    @property
    def modality(self) -> Modality:
        from mmdiff.video.modality import Video  # which opens these

        return Video(self.fps)

    def __len__(self) -> int:
        return len(self._held.clips)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.visit(index, 0)

    def visit(self, index: int, count: int) -> dict[str, Any]:
        """What item `index` is when it is visited for the `count`-th time, from 0.

        All that is random is a function of (seed, index, count).

        Raises:
            UserError: a file of a folder has gone or is broken now.
        """
        return {"x": self._held.clips.clip(self._seed, index, count), **self.told(index)}

    def told(self, index: int) -> dict[str, Any]:
        """What is told of item `index`, without decoding it."""
        return {"label": self._held.targets[index]} if self.conditions else {}

    def length(self, index: int) -> int:
        """Frames of all of the film that item `index` is from, in a folder."""
        assert isinstance(self._held.clips, Crops)
        return self._held.clips.length(index)

    def cut(self, index: int, start: int) -> dict[str, Any]:
        """Of the film that item `index` is from, in a folder, what begins at a frame."""
        assert isinstance(self._held.clips, Crops)
        return {"x": self._held.clips.cut(index, start), **self.told(index)}

    def summary(self) -> str:
        """What is in it, for people: how many clips, of which shape and classes; what is not."""
        held = self._held
        said = [f"{len(self):,} clips: {', '.join(self.modality.describe(self.shape).values())}"]
        said += held.notes
        if held.labels:
            counts = describe_classes(held.labels, held.targets)
            said.append(f"{len(held.labels)} classes: {counts}")
        lines = [f"{self.name}: {'; '.join(said)}"]
        if held.left_out:
            lines.append(describe(held.left_out))
        return "\n".join(lines)


def open_videos(
    name: str,
    split: str = "train",
    data_dir: Path | str | None = None,
    size: int | Sides | None = None,
    frames: int = FRAMES,
    fps: float | None = None,
    seed: int = 0,
) -> Videos:
    """A data set of clips with values in [-1, 1].

    `moving-mnist` is made on the spot: each digit of MNIST on a straight way through a black box
    whose walls reflect it, at 10 to 25 pixels a second; another way at each visit.

    `folder:PATH` is any folder of videos, at any depth: animations (GIF, WebP, APNG), films (MP4,
    WebM and what else PyAV reads, if that is installed), and folders of pictures with numbers in
    their names. They are resized and centre-cropped to `size`, and have one channel if no file has
    colours, else three. A longer one counts as several items, about as many as it has clips; each
    visit takes another crop from about its place. Left out, and said so, are what is shorter than
    a clip, broken files, hidden ones, runs of training and what a model generated. Which folders
    are splits and classes says `mmdiff.data.splits.choose`.

    Args:
        name: one of `NAMES`.
        split: "train" or "test".
        data_dir: where MNIST is, or is downloaded to; $MMDIFF_DATA or ./data if None.
        size: of the frames in pixels: a side of squares, or (height, width). If None: 32 for
            `moving-mnist`, and for a folder the shorter side of its first file, rounded down to a
            multiple of 4, from 4 to 64.
        frames: of a clip.
        fps: frames a second; if None 10 for `moving-mnist` and for frames that are files, else the
            most common rate of a folder's files.
        seed: of the ways and the crops.

    Raises:
        UserError: an unknown name; data that are missing and cannot be downloaded, or are broken.
        ValueError: an unknown split; a size, number of frames or rate that no video can have or no
            memory can hold.
    """
    if split not in ("train", "test"):
        raise ValueError(f'unknown split {split!r}; known are "train" and "test".')
    if frames < 1 or not (fps is None or 0 < fps <= 1000):
        raise ValueError(f"clips have 1 frame or more, at 1000 a second or fewer: {frames}, {fps}.")
    sides = checked_sides(size)
    kind, _, path = name.partition(":")
    if kind == "folder" and path:
        if sides:
            _fit(frames, *sides)
        held = open_folder(Path(path).expanduser().absolute(), split, sides, frames, fps)
        _fit(*held.clips.shape[1:])
    elif name == "moving-mnist":
        sides = sides or _SIDES
        _fit(frames, *sides)
        root = Path(data_dir or os.environ.get("MMDIFF_DATA") or "data").expanduser().absolute()
        held = _moving(root, split, (frames, *sides), fps or FPS)
    else:
        raise UserError(f"unknown data set {name!r}; known are {', '.join(NAMES)}.")
    return Videos(name, held, seed)


def _fit(frames: int, height: int, width: int) -> None:
    """Raises ValueError for clips that no memory can hold."""
    if frames * height * width > LONGEST:
        raise ValueError(
            f"{frames:,} frames of {height} x {width} pixels fit into no memory: ask for fewer or "
            "smaller ones."
        )


def _moving(root: Path, split: str, shape: tuple[int, int, int], fps: float) -> Held:
    if min(shape[1:]) < LEAST:
        raise ValueError(f"digits need a box of at least {LEAST} pixels a side to move in.")
    mnist = open_public("mnist", split, root, None, whole=False)
    assert isinstance(mnist.pixels, Tensor)
    clips = MovingDigits(mnist.pixels, (1, *shape), fps)
    return Held(clips, mnist.targets.tolist(), mnist.labels, mnist.files)
