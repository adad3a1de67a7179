"""Clips come back from every kind of file, with their time, their note and their sound."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from mmdiff import films
from mmdiff.audio import sound
from mmdiff.data.folders import GENERATED
from mmdiff.errors import UserError
from mmdiff.films import WRITES, stays, write_mp4
from mmdiff.video import Video, decoding

NOTE = {"Model": "mine", "Description": GENERATED}


def clip(channels: int = 1, frames: int = 7, sides: tuple[int, int] = (12, 16)) -> Tensor:
    """Smooth, so that lossy formats hold it: a slope that moves; another in each channel."""
    c, t, h, w = (
        torch.arange(n).reshape([-1 if k == axis else 1 for k in range(4)])
        for axis, n in enumerate((channels, frames, *sides))
    )
    pixels = (40 * c + 12 * t + 3 * h + 2 * w) % 256
    return pixels / 127.5 - 1


@pytest.mark.parametrize("suffix", WRITES)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_clip_comes_back(tmp_path: Path, suffix: str, channels: int) -> None:
    x, path = clip(channels), tmp_path / f"clip{suffix}"
    Video(10).write(x, path, NOTE)
    again = Video(10).read(path, x.shape)
    assert again.shape == x.shape
    exact = suffix != ".mp4" and (channels, suffix) != (3, ".gif")
    assert (again - x).abs().max() <= (1e-6 if exact else 0.15)
    header = decoding.read_header(path)
    assert isinstance(header, decoding.Header)
    assert (header.sides, header.frames, header.generated) == ((12, 16), 7, True)
    assert header.fps == pytest.approx(10)
    assert header.grey == (channels == 1)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", WRITES)
def test_frames_that_stay_are_as_many_as_they_were(tmp_path: Path, suffix: str) -> None:
    x = clip(frames=3).repeat_interleave(torch.tensor([1, 4, 2]), dim=1)
    Video(12.5).write(x, tmp_path / f"clip{suffix}")
    assert Video(12.5).read(tmp_path / f"clip{suffix}", x.shape).shape == x.shape


@given(st.integers(1, 200), st.floats(1, 100), st.sampled_from([1, 10]))
def test_frames_begin_when_they_should(count: int, fps: float, tick: int) -> None:
    lengths = stays(count, fps, tick)
    begins = np.cumsum([0, *lengths])
    assert len(lengths) == count
    assert all(length > 0 and length % tick == 0 for length in lengths)
    if 1000 / fps >= tick:
        assert np.abs(begins - 1000 * np.arange(count + 1) / fps).max() <= tick / 2 + 1e-9


@given(st.integers(1, 200), st.floats(1, 50))
def test_a_gif_shows_each_frame_in_the_middle_of_its_time(count: int, fps: float) -> None:
    ends = np.cumsum(stays(count, fps, 10)) / 1000
    shown = [int((ends <= (k + 0.5) / fps).sum()) for k in range(count)]
    assert shown == list(range(count))


def test_another_rate_shows_the_same_longer_or_shorter(tmp_path: Path) -> None:
    x = clip(frames=8)
    Video(10).write(x, tmp_path / "a.apng")
    twice = Video(20).read(tmp_path / "a.apng", x.shape)
    torch.testing.assert_close(twice, x.repeat_interleave(2, dim=1))
    third = Video(10 / 3).read(tmp_path / "a.apng", x.shape)
    torch.testing.assert_close(third, x[:, 1::3])


def test_many_clips_play_side_by_side(tmp_path: Path) -> None:
    x = torch.stack([clip(frames=3), -clip(frames=3)])
    Video(10).write(x, tmp_path / "two.webp")
    with Image.open(tmp_path / "two.webp") as image:
        assert (image.n_frames, image.height > 12) == (3, True)  # type: ignore[attr-defined]
    Video(10).write(x, tmp_path / "strips.png", NOTE)
    with Image.open(tmp_path / "strips.png") as image:
        assert image.info["Model"] == "mine"
        assert image.width > 3 * image.height / 2


def test_a_film_has_its_sound(tmp_path: Path) -> None:
    images = [Image.new("RGB", (16, 16), (9 * k,) * 3) for k in range(20)]
    wave = torch.zeros(2, 16000)
    wave[0, 4000:5000] = 0.5 * torch.sin(torch.arange(1000) / 3)
    write_mp4(images, 20, tmp_path / "a.mp4", wave, 16000, NOTE)
    heard, rate = sound.read(tmp_path / "a.mp4")
    assert (rate, len(heard)) == (16000, 2)
    assert 16000 <= heard.shape[1] < 16000 + 2048
    loud = (heard[0].abs() > 0.2).nonzero()[:, 0]
    assert abs(int(loud[0]) - 4000) < 20  # as early as it was
    assert abs(int(loud[-1]) - 5000) < 20
    assert Video(20).read(tmp_path / "a.mp4", (3, 1, 16, 16)).shape[1] == 20
    for wrong in ((wave, None), (None, 16000)):
        with pytest.raises(ValueError, match="a sound needs its rate"):
            write_mp4(images, 20, tmp_path / "b.mp4", *wrong)


@pytest.mark.parametrize(("rate", "taken"), [(4000, 7350), (17000, 22050), (192_000, 96_000)])
def test_a_sound_of_any_rate_is_as_early_as_it_was(tmp_path: Path, rate: int, taken: int) -> None:
    wave = torch.zeros(1, rate)
    wave[0, rate // 4 : rate // 2] = 0.5 * torch.sin(torch.arange(rate // 4) * 2000 / rate)
    write_mp4([Image.new("RGB", (16, 16))] * 10, 10, tmp_path / "a.mp4", wave, rate)
    heard, found = sound.read(tmp_path / "a.mp4")
    assert found == taken
    loud = (heard[0].abs() > 0.2).nonzero()[:, 0] / found
    assert float(loud[0]) == pytest.approx(0.25, abs=2e-3)
    assert float(loud[-1]) == pytest.approx(0.5, abs=2e-3)


def test_odd_sides_are_made_even(tmp_path: Path) -> None:
    Video(10).write(clip(sides=(13, 15)), tmp_path / "a.mp4")
    assert decoding.decode(tmp_path / "a.mp4", "L", None, 10).shape == (1, 7, 14, 16)


def test_what_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"animations are \.gif, \.webp, \.apng, not \.mpg"):
        Video(10).write(clip(), tmp_path / "a.mpg")
    for suffix in WRITES:
        with pytest.raises(ValueError, match="at least one frame"):
            films.write([], 10, tmp_path / f"a{suffix}")
    (tmp_path / "file").touch()
    for suffix in WRITES:
        with pytest.raises(UserError, match="cannot be written"):
            Video(10).write(clip(), tmp_path / "file" / f"a{suffix}")
    with pytest.raises(UserError, match="takes sound of 1 or 2 channels, not of 3"):
        write_mp4([Image.new("RGB", (16, 16))], 10, tmp_path / "a.mp4", torch.zeros(3, 800), 8000)
    monkeypatch.setattr(films, "available", lambda: False)
    for refused in (partial(Video(10).write, clip()), Video(10).files):  # files: before the work
        with pytest.raises(
            UserError, match=r"needs PyAV to be written: pip install 'mmdiff\[av\]'"
        ):
            refused(tmp_path / "a.mp4")
