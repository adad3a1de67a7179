"""Pictures are read back: what was drawn is found where it should be."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmdiff.errors import UserError
from mmdiff.image import pictures
from mmdiff.image.pictures import (
    grid,
    table,
    to_image,
    to_uint8,
)


def flat(value: float, count: int = 1, channels: int = 1, side: int = 28) -> torch.Tensor:
    return torch.full((count, channels, side, side), float(value))


def test_to_uint8_restores_every_level() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(levels / 127.5 - 1), levels)
    assert torch.equal(to_uint8(levels.double() / 255, (0, 1)), levels)


def test_to_uint8_clips_and_rounds() -> None:
    x = torch.tensor([-torch.inf, -3, -1, 0.999, 1.001, torch.inf])
    assert to_uint8(x).tolist() == [0, 0, 0, 255, 255, 255]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_any_precision(dtype: torch.dtype) -> None:
    x = torch.tensor([-1, -0.5, 0, 0.5, 1], dtype=dtype, requires_grad=True)
    assert to_uint8(x).tolist() == [0, 64, 128, 191, 255]


def test_nan_is_refused() -> None:
    x = flat(0, 3)
    x[1, 0, 5, 5] = torch.nan
    for picture in (to_uint8, grid):
        with pytest.raises(UserError, match="NaN"):
            picture(x)


def test_to_image() -> None:
    x = torch.tensor([[[1.0, -1]], [[-1, 1]], [[-1, -1]]])
    image = to_image(x, scale=3)
    assert (image.mode, image.size) == ("RGB", (6, 3))
    assert image.getpixel((2, 2)) == (255, 0, 0)
    assert image.getpixel((3, 0)) == (0, 255, 0)
    assert to_image(flat(0)[0]).mode == "L"
    with pytest.raises(ValueError, match=r"\[1 or 3, H, W\], not \[2, 28, 28\]"):
        to_image(flat(0, channels=2)[0])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("padding", [0, 1, 5])
def test_grid_is_the_images_and_white_between_them(channels: int, padding: int) -> None:
    x = torch.rand(6, channels, 5, 7) * 1.8 - 1  # nothing in it is white
    image = torch.from_numpy(np.array(grid(x, columns=3, padding=padding, scale=2)))
    image = image.reshape(*image.shape[:2], channels)
    for index in range(6):
        top = padding + index // 3 * (10 + padding)
        left = padding + index % 3 * (14 + padding)
        part = image[top : top + 10, left : left + 14]
        assert torch.equal(part[::2, ::2].permute(2, 0, 1), to_uint8(x[index]))
        assert torch.equal(part[::2], part[1::2])
        part.fill_(0)
    assert image.shape[:2] == (2 * 10 + 3 * padding, 3 * 14 + 4 * padding)
    assert (image == 255).sum() == image.numel() - 6 * 10 * 14 * channels


@given(st.integers(1, 300))
def test_grids_are_nearly_square(count: int) -> None:
    columns = pictures._columns(count)
    square = math.ceil(math.sqrt(count))
    assert square <= columns < max(2, 2 * square)
    assert count % columns == 0 or columns == square


def test_grid_layouts() -> None:
    assert [pictures._columns(n) for n in (1, 7, 10, 28, 64, 100)] == [1, 3, 5, 7, 8, 10]
    assert grid(flat(-1, 28)).size == (7 * 58 + 2, 4 * 58 + 2)  # 28 pixels are shown as 56
    assert grid(flat(-1, 2, side=64)).size == (2 * 66 + 2, 66 + 2)
    assert grid(flat(-1, 2), columns=5, scale=1, padding=0).size == (56, 28)
    with pytest.raises(ValueError, match="B > 0"):
        grid(flat(0, 0))


def test_wide_captions_do_not_overlap() -> None:
    """Each stays in its own column: the space between the columns is white all the way up."""
    pixels = np.asarray(table([("", flat(-1, 2))], ("a long caption", "and one more")))
    blank = (pixels == 255).all(0)
    inked = np.flatnonzero(~blank)
    assert len(np.flatnonzero(np.diff(inked) > 1)) >= 1


def test_tables_have_names_beside_rows_and_captions_above_columns() -> None:
    rows = [("upper", flat(10 / 127.5 - 1, 3)), ("", flat(99 / 127.5 - 1, 2))]
    bare, captioned = (np.asarray(table(rows, captions)) for captions in ((), "abc"))
    upper, lower = ((bare == level).nonzero() for level in (10, 99))
    assert np.median(upper[0]) < np.median(lower[0])
    assert abs(len(upper[0]) - 3 * 56 * 56) < 40
    assert abs(len(lower[0]) - 2 * 56 * 56) < 40
    assert upper[1].min() == (bare[-20] == 99).argmax() > 40  # beside the name
    assert (captioned[: len(captioned) - len(bare)] < 200).any()
    with pytest.raises(ValueError, match="3 columns have as many captions or none, not 2"):
        table(rows, "ab")
    with pytest.raises(ValueError, match="at least one row"):
        table([])
