"""Image data sets by name: changing the data is changing one word."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from operator import index as integer
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from mmdiff import noise
from mmdiff.conditions import Class, Condition
from mmdiff.data.folders import describe, identity, names_of
from mmdiff.data.splits import describe_classes
from mmdiff.errors import UserError
from mmdiff.image import public
from mmdiff.image.decoding import Sides
from mmdiff.image.folders import Decoded, ImageFiles, open_folder
from mmdiff.modality import Modality

NAMES = (*public.NAMES, "folder:PATH")

LARGEST = 1 << 12  # pixels of a side: a batch of larger images fits into no memory


class Images(Dataset[dict[str, Any]]):
    """Images and their labels, see `open_images`.

    An item is {"x": float32 [C, H, W] in [-1, 1]} with a "label" (int) where there are classes.

    Attributes:
        name: what `open_images` was asked for.
        shape: (C, H, W) of every item; of native ones that which most files have.
        shapes: of each item, where they are native.
        conditions: what items tell beside x: {"label": Class} or {}.
        identity: a hex digest of what is in it, the same wherever its files lie.
        costly: each item is decoded when it is asked for.
        names: of the files that items of a folder come from, without suffixes; () of other sets.
    """

    def __init__(
        self,
        name: str,
        held: Decoded,
        flip: bool = False,
        crop: bool = False,
        seed: int = 0,
    ) -> None:
        self.name = name
        self.shape: tuple[int, ...] = held.shape
        labels = held.labels
        self.conditions: Mapping[str, Condition] = (
            {"label": Class(len(labels), labels)} if labels else {}
        )
        self.costly = isinstance(held.pixels, ImageFiles)
        self.identity = identity(
            held.files,
            name=None if name.startswith("folder:") else name,
            shape=self.shape,
            labels=labels,
            augmented=[flip, crop],
            **({"natives": held.natives} if held.natives else {}),
        )
        if held.natives:
            self.shapes = [(self.shape[0], *sides) for sides in held.natives]
        self.names = names_of(held.files) if name.startswith("folder:") else ()
        self._held, self._flip, self._crop, self._seed = held, flip, crop, seed
        self._targets = held.targets.tolist()

    @property
    def modality(self) -> Modality:
        from mmdiff.image.modality import Pictures  # which opens these

        return Pictures()

    def __len__(self) -> int:
        return len(self._targets)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.visit(index, 0)

    def visit(self, index: int, count: int) -> dict[str, Any]:
        """What item `index` is when it is visited for the `count`-th time, from 0.

        All that is random is a function of (seed, index, count).

        Raises:
            UserError: a file of a folder has gone or is broken now.
        """
        x = self._held.pixels[index]
        if self._held.natives:
            x = _window(x, self._held.natives[index], 0.5)
        if self._flip or self._crop:
            # One number each for the place and the side.
            keys = 2 * index + torch.arange(2)
            place, side = noise.uniform(self._seed, keys, count, noise.DATA).tolist()
            if self._crop:
                x = _window(x, self.shape[1:], place)
            if self._flip and side < 0.5:
                x = x.flip(-1)
        return {"x": x / 127.5 - 1, **self.told(index)}

    def told(self, index: int) -> dict[str, Any]:
        """What is told of item `index`, without decoding it."""
        return {"label": self._targets[index]} if self.conditions else {}

    def summary(self) -> str:
        """What is in it, for people: how many items, of which size and classes; what is not."""
        colour = "grey" if self.shape[0] == 1 else "colour"
        sides = sorted({shape[1:] for shape in getattr(self, "shapes", [self.shape])})
        ends = " to ".join(f"{h} x {w}" for h, w in dict.fromkeys((sides[0], sides[-1])))
        said = [f"{len(self):,} {colour} images of {ends} pixels", *self._held.notes]
        if self._held.labels:
            counts = describe_classes(self._held.labels, self._targets)
            said.append(f"{len(self._held.labels)} classes: {counts}")
        lines = [f"{self.name}: {'; '.join(said)}"]
        if self._held.left_out:
            lines.append(describe(self._held.left_out))
        return "\n".join(lines)


def open_images(
    name: str,
    split: str = "train",
    data_dir: Path | str | None = None,
    size: int | Sides | None = None,
    flip: bool = False,
    crop: bool = False,
    native: bool = False,
    seed: int = 0,
) -> Images:
    """A data set of images with values in [-1, 1].

    `folder:PATH` is any folder of pictures that Pillow reads, at any depth. They are resized and
    centre-cropped to `size`, laid on white where transparent, and have one channel if all files
    are greyscale, else three; `decoding.decode` says what black and white are. Left out, and said
    so, are broken files, hidden ones, runs of training and what a model generated. Which folders
    are splits and classes says `mmdiff.data.splits.choose`.

    Args:
        name: one of `NAMES`.
        split: "train" or "test".
        data_dir: where the sets are, or are downloaded to; $MMDIFF_DATA or ./data if None. Not
            used by a folder.
        size: of the images in pixels: a side of squares, or (height, width). If None: the data
            set's own (28 for MNIST and its kin, 32 for CIFAR-10), 64 for CelebA (the faces'
            central 178x178 made smaller), and for a folder the shorter side of its first picture,
            rounded down to a multiple of 4, from 4 to 64.
        flip: mirror half of the visits, left to right.
        crop: at each visit take another window of pictures that are longer than `size` is wide,
            or the other way, instead of the middle.
        native: pictures of a folder keep about their proportions: they cover `size`, and of what
            is longer, up to twice, the middle stays. Batches are of pictures of one size.
        seed: of the flips and crops.

    Raises:
        UserError: an unknown name; data that are missing and cannot be downloaded, or are broken.
        ValueError: an unknown split, a size below 4 or beyond `LARGEST`, or native pictures that
            are cut anywhere or not of a folder.
    """
    if split not in ("train", "test"):
        raise ValueError(f'unknown split {split!r}; known are "train" and "test".')
    sides = checked_sides(size)
    kind, _, path = name.partition(":")
    if native and kind != "folder":
        raise ValueError(f"pictures of {name} are all of one size: leave native out.")
    if native and crop:
        raise ValueError("native pictures keep their middle: leave crop or native out.")
    if kind == "folder" and path:
        root = Path(path).expanduser().absolute()
        held = open_folder(root, split, sides, crop, native)
    elif name in public.NAMES:
        root = Path(data_dir or os.environ.get("MMDIFF_DATA") or "data").expanduser().absolute()
        held = public.open_public(name, split, root, sides, whole=crop)
    else:
        raise UserError(f"unknown data set {name!r}; known are {', '.join(NAMES)}.")
    return Images(name, held, flip, crop, seed)


def _window(x: Tensor, sides: Sequence[int], place: float) -> Tensor:
    """The part of `x` [C, H, W] with `sides`, `place` in [0, 1) of the way to the last one."""
    top, left = (
        int(place * (long - side + 1)) for long, side in zip(x.shape[1:], sides, strict=True)
    )
    return x[:, top : top + sides[0], left : left + sides[1]]


def checked_sides(size: int | Sides | None) -> Sides | None:
    """Height and width. Raises ValueError for what no image can have or no memory can hold."""
    if size is None:
        return None
    height, width = (integer(side) for side in (size if isinstance(size, tuple) else (size, size)))
    if min(height, width) < 4:
        raise ValueError(f"images need sides of at least 4 pixels, not {height} x {width}.")
    if max(height, width) > LARGEST:
        raise ValueError(
            f"images of {height:,} x {width:,} pixels fit into no memory: choose a smaller size, "
            f"{LARGEST:,} at most."
        )
    return height, width
