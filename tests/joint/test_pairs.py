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
from mmdiff import films
from mmdiff.audio import Sound
from mmdiff.cli.data import open_pairs
from mmdiff.conditions import Class, Condition
from mmdiff.image import Pictures
from mmdiff.joint import Joint, Packing, Pairs, Together, in_turn
from mmdiff.joint.presets import bridged
from mmdiff.modality import Modality
from mmdiff.nn import Bridge, UNet
from mmdiff.video import Video


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
    train, test = open_pairs((folder, folder), None, {}, {})
    assert "17 pairs of one name" in capsys.readouterr().out
    assert list(train.parts) == ["picture", "sound"]
    seen = []
    for data in (train, test):
        for index in range(len(data)):
            item = data[index]
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
    for name, path in zip(parts, together.files(tmp_path / "7.png"), strict=True):
        read = together.parts[name].read(path, data.parts[name].shape)
        torch.testing.assert_close(read, parts[name], rtol=0, atol=1 / 127)
    alike = Together({"left": Pictures(), "right": Pictures()}, Packing({}))
    assert [path.name for path in alike.files("a/7.png")] == ["7_left.png", "7_right.png"]
    three = Packing({"picture": (1, 8, 8), "sound": (3, 64)})
    with pytest.raises(mmdiff.UserError, match="1 or 2 channels, not of 3"):
        Together(together.parts, three).files("a.mp4", many=True)


def test_what_leaves_the_range_of_its_part_is_told() -> None:
    together = both().modality
    assert isinstance(together, Together)
    x = torch.zeros(4, *together.packing.shape)
    parts = together.packing.unpack(x)  # views of x
    parts["picture"][1, 0, 0, 0], parts["sound"][2, 0, 0], parts["sound"][3, 0, 0] = 1.1, 3.9, -4.1
    assert together.beyond(x).tolist() == [False, True, False, True]


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
    turns = ["sound", "picture"]
    model = Joint({"picture": picture, "sound": sound}, bridge, infos=infos, turns=turns)
    how: dict[str, Any] = {"batch": 4, "samples": 3, "sampling": mmdiff.Sampling("ddim", 2)}
    recipe = mmdiff.Recipe(model, steps=4, lr=0.01, precision="no", **how)
    path = mmdiff.train(recipe, data, both(seed=1), tmp_path / "run", device="cpu")
    assert (tmp_path / "run" / "samples.png").is_file()
    files = sorted(file.name for file in (tmp_path / "run" / "samples").glob("?.*"))
    assert files == [f"{k}.{suffix}" for k in range(3) for suffix in ("png", "wav")]
    again = mmdiff.load(path)
    assert isinstance(again, Joint)
    assert again.info.modality == data.modality
    (x,) = in_turn(again, 3, recipe.sampling, recipe.seed, batch=4)
    for k, sound in enumerate(again.packing.unpack(x)["sound"]):
        heard = again.info.modality.parts["sound"].read(path.parent / f"samples/{k}.wav", (1, 64))
        torch.testing.assert_close(heard, sound.clamp(-4, 4), rtol=0, atol=1e-3)
    given = torch.zeros(1, 1, 8, 8)
    view = again.view("sound", "picture")
    x = mmdiff.sample(view, (2, *view.info.shape), mmdiff.DDIM(2), guidance=2.0, picture=given[0])
    assert x.shape == (2, 1, 64)


FPS, RATE = 10, 800


def write_both(folder: Path, name: str, frames: int, suffix: str = ".webp") -> None:
    """A film and its sound: at k / FPS seconds both are k % 100 hundredths bright and loud."""
    ramp = (torch.arange(frames) % 100) / 100
    film = ramp[:, None, None].expand(1, -1, 8, 8) * 2 - 1
    Video(FPS).write(film, folder / f"{name}{suffix}")
    sign = torch.ones(frames, RATE // FPS)
    sign[:, ::2] = -1
    soundfile.write(folder / f"{name}.wav", (ramp[:, None] * sign).flatten().numpy(), RATE, "FLOAT")


def times(data: Pairs, x: torch.Tensor) -> tuple[list[int], list[int]]:
    """Which frames of `write_both` are seen, and which are heard."""
    parts = data.packing.unpack(x)
    seen = ((parts["video"][0, :, 4, 4] + 1) * 50).round().int()
    heard = parts["sound"].unflatten(1, (-1, RATE // FPS)).abs().mean((0, 2)) / 4 * 100
    return seen.tolist(), heard.round().int().tolist()


def test_what_is_seen_is_what_is_heard(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, frames in (("a", 40), ("b", 61), ("c", 8), ("d", 33)):
        write_both(tmp_path, name, frames)
    folder = f"folder:{tmp_path}"
    train, test = open_pairs((folder, folder), None, {"frames": 8}, {})
    assert "pairs of one name, the same 0.8 s of each, drawn anew" in capsys.readouterr().out
    assert len(train) + len(test) == 5 + 8 + 1 + 4
    begins = set()
    for data in (train, test):
        for index in range(len(data)):
            for count in range(6):
                x = data.visit(index, count)["x"]
                seen, heard = times(data, x)
                assert seen == heard == list(range(seen[0], seen[0] + 8))
                assert torch.equal(x, data.visit(index, count)["x"])
                begins.add(seen[0])
    assert len(begins) > 20
    assert begins <= set(range(54))
    with pytest.raises(
        mmdiff.UserError, match=r"a video of 0\.8 s and a sound of 1\.5 s|a sound of"
    ):
        open_pairs((folder, folder), None, {"frames": 8, "seconds": 1.5}, {})


def test_films_hold_their_sound(tmp_path: Path) -> None:
    pytest.importorskip("av")
    rate = 8000
    for name, loud in (("a", 0), ("b", 1)):
        level = ((torch.arange(12) // 4 + loud) % 2).float()  # changes each 0.4 s
        images = [Image.new("L", (16, 16), round(255 * float(one))) for one in level]
        tone = (torch.arange(rate * 12 // FPS) * 0.5).sin() * level.repeat_interleave(rate // FPS)
        films.write_mp4(images, FPS, tmp_path / f"{name}.mp4", tone[None] * 0.9, rate)
    folder = f"folder:{tmp_path}"
    for data in open_pairs((folder, folder), None, {"frames": 4}, {}):
        assert set(data.parts) == {"video", "sound"}
        for count in range(4):
            parts = data.packing.unpack(data.visit(0, count)["x"])
            seen = (parts["video"].mean((0, 2, 3)) + 1) / 2
            heard = parts["sound"].unflatten(1, (4, -1))[0, :, 200:600].std(1) / 4 / 0.9 * 2**0.5
            torch.testing.assert_close(heard, seen, rtol=0, atol=0.1)


def test_a_share_of_each_class_is_held_out() -> None:
    train, test = (both(split=split) for split in ("train", "test"))
    met = []
    for data in (train, test):
        parts = [
            data.packing.unpack(data.visit(i, v)["x"]) for i in range(len(data)) for v in range(9)
        ]
        met.append([{round(float(p[n].flatten()[0]) * 100) for p in parts} for n in data.parts])
        assert {data[i]["label"] for i in range(len(data))} == {0, 1, 2}
    assert [a | b for a, b in zip(*met, strict=True)] == [set(range(12)), set(range(9))]
    assert not any(a & b for a, b in zip(*met, strict=True))
    few = Pairs({"picture": pictures(), "sound": sounds(count=3)}, split="test")
    assert {few[i]["label"] for i in range(len(few))} == {0, 1, 2}  # by the only sound of each


def test_one_name_in_common_is_too_few(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        Image.new("L", (8, 8)).save(tmp_path / name)
    soundfile.write(tmp_path / "b.wav", torch.full((400,), 0.5).numpy(), 8000)
    folder = f"folder:{tmp_path}"
    with pytest.raises(mmdiff.UserError, match="one name alone in common, b, and one is held out"):
        open_pairs((folder, folder), None, {}, {})


def test_classes_are_told_without_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for index in range(8):
        for folder in ("pictures", "sounds"):
            (tmp_path / folder / f"{index % 2}").mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8)).save(tmp_path / "pictures" / f"{index % 2}" / f"{index}.png")
        sound = tmp_path / "sounds" / f"{index % 2}" / f"{index}.wav"
        soundfile.write(sound, torch.full((400,), 0.5).numpy(), 8000)
    parts = {
        "picture": Pictures.open(f"folder:{tmp_path / 'pictures'}", "train"),
        "sound": Sound.open(f"folder:{tmp_path / 'sounds'}", "train"),
    }
    for part in parts.values():
        told = [part.told(index) for index in range(len(part))]  # type: ignore[attr-defined]
        assert told == [{"label": part[index]["label"]} for index in range(len(part))]
        monkeypatch.setattr(type(part), "visit", None)
    assert len(Pairs(parts)) == 6


@pytest.mark.parametrize(
    ("shape", "fps", "samples", "rate"),
    [
        ((1, 16, 32, 32), 10.0, 12800, 8000),
        ((3, 16, 20, 12), 24.0, 14700, 22050),
        ((1, 7, 8, 8), 29.97, 10300, 44100),
        ((1, 90, 8, 8), 15.0, 48000, 8000),
    ],
)
def test_the_bridge_of_what_goes_on_together_is_of_slices(
    shape: tuple[int, ...], fps: float, samples: int, rate: int
) -> None:
    video, sound = Few(Video(fps), shape, 3), Few(Sound(rate, 4.0), (1, samples), 3)
    video.names = sound.names = ("a", "b", "c")  # type: ignore[attr-defined]
    for part in (video, sound):
        part.length = lambda index, part=part: part.shape[1]  # type: ignore[attr-defined]
        part.cut = lambda index, start, part=part: part.visit(index, start)  # type: ignore[attr-defined]
    data = Pairs({"video": video, "sound": sound}, "name")
    model: Any = bridged(data).model
    seconds = shape[1] / fps
    slices = model.config["bridge"].config["slices"]
    positions = -(-shape[1] // 4)
    assert positions % slices["video"][0] == 0
    if seconds > 1:
        assert 0.25 < seconds / (positions / slices["video"][0]) < 0.7
    x = data[0]["x"][None]
    batch = {"x": x, "label": torch.tensor([0])}
    draws = mmdiff.noise.Draws(0, 0, torch.arange(1), 1)
    assert model.loss(batch, draws).isfinite()
    assert model.turns == ("video", "sound")
    if fps == 10:  # as recipes/bounce.py has it
        assert slices == {"video": [1, 8, 8], "sound": [25]}
