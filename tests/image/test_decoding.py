"""Single files: every format, and what black and white are in each."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, UnidentifiedImageError

from mmdiff.errors import UserError
from mmdiff.image.datasets import open_images
from mmdiff.image.decoding import SUFFIXES, Mode, decode, read


def write_png(path: Path, colour: object = 128, mode: str = "L") -> Path:
    Image.new(mode, (40, 40), colour).save(path)  # type: ignore[arg-type]
    return path


COMMON = ["png", "JPG", "jpeg", "jfif", "webp", "bmp", "gif", "tif", "tiff"]
RARE = ["avif", "ppm", "pnm", "jp2", "tga", "qoi", "sgi", "pcx", "dds", "ico"]


@pytest.mark.parametrize("suffix", [*COMMON, *RARE])
def test_every_format(tmp_path: Path, suffix: str) -> None:
    write_png(tmp_path / f"image.{suffix}", (200, 100, 50), "RGB")
    x = open_images(f"folder:{tmp_path}", size=8)[0]["x"]
    expected = torch.tensor([200, 100, 50]) / 127.5 - 1
    torch.testing.assert_close(x.mean((1, 2)), expected, atol=0.03, rtol=0)


def test_programs_are_no_pictures(tmp_path: Path) -> None:
    """Whatever they are called: Ghostscript would run what is in an EPS file."""
    assert not {".eps", ".ps", ".wmf", ".pdf", ".h5"} & set(SUFFIXES)
    for name in ("a.png", "a.eps"):
        Image.new("RGB", (8, 8)).save(tmp_path / name, "EPS")
        with pytest.raises(UnidentifiedImageError):
            decode(tmp_path / name, "RGB")


def test_files_are_often_misnamed(tmp_path: Path) -> None:
    Image.new("L", (8, 8), 7).save(tmp_path / "a.tga", "JPEG")
    assert first_of(tmp_path / "a.tga", "L") == [7]
    Image.new("L", (8, 8), 7).save(tmp_path / "a.jpg", "TGA")  # which begins with nothing certain
    with pytest.raises(UnidentifiedImageError):
        decode(tmp_path / "a.jpg", "L")


def first_of(path: Path, mode: Mode = "RGB") -> list[int]:
    """The channels of the top left pixel."""
    return decode(path, mode, (8, 8))[:, 0, 0].tolist()


def test_transparency_lies_on_white(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    assert first_of(write_png(path, (255, 0, 0, 0), "RGBA")) == [255, 255, 255]
    assert first_of(write_png(path, (255, 0, 0, 255), "RGBA")) == [255, 0, 0]
    assert first_of(write_png(path, (0, 51), "LA"), "L") == [204]
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([0, 0, 255])
    palette.save(path, transparency=0)
    assert first_of(path) == [255, 255, 255]


@pytest.mark.parametrize("suffix", ["png", "tif", "jp2", "pgm"])
def test_sixteen_bits_keep_their_range(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    for value, expected in ((65535, 255), (257 * 100, 100), (128, 0), (0, 0)):
        Image.fromarray(np.full((8, 8), value, np.uint16)).save(path)
        assert first_of(path, "L") == [expected]
    assert open_images(f"folder:{tmp_path}").shape == (1, 8, 8)


def write_twelve_bits(path: Path, value: int) -> Path:
    """A TIFF of 8 x 8 pixels, two in three bytes, as cameras of microscopes write it."""
    data = (value << 12 | value).to_bytes(3, "big") * 32
    tags = {256: 8, 257: 8, 258: 12, 259: 1, 262: 1, 273: 122, 277: 1, 278: 8, 279: len(data)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    path.write_bytes(b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + data)
    return path


def test_twelve_bits_keep_their_range(tmp_path: Path) -> None:
    for value, expected in ((4095, 255), (0, 0), (2056, 128)):
        assert first_of(write_twelve_bits(tmp_path / "a.tif", value), "L") == [expected]
    (tmp_path / "a.pgm").write_bytes(b"P5 8 8 4095\n" + (4095).to_bytes(2, "big") * 64)
    assert first_of(tmp_path / "a.pgm", "L") == [255]


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0, 0.2, 1], [0, 51, 255]), ([0, 51, 255], [0, 51, 255]), ([0, 0, 0], [0, 0, 0])],
)
def test_floats_go_to_one_or_to_255(
    tmp_path: Path, values: list[float], expected: list[int]
) -> None:
    path = tmp_path / "a.tiff"
    Image.fromarray(np.tile(np.array(values, np.float32), (4, 1))).save(path)
    assert decode(path, "L")[0, 0].tolist() == expected
    assert open_images(f"folder:{tmp_path}", size=4).shape == (1, 4, 4)


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.1, 256.0])
def test_other_floats_are_refused(tmp_path: Path, value: float) -> None:
    path = tmp_path / "a.tiff"
    Image.fromarray(np.array([[0, value]], np.float32)).save(path)
    with pytest.raises(ValueError, match=r"floating-point pixels from .* not within 0 to 255"):
        decode(path, "L")
    with pytest.raises(UserError, match=r"no picture for .* unreadable \(a\.tiff: floating-point"):
        open_images(f"folder:{tmp_path}")


def test_integers_beyond_sixteen_bits_are_refused(tmp_path: Path) -> None:
    for value in (-1, 65536):
        Image.fromarray(np.full((4, 4), value, np.int32)).save(tmp_path / "a.tiff")
        with pytest.raises(ValueError, match=r"integer pixels .* not within 0 to 65,535"):
            decode(tmp_path / "a.tiff", "L")


def test_the_exif_orientation_is_honoured(tmp_path: Path) -> None:
    image = Image.new("L", (16, 16), 0)
    image.paste(255, (0, 0, 16, 8))  # bright above; orientation 6 turns it to the right
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif, quality=100)
    pixels = decode(tmp_path / "a.jpg", "L", (16, 16))
    assert pixels[0, :, 9:].min() > 200
    assert pixels[0, :, :7].max() < 50


def test_only_the_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("L", (8, 8), value) for value in (30, 220)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert first_of(tmp_path / "a.gif", "L") == [30]


def test_read(tmp_path: Path) -> None:
    Image.new("RGB", (6, 4), (255, 0, 51)).save(tmp_path / "a.png")
    x = read(str(tmp_path / "a.png"))
    assert x.shape == (3, 4, 6)
    torch.testing.assert_close(x[:, 0, 0], torch.tensor([1.0, -1.0, -0.6]))
    assert read(tmp_path / "a.png", 1, (8, 5)).shape == (1, 8, 5)
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:50])
    for name, said in (
        ("pipe.png", "is not a file"),
        ("nowhere.png", "does not exist"),
        ("cut.png", "cannot be read"),
    ):
        with pytest.raises(UserError, match=rf"{name} {said}.*: name"):
            read(tmp_path / name)
