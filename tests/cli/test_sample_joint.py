"""mmdiff sample with joint models: pairs, and one part given another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

import mmdiff
from mmdiff import films, sampling
from mmdiff.audio import Sound
from mmdiff.cli.across import across
from mmdiff.conditions import Class
from mmdiff.image import Pictures
from mmdiff.joint import Joint, Together
from mmdiff.nn import Bridge, UNet


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    label = {"label": Class(3)}
    picture = mmdiff.Diffusion(UNet(2, 1, 1, (8, 16), 1, conditions=label), mmdiff.Linear(), "flow")
    sound = mmdiff.Diffusion(UNet(1, 1, 1, (8, 16), 1), mmdiff.Trigonometric(), "v")
    how = mmdiff.Sampling("ddim", 2)
    picture.info = mmdiff.Info((1, 8, 8), Pictures(), how)
    sound.info = mmdiff.Info((1, 800), Sound(8000, 4.0), how)
    Image.new("L", (8, 8), 200).save(tmp_path / "grey.png")
    soundfile.write(tmp_path / "short.wav", torch.rand(200).numpy(), 8000)
    return save(tmp_path / "both.safetensors", {"picture": picture, "sound": sound})


@pytest.fixture
def alike(tmp_path: Path) -> Path:
    """Two pictures."""
    parts = {}
    for name in ("left", "right"):
        parts[name] = mmdiff.Diffusion(UNet(2, 1, 1, (8, 16), 1), mmdiff.Linear(), "flow")
        parts[name].info = mmdiff.Info((1, 8, 8), Pictures(), mmdiff.Sampling("ddim", 2))
    return save(tmp_path / "alike.safetensors", parts)


def save(path: Path, parts: dict[str, Any]) -> Path:
    both = Joint(parts, Bridge(dict.fromkeys(parts, 16), 32, 1))
    for parameter in both.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    modality = Together({name: part.info.modality for name, part in parts.items()}, both.packing)
    info = mmdiff.Info(both.packing.shape, modality, mmdiff.Sampling("ddim", 2))
    mmdiff.save(path, both, info)
    return path


def test_pairs_are_a_file_a_part(run: Callable[..., Any], model: Path) -> None:
    assert run("sample", model, "-n", 2, "--out", "pairs/").code == 0
    files = sorted(path.name for path in Path("pairs").iterdir())
    assert files == ["0.png", "0.wav", "1.png", "1.wav"]
    assert run("sample", model, "-n", 2, "--out", "pairs.png").code == 0


@pytest.mark.parametrize(
    ("kind", "names"),
    [("model", ["0.png", "0.wav"]), ("alike", ["0_left.png", "0_right.png"])],
)
def test_no_part_is_overwritten_unasked(
    run: Callable[..., Any], request: pytest.FixtureRequest, kind: str, names: list[str]
) -> None:
    options = ("sample", request.getfixturevalue(kind), "-n", 1, "--out", "pairs/")
    assert run(*options).code == 0
    parts = [Path("pairs") / name for name in names]
    assert sorted(Path("pairs").iterdir()) == parts
    before = [part.read_bytes() for part in parts]
    run(*options, "--seed", 1).refused(f"{parts[0]} exists already (and 1 more)", "--overwrite")
    parts[0].unlink()
    run(*options, "--seed", 1).refused(f"{parts[1]} exists already: add --overwrite")
    assert [part.exists() for part in parts] == [False, True]
    assert parts[1].read_bytes() == before[1]
    assert run(*options, "--seed", 1, "--overwrite").code == 0
    assert all(part.read_bytes() != old for part, old in zip(parts, before, strict=True))


def test_a_film_that_cannot_be_is_refused_before_the_work(
    run: Callable[..., Any], model: Path, alike: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "in_parts", lambda *_, **__: pytest.fail("was drawn"))
    run("sample", alike, "--out", "new/x.mp4").refused("needs a part to see and one to hear")
    monkeypatch.setattr(films, "available", lambda: False)
    run("sample", model, "--out", "new/x.mp4").refused("new/x.mp4 needs PyAV", "mmdiff[av]")
    run("sample", model, "--given", "grey.png", "--out", "new/x.mp4").refused("needs PyAV")
    assert not Path("new").exists()


def test_a_film_shows_each_picture_while_it_sounds(run: Callable[..., Any], model: Path) -> None:
    av = pytest.importorskip("av")
    assert run("sample", model, "-n", 3, "--out", "pairs.mp4").code == 0
    with av.open("pairs.mp4") as film:
        (shown,), (heard,) = film.streams.video, film.streams.audio
        frames = [frame.to_ndarray(format="gray") for frame in film.decode(video=0)]
        assert heard.rate == 8000
        assert "both" in film.metadata["comment"]
    assert (shown.width, shown.height) == (256, 256)
    assert len(frames) == 3 * 3  # 0.1 s each, at 25 frames a second
    run("sample", model, "-n", 3, "--seed", 0, "--out", "pairs/")
    for index in range(3):
        with Image.open(f"pairs/{index}.png") as picture:
            wanted = np.asarray(picture.convert("L").resize((256, 256), Image.Resampling.NEAREST))
        for frame in frames[3 * index : 3 * index + 3]:
            assert abs(frame.astype(float) - wanted).mean() < 8


def test_parts_are_drawn_in_turn(run: Callable[..., Any], model: Path) -> None:
    both: Any = mmdiff.load(model)
    mmdiff.save(model, Joint(**{**both.config, "turns": ["sound", "picture"]}), both.info)
    assert run("sample", model, "-n", 2, "--out", "pairs/").code == 0
    assert run("sample", model, "-n", 2, "--out", "pairs.gif").code == 0
    x = mmdiff.sample(both.view("sound"), (2, 1, 800), mmdiff.DDIM(2))
    wave, _ = soundfile.read("pairs/1.wav")
    wanted = (x[1, 0] / 4).clamp(-1, 1).double()
    torch.testing.assert_close(torch.from_numpy(wave), wanted, rtol=0, atol=2**-15)
    for option, value in (("--size", 12), ("--seconds", 1)):
        asked = run("sample", model, "--given", "grey.png", option, value, "--out", "x.wav")
        asked.refused("leave --size and --seconds out")
    run("sample", model, "-n", 2, "--spin", 2, "--out", "pairs/").refused("leave --spin out")
    run("sample", model, "-n", 2, "--label", 1, "--out", "said/").refused("label")
    run("sample", model, "--vary", "grey.png", "--out", "varied/").refused("one part of a pair")


def test_one_is_drawn_from_a_file_of_the_other(run: Callable[..., Any], model: Path) -> None:
    assert run("sample", model, "--given", "grey.png", "--out", "grey.wav").code == 0
    wave, _ = soundfile.read("grey.wav")
    view = mmdiff.load(model).view("sound", "picture")  # type: ignore[operator]
    grey = Pictures().read("grey.png", (1, 8, 8))
    x = mmdiff.sample(view, (1, 1, 800), mmdiff.DDIM(2), picture=grey)
    wanted = (x[0, 0] / 4).clamp(-1, 1).double()
    torch.testing.assert_close(torch.from_numpy(wave), wanted, rtol=0, atol=2**-15)
    assert run("sample", model, "--given", "short.wav", "-n", 2, "--out", "short.png").code == 0
    with Image.open("short.png") as picture:
        assert picture.text["Given"] == "short.wav"  # type: ignore[attr-defined]


def test_a_film_has_what_was_given_too(run: Callable[..., Any], model: Path) -> None:
    av = pytest.importorskip("av")
    for given in ("grey.png", "short.wav"):
        assert run("sample", model, "--given", given, "-n", 2, "--out", f"{given}.mp4").code == 0
        with av.open(f"{given}.mp4") as film:
            assert len(film.streams.video) == len(film.streams.audio) == 1
            assert given in film.metadata["comment"]
            frame = next(film.decode(video=0)).to_ndarray(format="gray")
            assert (abs(frame.astype(float) - 200).mean() < 8) == (given == "grey.png")


def test_what_is_wanted_tells_which_part_a_film_is(tmp_path: Path) -> None:
    pytest.importorskip("av")
    bounce: Any = mmdiff.load("bounce")
    shape = bounce.packing.shapes["video"]
    images = [Image.new("L", (16, 16), 16 * k) for k in range(16)]
    films.write_mp4(images, 10, tmp_path / "film.mp4", torch.zeros(1, 12800), 8000)
    for out, given in (("seen.gif", "sound"), ("heard.wav", "video"), ("x.mp4", "video")):
        way = across(bounce, tmp_path / "film.mp4", out, "bounce")
        assert list(way.told) == [given]
    duet = mmdiff.load("duet")
    assert list(across(duet, tmp_path / "film.mp4", None, "duet").told) == ["sound"]
    (tmp_path / "frames").mkdir()
    for index, image in enumerate(images):
        image.save(tmp_path / "frames" / f"{index}.png")
    way = across(bounce, tmp_path / "frames", "heard.wav", "bounce")
    wanted = torch.arange(16) * 16 / 127.5 - 1
    torch.testing.assert_close(way.told["video"], wanted[None, :, None, None].expand(shape))
    with pytest.raises(mmdiff.UserError, match="is of no kind that duet knows"):
        across(duet, tmp_path / "frames", None, "duet")


def test_what_cannot_be_given_is_said(run: Callable[..., Any], model: Path) -> None:
    Path("x.txt").touch()
    run("sample", model, "--given", "x.txt").refused("x.txt is of no kind", "sounds (.wav)")
    run("sample", "digits", "--given", "grey.png").refused("digits makes nothing from anything")
