"""The Python in the README runs as it stands, on smaller numbers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from PIL import Image

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.M | re.S)


def _smaller(code: str, changes: dict[str, str]) -> str:
    for old, new in changes.items():
        assert old in code, f"the README no longer says {old}"
        code = code.replace(old, new)
    return code


def test_readme_has_the_blocks_that_are_run_here() -> None:
    assert len(BLOCKS) == 2


def test_sampling(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    scope: dict[str, torch.Tensor] = {}
    exec(_smaller(BLOCKS[0], {"64": "10", "steps=25": "steps=5"}), scope)
    assert scope["x"].shape == (10, 1, 28, 28)
    assert Image.open("digits.png").size[0] > 28


def test_training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my-pictures").mkdir()
    for index in range(12):
        Image.new("L", (20, 16), 20 * index).save(f"my-pictures/{index}.png")
    scope: dict[str, torch.Tensor] = {}
    changes = {"size=32": "size=8", "epochs=30": "steps=1", "(16,": "(2,", "steps=25": "steps=2"}
    exec(_smaller(BLOCKS[1], changes), scope)
    assert scope["x"].shape == (2, 1, 8, 8)
    assert Path("runs/mine/model.safetensors").is_file()
