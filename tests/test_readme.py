"""The Python in README.md and the guides runs as it stands, on smaller numbers."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from PIL import Image

import mmdiff
from mmdiff import checkpoints
from mmdiff.audio import sound
from mmdiff.metrics.judge import load_judge
from mmdiff.video import Video

ROOT = Path(__file__).parent.parent


def blocks(page: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)


README, PYTHON = blocks("README.md"), blocks("docs/python.md")
SOUND = blocks("docs/sound.md")
RESTORE = blocks("docs/restore.md")
JOINT = blocks("docs/joint.md")
VIDEO = blocks("docs/video.md")


def run(code: str, changes: dict[str, str] | None = None, scope: Any = None) -> dict[str, Any]:
    """What `code` leaves, with some numbers made smaller."""
    for old, new in (changes or {}).items():
        assert old in code, f"the page no longer says {old}"
        code = code.replace(old, new)
    scope = {} if scope is None else scope
    exec(code, scope)
    return scope


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)


def pictures(folder: str) -> None:
    for index in range(12):
        path = Path(folder) / "ab"[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 20 * index).save(path)


def test_every_block_is_run_here() -> None:
    found = [len(page) for page in (README, PYTHON, RESTORE, SOUND, JOINT, VIDEO)]
    assert found == [3, 5, 2, 3, 3, 1]
    assert len((ROOT / "README.md").read_text().split()) <= 900


def test_sampling() -> None:
    assert run(README[0], {"64": "10", "(25)": "(5)"})["x"].shape == (10, 1, 28, 28)
    assert Image.open("digits.png").size[0] > 28


def test_sampling_sound() -> None:
    assert run(README[1], {"(50)": "(3)"})["x"].shape == (10, 1, 5120)
    assert sound.probe(Path("digits.wav")).frames > 10 * 5120


def test_completing() -> None:
    scope = run(PYTHON[0], {"(50)": "(5)", "(25)": "(5)"})
    x, completed = scope["x"], scope["completed"]
    torch.testing.assert_close(completed[..., :14, :], x[..., :14, :], rtol=0, atol=1e-5)
    assert (completed[..., 14:, :] - x[..., 14:, :]).abs().mean() > 0.05


def test_training() -> None:
    pictures("my-pictures")
    run(
        README[2],
        {"size=32": "size=8", "(data)\n": "(data)\nobject.__setattr__(recipe, 'steps', 1)\n"},
    )
    assert mmdiff.load("runs/mine/model.safetensors").info.shape == (1, 8, 8)


def test_varying() -> None:
    """What comes is what it was led to, and like what it was led from."""
    scope = run(PYTHON[1])
    x, varied = scope["x"], scope["varied"]
    with torch.no_grad():
        read = load_judge()(varied)[0].argmax(1)
    assert int((read == scope["following"]).sum()) >= 6
    pairs = torch.corrcoef(torch.cat((x.flatten(1), varied.flatten(1))))[:10, 10:]
    assert pairs.diagonal().mean() > pairs.mean() + 0.02


def test_a_steering_of_ones_own() -> None:
    assert float((run(PYTHON[2])["x"].mean((1, 2, 3)) + 0.5).abs().max()) < 1e-5


def test_ones_own_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "_own", {})
    pictures("mine")
    home = ModuleType("home_of_net")
    monkeypatch.setitem(sys.modules, home.__name__, home)
    changes = {'"mnist"': '"folder:mine"', "Net(64": "Net(4", "steps=20_000": "steps=2, batch=4"}
    run(PYTHON[3], changes, home.__dict__)
    model = mmdiff.load("runs/net/model.safetensors")
    x = mmdiff.sample(model, (3, 1, 8, 8), mmdiff.DDIM(2), guidance=2.0, label=["a", "b", "a"])
    assert x.shape == (3, 1, 8, 8)


def test_codecs() -> None:
    assert run(PYTHON[4])["x"].shape == (2, 1, 1000)


def test_restoring() -> None:
    few = {"count=4": "count=4, sampling=mmdiff.Sampling('dpmpp2msde', 3)"}
    few["[:, ::2, ::2], 2"] = "[:, ::2, ::2], 2, sampling=mmdiff.Sampling('dpmpp2msde', 3)"
    scope = run(RESTORE[0], few)
    upper = scope["answers"][..., :14, :]
    assert torch.equal(upper, scope["x"][:, :14].expand_as(upper))
    assert scope["sharper"].shape == (1, 1, 28, 28)


def test_restoring_with_physics_of_deepinv() -> None:
    few = {"count=2": "count=2, sampling=mmdiff.Sampling('dpmpp2msde', 5)"}
    assert run(RESTORE[1], few)["answers"].shape == (2, 1, 28, 28)


def test_sound_from_sound() -> None:
    sound.write("interview.wav", 0.1 * torch.randn(1, 4000), 8000)
    assert run(SOUND[0])["less"].shape == (1, 4000)
    scope = run(SOUND[1])
    assert scope["wide"].shape == (1, 8000)
    assert scope["speech"].shape == (1, 8192)
    Path("clean.wav").unlink()
    run(SOUND[2])
    assert sound.read("clean.wav")[0].shape == (1, 4000)


def test_seen_and_heard() -> None:
    scope = run(JOINT[0], {"duet.info.sampling": 'mmdiff.Sampling("ddim", 2)', "(50)": "(2)"})
    assert scope["words"].shape == (4, 1, 5120)
    assert scope["completed"].shape == (4, 1, 28, 28)
    assert Path("pairs.mp4").stat().st_size > 1000


def test_one_transformer_over_several() -> None:
    scope = run(JOINT[1])
    x = {"film": torch.randn(2, 1, 8, 12, 12), "sound": torch.randn(2, 1, 320)}
    networks = {name: scope[name] for name in x}
    told: dict[str, Any] = {name: {} for name in x}
    found = scope["trunk"](networks, x, dict.fromkeys(x, torch.rand(2)), told)
    assert {name: y.shape for name, y in found.items()} == {name: y.shape for name, y in x.items()}


def test_joining_ones_own() -> None:
    own = run("import mmdiff\n" + JOINT[2])["own"]
    assert {name for name, _ in own.named_parameters()} == {
        f"backbone.bridge.{name}" for name, _ in own.backbone.bridge.named_parameters()
    }


def test_videos() -> None:
    Path("mine").mkdir()
    for index in range(4):
        Video(10.0).write(torch.rand(1, 20, 8, 8), f"mine/{index}.gif")
    scope = run(VIDEO[0], {'"moving-mnist"': '"folder:mine"'})
    assert scope["clip"].shape == (1, 16, 32, 32)
    assert Image.open("clip.gif").n_frames == 16  # type: ignore[attr-defined]
    assert Image.open("clip.png").size[0] > 16 * 32
    assert scope["recipe"].model.backbone.dims == 3
