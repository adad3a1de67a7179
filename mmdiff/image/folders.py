"""Any folder of image files as uint8 tensors of one size.

Nothing about the files is trusted: every one is decoded in full when the folder is opened, so that
a cut or foreign file costs a warning there and never a crash in the middle of an epoch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.v2 import functional as tvf

from mmdiff.errors import UserError
from mmdiff.folders import choose, find, for_each, some, warn_of_skipped

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
CACHE_BYTES = 1 << 30  # decoded images up to this size stay in memory

# A file is read by these parsers only, whatever its name says.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
_GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16L", "I;16B")

Mode = Literal["L", "RGB"]


@dataclass(frozen=True)
class Decoded:
    """What a folder holds of one split."""

    pixels: Tensor | ImageFiles  # uint8 [N, C, H, W]
    targets: Tensor  # int64 [N], -1 = no label
    labels: tuple[str, ...]


class ImageFiles:
    """Image files that are decoded when they are asked for: item -> uint8 [C, size, size]."""

    def __init__(self, paths: Sequence[Path], mode: Mode, size: int) -> None:
        self.paths = list(paths)
        self.mode: Mode = mode
        self.size = size
        self.shape = (len(self.paths), 1 if mode == "L" else 3, size, size)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        path = self.paths[index]
        try:
            return decode(path, self.mode, self.size)
        except Exception as error:
            raise UserError(f"{path} can no longer be read ({error}).") from error


def decode(path: Path, mode: Mode, size: int) -> Tensor:
    """One image file as uint8 [C, size, size], its longer side cropped evenly at both ends.

    The EXIF orientation is honoured, transparency is laid on white, 16 bits are scaled to 8, and
    of an animation the first frame is taken. Raises whatever Pillow raises for a bad file.
    """
    with Image.open(path, formats=_FORMATS) as file:
        file.draft(mode, (2 * size, 2 * size))  # JPEG only: far quicker for large photographs
        image: Image.Image = ImageOps.exif_transpose(file)
        if image.mode.startswith("I"):
            # Pillow's own conversion clips 16 bits at 255, which leaves a white image.
            image = image.convert("I").point(lambda value: value * (1 / 257) + 0.5)
        elif image.mode == "F":
            raise ValueError("floating-point pixels have no fixed range")
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        image = ImageOps.fit(image.convert(mode), (size, size), Image.Resampling.LANCZOS)
        pixels: Tensor = tvf.pil_to_tensor(image)
    return pixels


def open_folder(root: Path, split: str, size: int | None = None) -> Decoded:
    """The images under `root`, at any depth; see `datasets.open_images` for the rules.

    Raises:
        UserError: `root` is missing, is not a folder or holds no readable image.
    """
    found = find(root, SUFFIXES, "images")
    headers = for_each(_read_header, [root / name for name in found], "listing images")
    readable = [name for name, header in zip(found, headers, strict=True) if header]
    sound = [header for header in headers if header]
    bad = [name for name, header in zip(found, headers, strict=True) if not header]
    if not readable:
        raise UserError(
            f"{root} holds no readable image: replace its files ({some(found)}), none of which "
            f"opens as any of {', '.join(_FORMATS)}."
        )
    # Both splits decide colour and size from all files, so that they always agree.
    mode: Mode = "L" if all(grey for grey, _ in sound) else "RGB"
    size = size or max(4, min(64, sound[0][1] // 4 * 4))

    names, classes = choose(readable, split)
    pixels, kept = _decode_sound([root / name for name in names], mode, size)
    bad += [names[index] for index in sorted(set(range(len(names))) - set(kept))]
    if not kept:
        raise UserError(
            f"{root} holds no image for the {split} split: every file that belongs to it "
            f"({some(names)}) is cut, or has floating-point pixels; replace such files, or take "
            "them out."
        )
    warn_of_skipped(root, bad, "unreadable")
    labels = tuple(sorted(set(classes.values())))
    targets = [labels.index(classes[names[index]]) if labels else -1 for index in kept]
    return Decoded(pixels, torch.tensor(targets), labels)


def _decode_sound(
    paths: Sequence[Path], mode: Mode, size: int
) -> tuple[Tensor | ImageFiles, list[int]]:
    """The images of those files that can be decoded, and the indices of these files."""
    files = ImageFiles(paths, mode, size)
    store = None
    if math.prod(files.shape) <= CACHE_BYTES:
        store = torch.empty(files.shape, dtype=torch.uint8)

    def attempt(index: int) -> bool:
        try:
            pixels = decode(paths[index], mode, size)
        except Exception:  # a broken file may raise anything
            return False
        if store is not None:
            store[index] = pixels
        return True

    sound = for_each(attempt, range(len(paths)), "reading images")
    kept = [index for index, good in enumerate(sound) if good]
    if store is None:
        return ImageFiles([paths[index] for index in kept], mode, size), kept
    return store if len(kept) == len(paths) else store[kept], kept


def _read_header(path: Path) -> tuple[bool, int] | None:
    """(is it greyscale, its shorter side), or None if it is no image."""
    try:
        with Image.open(path, formats=_FORMATS) as image:
            return image.mode in _GREY_MODES, min(image.size)
    except Exception:  # a foreign file may raise anything
        return None
