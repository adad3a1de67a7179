"""One picture file as a tensor.

Nothing about the file is trusted: it is read by parsers of plain raster pictures only, and all of
it is decoded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Literal

import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.ExifTags import Base
from PIL.TiffImagePlugin import BITSPERSAMPLE, TiffImageFile
from torch import Tensor
from torchvision.transforms.v2 import functional as tvf

from mmdiff.data.folders import GENERATED
from mmdiff.errors import UserError

Mode = Literal["L", "RGB"]
Sides = tuple[int, int]  # height and width in pixels

# What a renderer runs like a program (EPS, WMF), and what Pillow knows by name alone.
_REFUSED = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
_FORMATS = {
    suffix: name
    for suffix, name in sorted(Image.registered_extensions().items())
    if name in Image.OPEN and name not in _REFUSED
}
SUFFIXES = tuple(_FORMATS)

# Files of these are often named as one of the others. Other parsers take nearly anything for a
# picture, and only see files that are named so.
_COMMON = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
_GREY_MODES = ("1", "L", "LA", "F")
_FULL = 65535


@dataclass(frozen=True)
class Header:
    """What the beginning of a picture file says.

    Attributes:
        grey: whether it has no colours.
        sides: height and width in pixels, turned as EXIF says.
        generated: whether it says that a model generated it.
    """

    grey: bool
    sides: Sides
    generated: bool


_SIDEWAYS = (5, 6, 7, 8)  # orientations of EXIF that swap height and width


def read_header(path: Path) -> Header | str:
    """What the file's beginning says, or why it is no picture."""
    try:
        with open_picture(path) as image:
            grey = image.mode in _GREY_MODES or image.mode.startswith("I")
            sides = (image.height, image.width)
            # A TIFF says so itself; of others, where there is no EXIF, Pillow would decode a PNG.
            known = "exif" in image.info and not isinstance(image, TiffImageFile)
            if known and image.getexif().get(Base.Orientation) in _SIDEWAYS:
                sides = (image.width, image.height)
            return Header(grey, sides, is_generated(image))
    except Exception as error:  # a foreign file may raise anything
        return reason(error)


def decode(path: Path, mode: Mode, sides: Sides | None = None, whole: bool = False) -> Tensor:
    """The first picture of a file as uint8 [C, H, W], made smaller or larger to cover `sides`.

    The EXIF orientation is honoured, and transparency is laid on white. The range of grey pixels
    of more than 8 bits, black to white, is that of their type: 0 to 65,535 for integers, or to
    4,095 where a TIFF has 12 bits; 0 to 1 for floats, or to 255 where any of them is above 1.

    Args:
        mode: grey or colour, C = 1 or 3.
        sides: H and W; the picture's own if None.
        whole: keep what lies beyond `sides` at two ends; otherwise it is cropped evenly.

    Raises:
        Exception: whatever Pillow raises for a bad file.
        ValueError: pixels beyond the range of their type, or NaN.
    """
    with open_picture(path) as file:
        return to_pixels(file, mode, sides, whole)


def to_pixels(
    file: Image.Image, mode: Mode, sides: Sides | None = None, whole: bool = False
) -> Tensor:
    """The present frame of an open picture, as `decode` gives it."""
    bits = file.tag_v2.get(BITSPERSAMPLE) if isinstance(file, TiffImageFile) else None
    if sides is not None:
        # JPEG only: far quicker for large photographs.
        file.draft(mode, (2 * sides[1], 2 * sides[0]))
    image: Image.Image = ImageOps.exif_transpose(file)
    if image.mode == "F" or image.mode.startswith("I"):
        image = _to_eight_bits(image, 4095 if bits == (12,) else _FULL)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert(mode)
    if sides is not None:
        fit = ImageOps.cover if whole else ImageOps.fit
        image = fit(image, (sides[1], sides[0]), Image.Resampling.LANCZOS)
    pixels: Tensor = tvf.pil_to_tensor(image)
    return pixels


def read(path: Path | str, channels: int | None = None, sides: Sides | None = None) -> Tensor:
    """One picture file as float32 [C, H, W] in [-1, 1]; see `decode`.

    Args:
        path: of the file.
        channels: 1 is grey, 3 are RGB; what the file has if None.
        sides: H and W; the picture's own if None.

    Raises:
        UserError: it is missing or cannot be read.
    """
    path = Path(path)
    if not path.is_file():  # a pipe would be waited for
        problem = "is not a file" if path.exists() else "does not exist"
        raise UserError(f"{path} {problem}: name a picture.")
    header = read_header(path)
    if isinstance(header, str):
        raise UserError(f"{path} cannot be read ({header}): name another picture.")
    grey = header.grey if channels is None else channels == 1
    try:
        pixels = decode(path, "L" if grey else "RGB", sides)
    except Exception as error:
        raise UserError(
            f"{path} cannot be read ({reason(error)}): name another picture."
        ) from error
    return pixels / 127.5 - 1


def reason(error: Exception) -> str:
    """Why a file cannot be read, in a few words."""
    if isinstance(error, UnidentifiedImageError):
        return "no picture"
    text = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
    return shorten(text, 80)


def is_generated(image: Image.Image) -> bool:
    """Whether a file says that a model generated it."""
    said = [image.info.get("Description"), image.info.get("comment")]  # of a PNG, of a GIF
    if "exif" in image.info:  # a WebP's; where there is none, Pillow would decode a PNG to seek it
        said.append(image.getexif().get(Base.ImageDescription))
    return any(GENERATED in str(text) for text in said)


def open_picture(path: Path) -> Image.Image:
    """A file, by the parsers of plain pictures alone."""
    named = _FORMATS.get(path.suffix.lower())
    return Image.open(path, formats=[*_COMMON, named] if named else _COMMON)


def _to_eight_bits(image: Image.Image, white: int) -> Image.Image:
    """Grey integers from 0 to `white`, or floats from 0 to 1 or to 255, as mode L."""
    kind, most = "floating-point", 255
    if image.mode != "F":
        kind, most = "integer", white
        image = image.convert("I").convert("F")
    pixels = tvf.pil_to_tensor(image)[0]
    low, high = pixels.min().item(), pixels.max().item()
    if not 0 <= low <= high <= most:  # nor do they for NaN
        raise ValueError(f"{kind} pixels from {low:g} to {high:g}, not within 0 to {most:,}")
    if kind == "floating-point":
        white = 1 if high <= 1 else 255
    return Image.fromarray((pixels * (255 / white) + 0.5).to(torch.uint8).numpy())
