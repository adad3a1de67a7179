"""Pairs of two data sets, as files and to look at; a joint model is trained on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from PIL import Image

import mmdiff
from mmdiff.audio import Sound
from mmdiff.cli.data import open_pairs
from mmdiff.conditions import Class, Condition
from mmdiff.image import Pictures
from mmdiff.joint import Joint, Packing, Pairs, Together
from mmdiff.modality import Modality
from mmdiff.nn import Bridge, UNet


@dataclass
class Few:
    """Constant signals: item k is of class k % classes, and says which it is and at which visit."""

    modality: Modality
    shape: tuple[int, ...]
    count: int
    classes: int = 3
    kinds: int = 3
    name: str = "few"
    identity: str = "0"
    costly: bool = False
    conditions: Mapping[str, Condition] = field(init=False)

    def __post_init__(self) -> None:
        self.conditions = {"label": Class(self.kinds)} if self.kinds else {}

    def summary(self) -> str:
        return f"{self.count} of {self.name}"

    def visit(self, index: int, count: int) -> dict[str, Any]:
        x = torch.full(self.shape, index / 100)
        x.flatten()[1] = (count % 64) / 64
        return {"x": x, "label": index % self.classes}

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.visit(index, 0)


def pictures(count: int = 12, **how: Any) -> Few:
    return Few(Pictures(), (1, 8, 8), count, **how)


def sounds(count: int = 9, **how: Any) -> Few:
    return Few(Sound(8000, 4.0), (1, 64), count, **how)


def both(**how: Any) -> Pairs:
    return Pairs({"picture": pictures(), "sound": sounds()}, **how)


def test_partners_are_of_one_class_and_drawn_anew() -> None:
    data = both()
    assert (len(data), data.shape) == (12, (1, 128))
    met: dict[int, set[int]] = {}
    for visit in range(40):
        for index in range(len(data)):
            item = data.visit(index, visit)
            parts = data.packing.unpack(item["x"])
            which = [round(float(part.flatten()[0]) * 100) for part in parts.values()]
            assert which[0] == index
            assert which[0] % 3 == which[1] % 3 == item["label"]
            met.setdefault(index, set()).add(which[1])
            assert torch.equal(item["x"], data.visit(index, visit)["x"])
    assert all(len(partners) == 3 for partners in met.values())
    assert any(not torch.equal(both(seed=1)[k]["x"], data[k]["x"]) for k in range(12))


def test_who_has_no_partner_is_named() -> None:
    with pytest.raises(mmdiff.UserError, match="few has nothing of the label '2'"):
        Pairs({"picture": pictures(), "sound": sounds(classes=2)})
    with pytest.raises(mmdiff.UserError, match="few tells no label, by which pairs are made"):
        Pairs({"picture": pictures(), "sound": sounds(kinds=0)})
    with pytest.raises(ValueError, match="label of sound has other classes"):
        Pairs({"picture": pictures(), "sound": sounds(kinds=4)})


def test_files_of_one_name_are_a_pair(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for index in range(20):
        Image.new("L", (8, 8), 10 * index).save(tmp_path / f"{index:02}.png")
        wave = torch.full((400,), (index + 1) / 25).numpy()
        soundfile.write(tmp_path / f"{index + 2:02}.wav", wave, 8000)
    folder = f"folder:{tmp_path}"
    train, test = open_pairs((folder, folder), None)
    assert "17 pairs of one name" in capsys.readouterr().out
    assert isinstance(train, Pairs)
    assert list(train.parts) == ["picture", "sound"]
    seen = []
    for data in (train, test):
        for item in data:
            picture, sound = data.packing.unpack(item["x"]).values()
            seen.append(round(float(picture.mean() + 1) * 127.5 / 10))
            heard = round(float(sound.abs().max()) / 4 * 25) - 1
            assert heard + 2 == seen[-1]
    assert sorted(seen) == list(range(2, 20))  # each once, in training or held out
    assert len(test) == 1
    assert "1 pairs of one name, drawn anew at each visit; 2 without" in test.summary()
    with pytest.raises(mmdiff.UserError, match="no files of few and few have the same name"):
        Pairs({"picture": pictures(), "sound": sounds()}, "name")


def test_a_pair_is_a_file_a_part(tmp_path: Path) -> None:
    data = both()
    together, x = data.modality, data[7]["x"]
    assert isinstance(together, Together)
    assert together.data_range == (-4.0, 4.0)
    together.write(x, tmp_path / "7.png", {"Sample": "7"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["7.png", "7.wav"]
    parts = data.packing.unpack(x)
    for name, path in together.files(tmp_path / "7.png").items():
        read = together.parts[name].read(path, data.parts[name].shape)
        torch.testing.assert_close(read, parts[name], rtol=0, atol=1 / 127)
    alike = Together({"left": Pictures(), "right": Pictures()}, Packing({}))
    assert [path.name for path in alike.files("a/7.png").values()] == ["7_left.png", "7_right.png"]


def test_what_the_parts_show_is_shown_together(tmp_path: Path) -> None:
    data = both()
    x = torch.stack([data[k]["x"] for k in range(3)])
    data.modality.write(x, tmp_path / "all.png")
    parts = data.packing.unpack(x)
    shown = [data.parts[n].modality.show([("", part)]) for n, part in parts.items()]
    with Image.open(tmp_path / "all.png") as picture:
        assert picture.size == (max(s.width for s in shown), sum(s.height for s in shown))
    heard = data.modality.heard(x)
    assert heard is not None
    assert heard[1] == 8000


def test_a_joint_model_is_trained_on_pairs_and_drawn_from(tmp_path: Path) -> None:
    data = both()
    torch.manual_seed(0)
    picture = mmdiff.Diffusion(UNet(2, 1, 1, (8, 16), 1), mmdiff.Linear(), "flow")
    sound = mmdiff.Diffusion(UNet(1, 1, 1, (8, 16), 1), mmdiff.Trigonometric(), "v")
    infos = {n: mmdiff.Info(part.shape, part.modality) for n, part in data.parts.items()}
    bridge = Bridge({"picture": 16, "sound": 16}, 32, 1)
    model = Joint({"picture": picture, "sound": sound}, bridge, infos=infos)
    how: dict[str, Any] = {"batch": 4, "samples": 3, "sampling": mmdiff.Sampling("ddim", 2)}
    recipe = mmdiff.Recipe(model, steps=4, lr=0.01, **how)
    path = mmdiff.train(recipe, data, both(seed=1), tmp_path / "run", device="cpu")
    assert (tmp_path / "run" / "samples.png").is_file()
    files = sorted(file.name for file in (tmp_path / "run" / "samples").glob("?.*"))
    assert files == [f"{k}.{suffix}" for k in range(3) for suffix in ("png", "wav")]
    again = mmdiff.load(path)
    assert isinstance(again, Joint)
    assert again.info.modality == data.modality
    given = torch.zeros(1, 1, 8, 8)
    view = again.view("sound", "picture")
    x = mmdiff.sample(view, (2, *view.info.shape), mmdiff.DDIM(2), guidance=2.0, picture=given[0])
    assert x.shape == (2, 1, 64)
