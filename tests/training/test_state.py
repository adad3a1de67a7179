"""Which runs are gone on with: what must be the same, and how a difference is said."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from train_tiny import trainer, unet

from mmdiff import Class, Diffusion, Info, LinearBeta, Recipe, Trigonometric, load
from mmdiff.audio.modality import Sound
from mmdiff.errors import UserError
from mmdiff.image.datasets import open_images
from mmdiff.nn import FrontEnd, UNet
from mmdiff.nn.frontends import parse
from mmdiff.tensorfile import read, write
from mmdiff.training.state import Progress, load_state, save_state, settings_of
from mmdiff.training.trainer import Trainer

Run = tuple[Diffusion, torch.optim.Optimizer, dict[str, Any]]


class Recordings:
    """All that a state asks data for."""

    def __init__(self, identity: str) -> None:
        self.identity = identity


def sound(
    frontend: str = "mdct:16",
    width: int = 8,
    seconds: float = 0.64,
    labels: tuple[str, ...] = ("high", "low"),
    identity: str = "0123456789abcdef",
    items: int = 100,
    made: dict[str, Any] | None = None,
    **options: Any,
) -> Run:
    """A small model of sound, its optimiser, and the settings of its run."""
    codec: Any = parse(frontend)
    channels = codec.channels(1)
    classes = {"label": Class(len(labels), labels)} if labels else {}
    network = UNet(1, channels, channels, (width,), blocks=1, conditions=classes)
    model = Diffusion(FrontEnd(codec, network), Trigonometric(), "v")
    info = Info((1, round(8000 * seconds)), Sound(8000))
    recipe = Recipe(model, made=made or {}, **options)
    settings = settings_of(recipe, model, info, Recordings(identity), items)
    return model, torch.optim.AdamW(model.parameters()), settings


def begin(out: Path, run: Run) -> None:
    model, optimizer, settings = run
    save_state(out / "resume" / "state", model, optimizer, None, Progress(3, 0.5), settings)


def resume(out: Path, run: Run) -> Progress:
    model, optimizer, settings = run
    return load_state(out / "resume" / "state", model, optimizer, None, settings)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        # The data and the network follow from what the user chose, and are not told too.
        ({"seconds": 1, "identity": "another", "items": 64},
         "sound 0.64 s, 1 channel, not 1 s, 1 channel"),
        ({"frontend": "patch:16", "made": {"frontend": "patch:16"}, "width": 16},
         "frontend mdct:16, not patch:16"),
        ({"batch": 2, "seed": 1, "ema": None, "decay": "constant"}, "batch 64, not 2; decay "
         "cosine, not constant; ema 0.9995, not None; and 1 more"),
        ({"items": 64}, "items 100, not 64"),
        ({"identity": "fedcba9876543210", "labels": ("low", "high")},
         "content of the data 0123456789ab, not fedcba987654"),
        ({"frontend": "patch:16"}, "model backbone codec MDCT, not Patch"),
        ({"width": 16}, "model backbone channels [8], not [16]"),
        ({"labels": ("low", "high")}, "label names[0] high, not low"),
        ({"labels": ("high",)}, "label count 2, not 1; label names[1] low, not None"),
        ({"labels": ()}, "conditions label, not none"),
    ],
)  # fmt: skip
def test_a_difference_is_said_briefly(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    begin(tmp_path, sound(made={"frontend": "mdct:16"}))
    with pytest.raises(UserError) as caught:
        resume(tmp_path, sound(**{"made": {"frontend": "mdct:16"}, **changed}))
    assert str(caught.value) == (
        f"the run in {tmp_path} was begun with {said}: resume it with its own settings, or begin "
        "another in another folder."
    )


def test_names_of_many_classes_stay_brief(tmp_path: Path) -> None:
    names = [f"{'long ' * 40}{index}" for index in range(50)]
    begin(tmp_path, sound(labels=tuple(names)))
    with pytest.raises(UserError, match=r"names\[7\] long long .* \.\.\., not other") as caught:
        resume(tmp_path, sound(labels=(*names[:7], "other", *names[8:])))
    assert len(str(caught.value)) < len(str(tmp_path)) + 300


def test_what_does_not_change_the_run_may_be_another(tmp_path: Path) -> None:
    begin(tmp_path, sound())
    others = {"epochs": 7, "lr": 0.1, "save_every": 7, "look_every": 9, "samples": 0}
    assert resume(tmp_path, sound(**others)) == Progress(3, 0.5)
    assert resume(tmp_path, sound(steps=50, precision="no")) == Progress(3, 0.5)


def test_what_an_earlier_version_did_not_save_is_unknown(tmp_path: Path) -> None:
    model, optimizer, settings = sound()
    for key in settings["chosen"]:
        chosen = {name: value for name, value in settings["chosen"].items() if name != key}
        begin(tmp_path, (model, optimizer, {**settings, "chosen": chosen}))
        assert resume(tmp_path, (model, optimizer, settings)).step == 3


def test_a_run_of_the_version_before_is_refused_with_its_cure(tmp_path: Path) -> None:
    trainer(tmp_path, steps=1).fit()
    path = tmp_path / "resume" / "state.safetensors"
    tensors, description = read(path)
    write(path, tensors, {**description, "settings": {"batch": 8, "backbone": {}}})
    with pytest.raises(UserError, match=r"older version .*: finish it with that, or begin another"):
        trainer(tmp_path, resume=True)


def pictures(folder: Path) -> None:
    """Six grey pictures of several sizes."""
    folder.mkdir(parents=True)
    for index in range(6):
        Image.new("L", (8, 8 + index), 40 * index).save(folder / f"{index}.bmp")


def train_on(folder: str | Path, out: Path | str, resume: bool = False) -> Trainer:
    model = Diffusion(unet(dims=2), LinearBeta(), "eps")
    data = open_images(f"folder:{folder}", size=8)
    return trainer(out, resume, data, data, model=model, steps=1)


@pytest.mark.parametrize("way", ["pictures/", "./pictures", "pictures/../pictures", "moved"])
def test_data_are_known_by_what_they_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Neither another way to the same folder nor another place of it is another data set."""
    monkeypatch.chdir(tmp_path)
    pictures(tmp_path / "pictures")
    train_on(tmp_path / "pictures", "run").fit()
    if way == "moved":
        (tmp_path / "pictures").rename(tmp_path / "moved")
    assert train_on(way, "run", resume=True).progress.step == 1


def test_other_data_of_the_same_name_are_refused(tmp_path: Path) -> None:
    pictures(tmp_path / "pictures")
    train_on(tmp_path / "pictures", tmp_path / "run").fit()
    shutil.move(tmp_path / "pictures" / "0.bmp", tmp_path / "pictures" / "zero.bmp")
    with pytest.raises(UserError, match=r"begun with content of the data \w{12}, not \w{12}: "):
        train_on(tmp_path / "pictures", tmp_path / "run", resume=True)


def test_no_path_goes_into_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor into a state: neither that of the data nor that of the run."""
    folder, out = tmp_path / "secret" / "pictures", tmp_path / "secret" / "run"
    pictures(folder)
    train_on(folder, out).fit()
    for file in (out / "model.safetensors", out / "resume" / "state.safetensors"):
        assert b"secret" not in file.read_bytes()
    assert load(out / "model.safetensors").info.dataset == "folder:pictures"
    monkeypatch.chdir(folder)
    for name in (".", f"{folder}/", "../pictures"):
        assert train_on(name, tmp_path / "other").info.dataset == "folder:pictures"
