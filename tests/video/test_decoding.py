"""Whatever holds a clip is read, and what does not is refused in a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from mmdiff.errors import UserError
from mmdiff.films import WRITES
from mmdiff.video import Video, decoding

SHAPE = (1, 16, 8, 8)


def noise(frames: int = 5) -> Tensor:
    return torch.rand(3, frames, 8, 8) * 2 - 1


def test_a_still_picture_is_one_frame(tmp_path: Path) -> None:
    for name in ("a.png", "a.gif", "a.webp", "a.jpg"):
        Image.new("L", (16, 16), 102).save(tmp_path / name)
        x = Video(10).read(tmp_path / name, SHAPE)
        assert x.shape == (1, 1, 8, 8)
        torch.testing.assert_close(x, torch.full_like(x, -0.2), atol=0.01, rtol=0)


def test_a_folder_of_numbered_frames(tmp_path: Path) -> None:
    for number in (2, 10, 1, 9):  # of different sizes, too
        Image.new("L", (8 + number, 8), 10 * number).save(tmp_path / f"frame{number}.png")
    Image.new("L", (8, 8), 255).save(tmp_path / "cover.png")
    x = Video(10).read(tmp_path, SHAPE)
    assert ((x + 1) * 127.5)[0, :, 4, 4].round().tolist() == [10, 20, 90, 100]
    with pytest.raises(UserError, match="holds no numbered pictures"):
        Video(10).read(tmp_path / "..", SHAPE)


@pytest.mark.parametrize("suffix", WRITES)
@pytest.mark.parametrize("part", [0.2, 0.5, 0.9])
def test_a_cut_file_is_refused(tmp_path: Path, suffix: str, part: float) -> None:
    path = tmp_path / f"a{suffix}"
    Video(10).write(noise(), path)
    data = path.read_bytes()
    path.write_bytes(data[: int(part * len(data))])
    with pytest.raises(UserError, match=r"cannot be read \(.*\): name another clip\.$"):
        Video(10).read(path, SHAPE)


@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "a.webm", "a.webp"])
def test_a_foreign_file_is_refused(tmp_path: Path, name: str) -> None:
    for content in (b"", b"these are words\n" * 100):
        (tmp_path / name).write_bytes(content)
        assert isinstance(decoding.read_header(tmp_path / name), str)
        with pytest.raises(UserError, match="cannot be read"):
            Video(10).read(tmp_path / name, SHAPE)
    with pytest.raises(UserError, match="does not exist"):
        Video(10).read(tmp_path / "none.gif", SHAPE)


def test_a_sound_is_no_film(tmp_path: Path) -> None:
    from mmdiff.audio import sound

    sound.write(tmp_path / "a.wav", torch.zeros(1, 100), 8000)
    (tmp_path / "a.wav").rename(tmp_path / "a.mp4")
    with pytest.raises(UserError, match="there is no film in it"):
        Video(10).read(tmp_path / "a.mp4", SHAPE)


def test_grey_films_are_grey(tmp_path: Path) -> None:
    for name, channels in (("grey", 1), ("colour", 3)):
        Video(10).write(noise()[:channels], tmp_path / f"{name}.mp4")
    black = noise().index_fill(1, torch.tensor([0, 1]), -1.0)  # colours come later
    Video(10).write(black, tmp_path / "later.mp4")
    for name in ("grey", "colour", "later"):
        header = decoding.read_header(tmp_path / f"{name}.mp4")
        assert isinstance(header, decoding.Header), header
        assert header.grey == (name == "grey")


def test_a_film_that_does_not_say_how_long_it_is(tmp_path: Path) -> None:
    """As browsers write what they record."""
    av: Any = pytest.importorskip("av")
    written = bytearray()

    class Pipe:
        def write(self, data: bytes) -> int:
            written.extend(data)
            return len(data)

    with av.open(Pipe(), "w", format="webm", options={"live": "1"}) as container:
        stream = container.add_stream("libvpx", rate=10, width=16, height=16)
        frame = av.VideoFrame.from_image(Image.linear_gradient("L").resize((16, 16)))
        for _ in range(12):
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    (tmp_path / "live.webm").write_bytes(written)
    with av.open(str(tmp_path / "live.webm")) as container:
        assert container.duration is None
    header = decoding.read_header(tmp_path / "live.webm")
    assert isinstance(header, decoding.Header), header
    assert (header.frames, header.seconds, header.grey) == (12, 1.2, True)


def test_without_pyav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Video(10).write(noise(), tmp_path / "a.mp4")
    monkeypatch.setattr(decoding, "available", lambda: False)
    with pytest.raises(UserError, match=r"needs PyAV to be read: pip install 'mmdiff\[av\]'"):
        Video(10).read(tmp_path / "a.mp4", SHAPE)


def test_a_part_is_that_part_of_the_whole(tmp_path: Path) -> None:
    Video(10).write(noise(9), tmp_path / "a.webp")
    whole = decoding.decode(tmp_path / "a.webp", "RGB", (8, 8), 10)
    for start, count in ((0, 3), (4, 2), (7, 5)):
        part = decoding.decode(tmp_path / "a.webp", "RGB", (8, 8), 10, start, count)
        assert torch.equal(part, whole[:, start : start + count])
    with pytest.raises(ValueError, match=r"lasts for 0\.9 seconds"):
        decoding.decode(tmp_path / "a.webp", "RGB", (8, 8), 10, 9, 1)
