"""Pictures of images: grids, and tables with captions.

Tensors come in as floats [B, C, H, W] on any device and in any precision; 1 channel is grey, 3 are
RGB. A value beyond the data range is clipped, NaN is refused.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from einops import rearrange
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from mmdiff.errors import UserError

Range = tuple[float, float]

_INK = 70
_FONT_SIZE = 13
_GAP = 8  # around captions and between groups of images, in pixels
_VISIBLE = 56  # the shorter side of an image is enlarged to this, where no scale is given


def to_uint8(x: Tensor, data_range: Range = (-1.0, 1.0)) -> Tensor:
    """`x` as uint8 of the same shape on the CPU: the ends of `data_range` become 0 and 255.

    Raises:
        UserError: `x` has NaN in it, as the output of a diverged model does.
    """
    low, high = data_range
    x = x.detach().to("cpu", torch.promote_types(x.dtype, torch.float32))
    if x.isnan().any():
        raise UserError("the images have NaN in them: the model has diverged, use another one.")
    return ((x - low) * (255 / (high - low))).round().clamp(0, 255).to(torch.uint8)


def to_image(x: Tensor, data_range: Range = (-1.0, 1.0), scale: int = 1) -> Image.Image:
    """One image [C, H, W], each pixel `scale` wide and high.

    Raises:
        ValueError: neither 1 nor 3 channels.
        UserError: NaN.
    """
    if x.ndim != 3 or len(x) not in (1, 3):
        raise ValueError(f"a picture needs a shape [1 or 3, H, W], not {list(x.shape)}.")
    pixels = to_uint8(x, data_range)
    image = Image.fromarray(
        (pixels[0] if len(x) == 1 else rearrange(pixels, "c h w -> h w c")).numpy()
    )
    return image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)


def grid(
    x: Tensor,
    columns: int | None = None,
    padding: int = 2,
    scale: int | None = None,
    data_range: Range = (-1.0, 1.0),
) -> Image.Image:
    """All images of `x` [B, C, H, W] in rows, the first at the top left.

    Args:
        columns: images in a row; if None as square as it gets, with full rows where possible.
        padding: white pixels between the images and around them.
        scale: how many times each pixel is enlarged; if None so that small images can be seen (28
            pixels become 56).
    """
    images = _images(x, scale, data_range)
    columns = min(columns or _columns(len(images)), len(images))
    rows = math.ceil(len(images) / columns)
    width, height = images[0].width + padding, images[0].height + padding
    page = Image.new(images[0].mode, (columns * width + padding, rows * height + padding), "white")
    for index, image in enumerate(images):
        page.paste(image, (padding + index % columns * width, padding + index // columns * height))
    return page


def table(rows: Sequence[tuple[str, Tensor]], captions: Sequence[str] = ()) -> Image.Image:
    """A row for each (name, images [N, C, H, W]), and captions above the columns.

    Raises:
        ValueError: no rows, or another number of captions than columns.
    """
    if not rows:
        raise ValueError("a table needs at least one row.")
    images = [_images(x) for _, x in rows]
    columns = max(map(len, images))
    if captions and len(captions) != columns:
        raise ValueError(f"{columns} columns have as many captions or none, not {len(captions)}.")
    sample = images[0][0]
    font = ImageFont.load_default(_FONT_SIZE)
    widest = max((math.ceil(font.getlength(caption)) for caption in captions), default=0)
    beside = max(math.ceil(font.getlength(name)) for name, _ in rows)
    width, height = max(sample.width, widest) + 2, sample.height + 2
    left = _GAP + (beside + _GAP if beside else 0)
    top = 2 * _GAP + _FONT_SIZE if any(captions) else _GAP
    size = (left + columns * width + _GAP - 2, top + len(rows) * height + _GAP - 2)
    page = Image.new(sample.mode, size, "white")
    draw = ImageDraw.Draw(page)
    ink = (_INK,) * len(page.getbands())
    for column, caption in enumerate(captions):
        middle = left + column * width + (width - 2) / 2
        draw.text((middle, top - _GAP / 2), caption, ink, font, anchor="ms")
    for row, ((name, _), line) in enumerate(zip(rows, images, strict=True)):
        y = top + row * height
        draw.text((left - _GAP, y + sample.height / 2), name, ink, font, anchor="rm")
        for column, image in enumerate(line):
            page.paste(image, (left + column * width + (width - 2 - sample.width) // 2, y))
    return page


def _images(
    x: Tensor, scale: int | None = None, data_range: Range = (-1.0, 1.0)
) -> list[Image.Image]:
    if x.ndim != 4 or not len(x):
        raise ValueError(f"pictures need a shape [B, C, H, W] with B > 0, not {list(x.shape)}.")
    scale = scale or max(1, math.ceil(_VISIBLE / min(x.shape[2:])))
    return [to_image(image, data_range, scale) for image in x]


def _columns(count: int) -> int:
    """The fewest columns, from a square to nearly twice as many, that leave no row unfilled."""
    square = math.ceil(math.sqrt(count))
    return next((n for n in range(square, 2 * square) if count % n == 0), square)
