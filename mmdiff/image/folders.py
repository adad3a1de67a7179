"""Any folder of picture files as uint8 tensors of one size.

Every file is decoded in full when the folder is opened, so that a cut or foreign one is left out
there and never crashes in the middle of an epoch.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from mmdiff.data.folders import describe, find, for_each, warn_of
from mmdiff.data.splits import choose
from mmdiff.errors import UserError
from mmdiff.image.decoding import SUFFIXES, Header, Mode, Sides, decode, read_header, reason

CACHE_BYTES = 1 << 30  # decoded pictures up to this size stay in memory


@dataclass(frozen=True)
class Decoded:
    """What a data set holds of one split.

    Attributes:
        pixels: uint8 [N, C, H, W], or N of [C, H, W] that may be higher or wider than the items.
        targets: int64 [N], the class of each, -1 for none.
        labels: the names of the classes, () if there are none.
        files: name -> size in bytes of the files that it was read from.
        left_out: files that are no data, and why.
        notes: what else people should know of it.
        sides: of the items, those of `pixels` if None.
        natives: of each item where they differ; `sides` are those that most files have.
    """

    pixels: Tensor | list[Tensor] | ImageFiles
    targets: Tensor
    labels: tuple[str, ...] = ()
    files: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    sides: Sides | None = None
    natives: tuple[Sides, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the items."""
        if isinstance(self.pixels, list):
            channels, height, width = self.pixels[0].shape
        else:
            _, channels, height, width = self.pixels.shape
        return (channels, *(self.sides or (height, width)))


class ImageFiles:
    """Picture files that are decoded when they are asked for, see `decoding.decode`."""

    def __init__(
        self, paths: Sequence[Path], mode: Mode, sides: Sides, whole: bool = False
    ) -> None:
        self.paths = list(paths)
        self.mode, self.sides, self.whole = mode, sides, whole
        self.shape = (len(self.paths), 1 if mode == "L" else 3, *sides)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        """uint8 [C, H, W].

        Raises:
            UserError: the file has gone or is broken now.
        """
        try:
            return self.decode(index)
        except Exception as error:
            path = self.paths[index]
            raise UserError(f"{path} can no longer be read ({reason(error)}).") from error

    def decode(self, index: int) -> Tensor:
        return decode(self.paths[index], self.mode, self.sides, self.whole)

    def flaw(self, index: int, store: Tensor | list[Tensor] | None = None) -> str:
        """Why a file cannot be decoded; "" if it can. What was decoded goes into `store`."""
        try:
            pixels = self.decode(index)
        except Exception as error:  # a broken file may raise anything
            return f"unreadable: {reason(error)}"
        if store is not None:
            store[index] = pixels
        return ""


def open_folder(
    root: Path, split: str, sides: Sides | None = None, whole: bool = False, native: bool = False
) -> Decoded:
    """The pictures under `root`, at any depth; see `datasets.open_images` for the rules.

    Args:
        root: the folder.
        split: "train" or "test".
        sides: of the pictures; if None the shorter side of the first one, see `open_images`.
        whole: keep what lies beyond `sides` at two ends.
        native: items keep about the proportions of their files, see `native_sides`.

    Raises:
        UserError: `root` is missing, is not a folder or holds no readable picture.
    """
    found = find(root, SUFFIXES, "pictures")
    headers = for_each(read_header, [root / name for name in found.files], "listing pictures")
    sound, bad = usable(found.files, headers)
    if not sound:
        raise UserError(f"{root} holds no usable picture, {describe(bad)}: put others into it.")
    # Both splits decide colour and size from all files, so that they always agree.
    mode: Mode = "L" if all(header.grey for header in sound.values()) else "RGB"
    if sides is None:
        sides = usual_sides(next(iter(sound.values())).sides)
    natives = {name: native_sides(header.sides, sides) for name, header in sound.items()}
    whole = whole or native

    def works(name: str) -> bool:
        return not ImageFiles([root / name], mode, sides, whole).flaw(0)

    chosen = choose(list(sound), split, works)
    files = ImageFiles([root / name for name in chosen.names], mode, sides, whole)
    store = _store(files, [sound[name] for name in chosen.names])
    flaws = for_each(lambda index: files.flaw(index, store), range(len(files)), "reading pictures")
    bad |= chosen.left_out | {n: flaw for n, flaw in zip(chosen.names, flaws, strict=True) if flaw}
    kept = [index for index, flaw in enumerate(flaws) if not flaw]
    if not kept:
        raise UserError(
            f"{root} holds no picture for the {split} split, {describe(bad)}: put others into it."
        )
    warn_of(root, bad)
    names = [chosen.names[index] for index in kept]
    return Decoded(
        _those(files, store, kept),
        torch.tensor([chosen.targets[index] for index in kept]),
        chosen.labels,
        {name: found.files[name] for name in names},
        found.left_out | bad,
        tuple(filter(None, (sizes([sound[name].sides for name in names]), chosen.note))),
        Counter(natives.values()).most_common(1)[0][0] if native else sides,
        tuple(natives[name] for name in names) if native else (),
    )


def _store(files: ImageFiles, headers: Sequence[Header]) -> Tensor | list[Tensor] | None:
    """Room for all of `files` in memory; None if they are too many."""
    count, channels, height, width = files.shape
    if not files.whole:
        small = math.prod(files.shape) <= CACHE_BYTES
        return torch.empty(files.shape, dtype=torch.uint8) if small else None
    # The side that does not fit is as much longer as the picture is narrow.
    scales = (max(height / high, width / wide) for high, wide in (h.sides for h in headers))
    areas = (h.sides[0] * h.sides[1] * s * s for h, s in zip(headers, scales, strict=True))
    return [torch.empty(0)] * count if channels * sum(areas) <= CACHE_BYTES else None


def _those(
    files: ImageFiles, store: Tensor | list[Tensor] | None, kept: Sequence[int]
) -> Tensor | list[Tensor] | ImageFiles:
    """What `kept` are of the decoded pictures, or of the files where these are not stored."""
    if store is None:
        return ImageFiles([files.paths[i] for i in kept], files.mode, files.sides, files.whole)
    if isinstance(store, list):
        return [store[index] for index in kept]
    return store if len(kept) == len(files) else store[torch.tensor(kept)]


class Described(Protocol):
    """What a file says of itself."""

    @property
    def generated(self) -> bool: ...


H = TypeVar("H", bound=Described)


def usable(names: Iterable[str], headers: Iterable[H | str]) -> tuple[dict[str, H], dict[str, str]]:
    """The files that can be used, and of the others why not, by what their beginnings say."""
    good: dict[str, H] = {}
    bad: dict[str, str] = {}
    for name, header in zip(names, headers, strict=True):
        if isinstance(header, str):
            bad[name] = f"unreadable: {header}"
        elif header.generated:
            bad[name] = "generated by a model"
        else:
            good[name] = header
    return good, bad


def usual_sides(first: Sides) -> Sides:
    """The sides of what a folder holds, by those of the first file in it."""
    side = max(4, min(64, min(first) // 4 * 4))
    return side, side


def native_sides(file: Sides, sides: Sides) -> Sides:
    """The sides of a picture of a file of such sides that just covers `sides`.

    In whole steps of about an eighth of these, so that many pictures are alike, and at most twice
    as long: what there is beyond is cut.
    """
    scale = max(Fraction(side, long) for side, long in zip(sides, file, strict=True))
    step = max(4, min(sides) // 32 * 4)
    height, width = (
        side if long * scale == side else min(int(long * scale) // step * step, 2 * side)
        for side, long in zip(sides, file, strict=True)
    )
    return max(height, sides[0]), max(width, sides[1])


def sizes(sides: Sequence[Sides]) -> str:
    """How large the files are: "files of 30 x 47 to 300 x 200 pixels"."""
    ranked = sorted(set(sides), key=lambda side: (side[0] * side[1], side))
    ends = [f"{high:,} x {wide:,}" for high, wide in dict.fromkeys((ranked[0], ranked[-1]))]
    return f"files of {' to '.join(ends)} pixels"
