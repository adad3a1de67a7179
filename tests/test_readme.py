"""The Python in the README runs as it stands, on smaller numbers."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from PIL import Image

import mmdiff
from mmdiff.audio import sound
from mmdiff.metrics.judge import load_judge
from mmdiff.training import checkpoints

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.M | re.S)


def _smaller(code: str, changes: dict[str, str]) -> str:
    for old, new in changes.items():
        assert old in code, f"the README no longer says {old}"
        code = code.replace(old, new)
    return code


def test_readme_has_the_blocks_that_are_run_here() -> None:
    assert len(BLOCKS) == 7


def test_sampling(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    scope: dict[str, torch.Tensor] = {}
    exec(_smaller(BLOCKS[0], {"64": "10", "steps=25": "steps=5"}), scope)
    assert scope["x"].shape == (10, 1, 28, 28)
    assert Image.open("digits.png").size[0] > 28


def test_sampling_sound(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    scope: dict[str, torch.Tensor] = {}
    exec(_smaller(BLOCKS[1], {"steps=50": "steps=3"}), scope)
    assert scope["x"].shape == (10, 1, 5120)
    assert sound.probe(Path("digits.wav")).frames == 10 * 5120


def test_completing() -> None:
    scope: dict[str, torch.Tensor] = {}
    exec(_smaller(BLOCKS[2], {"(50)": "(5)", "(25)": "(5)"}), scope)
    x, completed = scope["x"], scope["completed"]
    torch.testing.assert_close(completed[..., :14, :], x[..., :14, :], rtol=0, atol=1e-5)
    assert (completed[..., 14:, :] - x[..., 14:, :]).abs().mean() > 0.05


def test_varying() -> None:
    """What comes is what it was led to, and like what it was led from."""
    torch.manual_seed(0)
    scope: dict[str, torch.Tensor] = {}
    exec(BLOCKS[3], scope)
    x, varied = scope["x"], scope["varied"]
    with torch.no_grad():
        read = load_judge()(varied).argmax(1)
    assert int((read == scope["following"]).sum()) >= 6
    pairs = torch.corrcoef(torch.cat((x.flatten(1), varied.flatten(1))))[:10, 10:]
    assert pairs.diagonal().mean() > pairs.mean() + 0.02


def test_training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my-pictures").mkdir()
    for index in range(12):
        Image.new("L", (20, 16), 20 * index).save(f"my-pictures/{index}.png")
    scope: dict[str, torch.Tensor] = {}
    changes = {"size=32": "size=8", "epochs=30": "steps=1", "(16,": "(2,", "steps=25": "steps=2"}
    exec(_smaller(BLOCKS[4], changes), scope)
    assert scope["x"].shape == (2, 1, 8, 8)
    assert Path("runs/mine/model.safetensors").is_file()


def test_training_on_sound(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my-sounds").mkdir()
    for index in range(4):
        x = torch.sin(torch.arange(4000) * (0.1 + 0.02 * index))[None] / 2
        sound.write(Path(f"my-sounds/{index}.wav"), x, 8000)
    scope: dict[str, torch.Tensor] = {}
    changes = {
        "seconds=1.5": "seconds=0.1, channels=32",
        "epochs=200": "steps=1",
        "steps=50": "steps=2",
    }
    exec(_smaller(BLOCKS[5], changes), scope)
    assert scope["x"].shape == (4, 1, 800)
    assert sound.probe(Path("first.wav")).frames == 800
    assert Path("runs/sounds/model.safetensors").is_file()


def test_ones_own_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checkpoints, "BACKBONES", dict(checkpoints.BACKBONES))
    for index in range(12):
        folder = Path(f"mine/{'ab'[index % 2]}")
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 20 * index).save(folder / f"{index}.png")
    home = ModuleType("home_of_net")
    monkeypatch.setitem(sys.modules, home.__name__, home)
    changes = {'"mnist"': '"folder:mine"', "Net(64": "Net(4", "steps=20_000": "steps=2, batch=4"}
    exec(_smaller(BLOCKS[6], changes), home.__dict__)
    model = mmdiff.load("runs/net/model.safetensors")
    label = torch.tensor([0, 1, -1])
    x = mmdiff.sample(model, (3, *model.info.shape), mmdiff.DDIM(2), guidance=2.0, label=label)
    assert x.shape == (3, 1, 8, 8)
