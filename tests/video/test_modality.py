"""Videos through the house: trained, sampled, looked at, animated, and judged by the program."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import mmdiff
from mmdiff import cli
from mmdiff.checkpoints import describe
from mmdiff.nn import UNet
from mmdiff.restore import continue_to
from mmdiff.video import Video, presets

SHAPE = (1, 8, 8, 8)


@pytest.fixture
def model() -> Any:
    """A small untrained network whose output is not zero."""
    torch.manual_seed(0)
    net = UNet(3, 1, 1, (8,), blocks=1)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model = mmdiff.Diffusion(net, mmdiff.Trigonometric(), "v").eval().requires_grad_(False)
    sampling = mmdiff.Sampling("dpmpp2msde", 4, clip=(-1, 1))
    model.info = mmdiff.Info(SHAPE, Video(10.0), sampling, "clips")
    return model


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> None:
        with pytest.raises(SystemExit) as ended:
            cli.main([str(argument) for argument in arguments])
        assert not ended.value.code, ended.value.code

    return call


@pytest.mark.parametrize("frames", [1, 3, 8])
@pytest.mark.parametrize("seconds", [0.8, 1.2])
def test_what_is_known_stays_exactly(model: Any, frames: int, seconds: float) -> None:
    """A picture is animated and a film goes on, within a window of the model and beyond it."""
    known = torch.rand(1, frames, 8, 8) * 2 - 1
    if seconds * 10 <= frames:
        with pytest.raises(ValueError, match=r"lasts for 0\.8 seconds already"):
            continue_to(model, known, seconds)
        return
    x = continue_to(model, known, seconds, count=2, seed=3)
    assert x.shape == (2, 1, round(seconds * 10), 8, 8)
    assert torch.equal(x[:, :, :frames], known.expand(2, -1, -1, -1, -1))
    assert (x[0, :, frames:] - x[1, :, frames:]).abs().max() > 0
    assert torch.equal(x, continue_to(model, known, seconds, count=2, seed=3))


def test_the_program_animates_a_picture(model: Any, run: Any, tmp_path: Path) -> None:
    mmdiff.save(tmp_path / "m.safetensors", model, model.info)
    Image.linear_gradient("L").resize((8, 8)).save(tmp_path / "still.png")
    still = Video(10).read(tmp_path / "still.png", SHAPE)
    how = ("restore", "m.safetensors", "still.png", "--continue", 0.8)
    run(*how, "--out", "moved.gif")
    x = Video(10).read(tmp_path / "moved.gif", SHAPE)
    assert x.shape == SHAPE
    torch.testing.assert_close(x[:, :1], still)
    run(*how, "-n", 3, "--out", "moved.png")
    run(*how, "-n", 2, "--out", "films/")
    names = sorted(path.name for path in (tmp_path / "films").iterdir())
    assert names == ["still_0.gif", "still_1.gif"]


def test_the_program_samples_films(model: Any, run: Any, tmp_path: Path) -> None:
    mmdiff.save(tmp_path / "m.safetensors", model, model.info)
    for suffix in (".png", *Video.writes):
        run("sample", "m.safetensors", "-n", 2, "--seconds", 1.2, "--out", f"all{suffix}")
    with Image.open(tmp_path / "all.gif") as image:
        assert image.n_frames == 12  # type: ignore[attr-defined]
        assert b"Model: " in image.info["comment"]
    run("sample", "m.safetensors", "-n", 2)
    assert (tmp_path / "samples.gif").exists()
    run("sample", "m.safetensors", "-n", 2, "--out", "each/")
    assert Video(10).read(tmp_path / "each" / "0.gif", SHAPE).shape == SHAPE
    run("info", "m.safetensors")


def test_the_program_trains_on_a_folder(run: Any, tmp_path: Path, capsys: Any) -> None:
    for index in range(3):
        Video(10).write(torch.rand(SHAPE) * 2 - 1, tmp_path / "clips" / f"{index}.gif")
    how = ("train", "--dataset", "folder:clips", "--frames", 8, "--steps", 1, "--batch", 2)
    run(*how, "--samples", 2, "--device", "cpu", "--precision", "no")
    assert "is taken for videos, as --frames says" in capsys.readouterr().out
    made = mmdiff.load("runs/clips/model.safetensors")
    assert (made.info.shape, made.info.modality) == (SHAPE, Video(10.0))
    folder = tmp_path / "runs" / "clips"
    assert len(list((folder / "samples").glob("?.gif"))) == 2
    for name in ("samples.png", "reverse.png", "reverse.gif"):
        assert (folder / name).exists()


def test_the_script_is_the_preset(
    mnist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(__file__).parents[2] / "recipes" / "video_v.py"
    spec = importlib.util.spec_from_file_location("video_v", path)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    trained: list[Any] = []
    monkeypatch.setattr(mmdiff, "train", lambda *given, **_: trained.append(given))
    script.main(data_dir=mnist)
    (recipe, data, *_), usual = trained[0], presets.v(Video.open("moving-mnist", "train", mnist))
    assert data.shape == (1, 16, 32, 32)
    ours, theirs = (made.model.state_dict() for made in (recipe, usual))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert describe(recipe.model) == describe(usual.model)
    assert replace(recipe, model=usual.model) == usual
