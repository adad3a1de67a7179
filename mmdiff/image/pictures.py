"""Pictures of images: grids, tables, the progress of a training, the reverse process.

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


def progress_picture(
    x0: Tensor, noised: Sequence[Tensor], denoised: Sequence[Tensor], times: Sequence[float]
) -> Image.Image:
    """What a model makes of test images at several noise levels.

    For each image of `x0` [B, C, H, W]: itself at the left; beside it one row with the noised
    images and below that one with their denoised estimates, a column for each of `times`.
    """
    if not len(noised) == len(denoised) == len(times):
        raise ValueError(
            f"{len(times)} times go with as many batches of noised and denoised images, "
            f"not {len(noised)} and {len(denoised)}."
        )
    rows = zip(*(_images(x) for x in (*noised, *denoised)), strict=True)
    captions = ["x0", *(f"t = {t:.3g}" for t in times)]
    table = _Table(_images(x0)[0], captions, ("noised", "denoised"), len(x0))
    for block, (clean, row) in enumerate(zip(_images(x0), rows, strict=True)):
        table.paste(clean, block, 0.5, 0)
        for index, image in enumerate(row):
            table.paste(image, block, index // len(times), 1 + index % len(times))
    return table.page


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
    names = [name for name, _ in rows]
    page = _Table(images[0][0], captions or [""] * columns, names, 1)
    for row, line in enumerate(images):
        for column, image in enumerate(line):
            page.paste(image, 0, row, column)
    return page.page


def reverse_process_picture(states: Sequence[tuple[str, Tensor]]) -> Image.Image:
    """The way from noise to images: a column for each (caption, [B, C, H, W]), a row a sample."""
    if not states:
        raise ValueError("a reverse process needs at least one state.")
    samples = zip(*(x for _, x in states), strict=True)
    return table([("", torch.stack(way)) for way in samples], [caption for caption, _ in states])


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


class _Table:
    """Blocks of rows of equally large images, captions above the columns and beside the rows."""

    def __init__(
        self, sample: Image.Image, columns: Sequence[str], rows: Sequence[str], blocks: int
    ) -> None:
        font = ImageFont.load_default(_FONT_SIZE)
        widest = max(font.getlength(caption) for caption in columns)
        self.width = max(sample.width, math.ceil(widest)) + 2
        self.height = sample.height + 2
        self.block = len(rows) * self.height + _GAP
        self.indent = (self.width - 2 - sample.width) // 2
        beside = max(math.ceil(font.getlength(caption)) for caption in rows)
        self.left = _GAP + (beside + _GAP if beside else 0)
        self.top = 2 * _GAP + _FONT_SIZE if any(columns) else _GAP
        size = (
            self.left + len(columns) * self.width + _GAP - 2,
            self.top + blocks * self.block - 2,
        )
        self.page = Image.new(sample.mode, size, "white")
        draw = ImageDraw.Draw(self.page)
        ink = (_INK,) * len(self.page.getbands())
        for column, caption in enumerate(columns):
            x = self.left + column * self.width + (self.width - 2) / 2
            draw.text((x, self.top - _GAP / 2), caption, ink, font, anchor="ms")
        for block in range(blocks):
            for row, caption in enumerate(rows):
                y = self.top + block * self.block + row * self.height + sample.height / 2
                draw.text((self.left - _GAP, y), caption, ink, font, anchor="rm")

    def paste(self, image: Image.Image, block: int, row: float, column: int) -> None:
        x = self.left + column * self.width + self.indent
        self.page.paste(image, (x, self.top + block * self.block + round(row * self.height)))
