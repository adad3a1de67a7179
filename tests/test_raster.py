"""Files are read back: they hold what was drawn, and say how it was made."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmdiff.errors import UserError
from mmdiff.raster import save_gif, save_png


def test_png_carries_its_note(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.png"
    note = {"generator": "mmdiff", "model": "цифри"}
    picture = Image.effect_noise((20, 10), 50)
    save_png(picture, path, note)
    with Image.open(path) as image:
        assert image.text == note  # type: ignore[attr-defined]
        assert np.array_equal(np.asarray(image), np.asarray(picture))
    assert b"tEXtgenerator\0mmdiff" in path.read_bytes()


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_gif_plays_as_asked(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.gif"
    levels = [0, 100, 255]
    frames = [Image.new(mode, (20, 10), (level,) * len(mode)) for level in levels]
    save_gif(frames, path, milliseconds=70, note={"model": "digits", "long": "x" * 600}, hold=1500)
    with Image.open(path) as image:
        assert image.info["comment"] == b"model: digits\nlong: " + b"x" * 600
        assert image.info["loop"] == 0
        assert image.n_frames == 3  # type: ignore[attr-defined]
        for index, (level, duration) in enumerate(zip(levels, (70, 70, 1500), strict=True)):
            image.seek(index)
            assert image.info["duration"] == duration
            assert image.convert("L").getpixel((3, 3)) == level
    with pytest.raises(ValueError, match="at least one frame"):
        save_gif([], path)


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    save_png(Image.new("L", (9, 9)), path)
    before = path.read_bytes()

    def fill(self: Image.Image, aside: Path, *_: object, **__: object) -> None:
        aside.write_bytes(b"\x89PNG half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fill)
    with pytest.raises(UserError, match=r"a\.png .*\(No space left .*: make room, or"):
        save_png(Image.new("L", (9, 9), 255), path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]
    assert path.read_bytes() == before


def test_a_place_that_is_no_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        save_png(Image.new("L", (9, 9)), tmp_path / "file" / "a.png")
    (tmp_path / "a.gif").mkdir()
    with pytest.raises(UserError, match="cannot be written"):
        save_gif([Image.new("L", (9, 9))], tmp_path / "a.gif")
