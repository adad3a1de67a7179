"""mmdiff train: the modality follows from the data, and the recipe from the options."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

import mmdiff
from mmdiff.audio import Sound
from mmdiff.audio.presets import FRONTEND
from mmdiff.audio.tasks import parse
from mmdiff.cli.data import takes
from mmdiff.conditions import Class
from mmdiff.errors import Interrupted
from mmdiff.image.modality import Pictures
from mmdiff.joint import Joint
from mmdiff.modality import Data, known
from mmdiff.noise import Draws
from mmdiff.recipe import Recipe
from mmdiff.training.loading import load
from mmdiff.video import Video

DRAWS = Draws(0, 0, torch.arange(2), 2)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of 8x8 pictures in two classes."""
    for index in range(12):
        folder = tmp_path / "pictures" / ("dark" if index % 2 else "light")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.full((8, 8), 20 * index, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return tmp_path / "pictures"


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """A folder of sounds of 0.1 s in two classes, with a picture of the cover among them."""
    for index in range(6):
        folder = tmp_path / "sounds" / ("high" if index % 2 else "low")
        folder.mkdir(parents=True, exist_ok=True)
        wave = 0.5 * np.sin(np.arange(800) * (1 + index % 2))
        soundfile.write(folder / f"{index}.wav", wave, 8000)
    Image.new("L", (8, 8)).save(tmp_path / "sounds" / "low" / "cover.png")
    return tmp_path / "sounds"


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Recipe, Data, Data, Path]]:
    """What was handed to the training: recipe, both data sets, folder; nothing is trained."""
    calls: list[tuple[Recipe, Data, Data, Path]] = []

    def train(recipe: Recipe, data: Data, held_out: Data, out: Path, **how: Any) -> Path:
        assert how == {"device": torch.device("cpu"), "resume": False}
        calls.append((recipe, data, held_out, out))
        return out / "model.safetensors"

    monkeypatch.setattr("mmdiff.training.train.train", train)
    return calls


def test_makes_a_model_of_pictures_that_sample_takes(run: Any, pictures: Path) -> None:
    (pictures / "dark" / "broken.png").write_text("no picture")
    options = ("train", "--dataset", f"folder:{pictures}", "--samples", 2, "--device", "cpu")
    result = run(*options, "--steps", 2, "--batch", 8, "--lr", 0.01)
    assert result.code == 0
    said = result.out.splitlines()
    assert "10 grey images of 8 x 8 pixels" in said[0]
    assert "2 classes: dark 5, light 5" in said[0]
    assert said[1].startswith("left out: 1 unreadable (dark/broken.png")
    assert said[2].startswith("2 steps of 8 on cpu in ")
    assert said[3:] == [
        "so few steps will end in noise: use --steps 10000",
        "wrote runs/pictures/model.safetensors",
    ]
    assert "broken.png" not in result.err  # which the summary says already
    shown = run("info", "runs/pictures/model.safetensors").out
    assert "1 x 8 x 8" in shown
    assert "dark, light" in shown
    assert {path.name for path in Path("runs/pictures/samples").glob("*_?.png")} >= {
        "dark_0.png",
        "light_1.png",
    }
    options_of_sample = ("-n", 2, "--steps", 2, "--label", "dark", "--out", "x/")
    assert run("sample", "runs/pictures/model.safetensors", *options_of_sample).code == 0
    assert {file.name for file in Path("x").iterdir()} == {"dark_0.png", "dark_1.png"}
    run(*options).refused("--resume", "--out")
    assert run(*options, "--steps", 3, "--batch", 8, "--resume").code == 0
    assert mmdiff.load("runs/pictures/model.safetensors").info.made["steps"] == 3


def test_makes_a_model_of_sounds_that_sample_takes(run: Any, sounds: Path) -> None:
    options = (
        *("train", "--dataset", f"folder:{sounds}", "--steps", 1, "--device", "cpu"),
        *("--frontend", "patch:16", "--channels", 32, "--seconds", 0.05, "--stereo"),
    )
    result = run(*options, "--samples", 0)
    assert result.out.splitlines()[0] == f"folder:{sounds} is taken for sounds, as --seconds says."
    assert result.out.endswith("wrote runs/sounds/model.safetensors\n")
    model = mmdiff.load("runs/sounds/model.safetensors")
    assert (model.info.shape, model.info.modality.sample_rate) == ((2, 400), 8000)
    assert model.conditions == {"label": Class(2, ("high", "low"))}
    options_of_sample = ("--steps", 2, "--label", "low", "--out", "x.wav")
    assert run("sample", "runs/sounds/model.safetensors", *options_of_sample).code == 0
    assert soundfile.info("x.wav").channels == 2


def test_the_words_of_the_help_are_those_that_are_taken(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    shown = run("train", "--help").out
    assert f"[default: ({FRONTEND})]" in shown
    assert all(name in shown for kind in known() for name in kind.names)
    for kind in known():
        assert takes(kind, None) >= set(kind.options)
        for name, preset in kind.presets().items():
            assert len(kind.presets()) == 1 or name in shown
            assert "data" in inspect.signature(preset).parameters


def test_options_go_where_they_belong(run: Any, trained: list[Any], pictures: Path) -> None:
    options = ("--dataset", f"folder:{pictures}", "--device", "cpu")
    given = ("--size", "12x16", "--flip", "--crop", "--seed", 3, "--precision", "bf16")
    assert run("train", *options, *given, "--epochs", 7, "--out", "here").code == 0
    recipe, data, held_out, out = trained.pop()
    assert data.shape == held_out.shape == (1, 12, 16)
    assert (recipe.epochs, recipe.steps, recipe.seed, recipe.precision) == (7, None, 3, "bf16")
    assert (recipe.made["preset"], out) == ("fast", Path("here"))
    plain = Pictures.open(f"folder:{pictures}", "test", size=(12, 16))
    assert held_out.identity == plain.identity  # neither flipped nor cropped
    both = Pictures.open(f"folder:{pictures}", "train", size=(12, 16), flip=True, crop=True)
    assert data.identity == both.identity
    assert run("train", *options, "--preset", "thesis", "--size", 32, "--steps", 9).code == 0
    recipe, data, _, out = trained.pop()
    assert (recipe.made["preset"], recipe.length(len(data))) == ("thesis", 9)
    assert out == Path("runs/pictures")
    for wrong in (0, -1, "nan"):
        run("train", *options, "--lr", wrong).refused("lr must be above 0")
    run("train", *options, "--preset", "slow").refused("--preset slow", "fast or thesis")
    run("train", *options, "--size", 3).refused("at least 4")
    run("train", *options, "--size", 8, "--preset", "thesis").refused("8")
    run("train", *options[:2], "--device", "toaster").refused("toaster")
    assert not trained


def test_a_training_begins_with_the_weights_of_another(
    run: Any, trained: list[Any], pictures: Path, labelled: Path
) -> None:
    options = ("train", "--dataset", f"folder:{pictures}", "--device", "cpu")
    assert run(*options).code == 0
    recipe = trained.pop()[0]
    weights = {name: w + 1 for name, w in recipe.model.state_dict().items()}
    recipe.model.load_state_dict(weights)
    mmdiff.save("begun.safetensors", recipe.model, mmdiff.Info((1, 8, 8)))
    result = run(*options, "--init", "begun.safetensors")
    assert "begins with all" in result.out
    assert "noise" not in result.out
    for name, weight in trained.pop()[0].model.state_dict().items():
        assert torch.equal(weight, weights[name])
    run(*options, "--init", "gone.safetensors").refused("gone.safetensors")


def test_of_a_folder_most_data_decide(
    run: Any, trained: list[Any], sounds: Path, pictures: Path
) -> None:
    """Many small pictures among few large sounds are their covers; options decide before that."""
    for index in range(9):
        Image.new("L", (8, 8)).save(sounds / f"scan{index}.png")
    assert len(list(sounds.rglob("*.png"))) > len(list(sounds.rglob("*.wav")))
    folder = f"folder:{sounds}"
    result = run("train", "--dataset", folder, "--device", "cpu", "--steps", 2000)
    assert result.out.startswith(f"{folder} is taken for sounds, as most of its data are.\n")
    assert trained.pop()[1].modality == Sound(8000, 4.0)
    result = run("train", "--dataset", folder, "--device", "cpu", "--size", 8)
    assert result.out.startswith(f"{folder} is taken for pictures, as --size says.\n")
    assert trained.pop()[1].modality == Pictures()
    result = run("train", "--dataset", f"folder:{pictures}", "--device", "cpu")
    assert "taken" not in result.out  # for there is nothing else
    wrong = ("--size", 8, "--seconds", 1)
    run("train", "--dataset", folder, *wrong).refused("--size is for pictures", "holds sounds")


@pytest.mark.parametrize(
    ("dataset", "option", "kind"),
    [
        ("fsdd", ("--flip",), "pictures"),
        ("fsdd", ("--preset", "fast"), "sounds"),
        ("synthetic", ("--size", 32), "pictures"),
        ("mnist", ("--frontend", "raw"), "sounds"),
        ("mnist", ("--sample-rate", 8000), "sounds"),
        ("cifar10", ("--seconds", 1), "sounds"),
        ("celeba", ("--channels", 64), "sounds"),
        ("mnist", ("--stereo",), "sounds"),
        ("mnist", ("--task", "enhance"), "sounds"),
    ],
)
def test_an_option_of_another_modality_is_one_sentence(
    run: Any, dataset: str, option: tuple[object, ...], kind: str
) -> None:
    run("train", "--dataset", dataset, *option).refused(str(option[0]), kind, dataset)


def test_a_run_is_named_after_its_folder(
    run: Any, trained: list[Any], sounds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(sounds.resolve()))
    for path in ("sounds", "./sounds/", "~"):
        assert run("train", "--dataset", f"folder:{path}", "--device", "cpu").code == 0
    monkeypatch.chdir("sounds")
    assert run("train", "--dataset", "folder:.", "--device", "cpu").code == 0
    assert {out for *_, out in trained} == {Path("runs/sounds")}


def test_an_unknown_front_end_is_one_sentence(run: Any, sounds: Path) -> None:
    options = ("--dataset", f"folder:{sounds}", "--frontend", "wavelet")
    run("train", *options).refused("'wavelet'", "mdct:M")


@pytest.mark.parametrize("task", ["enhance", "upsample:4000", "vocode"])
def test_a_task_makes_pairs_of_sounds(
    run: Any, trained: list[Any], sounds: Path, task: str
) -> None:
    options = ("train", "--dataset", f"folder:{sounds}", "--device", "cpu", "--task", task)
    noise = ("--noise", f"folder:{sounds}") if task == "enhance" else ()
    assert run(*options, *noise, "--seconds", 0.05).code == 0
    recipe, data, held_out, _ = trained.pop()
    assert data.task == held_out.task == parse(task, 8000)
    assert data.conditions == held_out.conditions == recipe.model.conditions
    items = load(data, recipe.model.conditions, len(data), [0, 1])
    assert recipe.model.loss(items, Draws(0, 0, torch.arange(2), 2)).isfinite()


def test_a_task_that_cannot_be_is_one_sentence(run: Any, sounds: Path) -> None:
    options = ("train", "--dataset", f"folder:{sounds}", "--device", "cpu")
    (sounds.parent / "empty").mkdir()
    empty = f"folder:{sounds.parent / 'empty'}"
    run(*options, "--task", "enhance", "--noise", empty).refused("empty", "holds no sounds")
    run(*options, "--task", "upsample:8000").refused("nothing to make up at 8,000 Hz")
    run(*options, "--task", "sing").refused("'sing'", "enhance", "vocode", "upsample:8000")
    run(*options, "--noise", empty).refused("task enhance")
    run(*options, "--task", "enhance", "--preset", "fast").refused("--preset fast", "sounds")


def test_an_interrupted_training_says_how_to_go_on(
    run: Any, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise Interrupted("stopped; resume the run to go on.")

    monkeypatch.setattr("mmdiff.training.train.train", interrupt)
    result = run("train", "--dataset", f"folder:{pictures}")
    assert result.code == 130
    assert "wrote" not in result.out
    assert result.err.startswith("mmdiff: stopped; resume the run to go on.")
    assert "--resume" in result.err


def test_a_file_in_the_place_of_the_run_is_one_sentence(run: Any, pictures: Path) -> None:
    Path("mine").touch()
    options = ("--dataset", f"folder:{pictures}", "--steps", 1, "--device", "cpu")
    run("train", *options, "--out", "mine").refused("mine", "File exists")
    assert Path("mine").read_bytes() == b""


def test_train_needs_its_data(run: Any) -> None:
    run("train", "--dataset", "folder:nowhere").refused("nowhere", "does not exist")
    run("train", "--dataset", "nothing").refused("nothing", "mnist", "fsdd", "folder:PATH")
    Path("texts").mkdir()
    Path("texts/a.txt").touch()
    run("train", "--dataset", "folder:texts").refused("pictures or sounds")


def test_a_pair_of_data_sets_makes_a_joint_model(
    run: Any, trained: list[Any], pictures: Path, sounds: Path
) -> None:
    for old, new in (("high", "light"), ("low", "dark")):
        (sounds / old).rename(sounds / new)
    pair = (f"folder:{pictures}", f"folder:{sounds}")
    assert run("train", "--pair", *pair, "--steps", 5).code == 0
    recipe, data, held_out, out = trained.pop()
    assert isinstance(recipe.model, Joint)
    assert out == Path("runs/pictures-sounds")
    assert list(recipe.model.parts) == ["picture", "sound"]
    assert recipe.model.conditions == data.conditions
    assert recipe.model.loss(load(data, data.conditions, len(data), [0, 1]), DRAWS).isfinite()
    assert len(held_out) > 0
    assert run("train", "--pair", pair[0], pair[0]).code == 0
    assert list(trained.pop()[0].model.parts) == ["first", "second"]
    assert run("train", "--pair", *pair, "--size", 12, "--flip", "--seconds", 0.05).code == 0
    _, data, held_out, _ = trained.pop()
    assert {n: part.shape for n, part in data.parts.items()} == {
        "picture": (1, 12, 12),
        "sound": (1, 400),
    }
    assert held_out.shape == data.shape
    for wrong in (("--frames", 8), ("--frontend", "raw"), ("--task", "enhance")):
        run("train", "--pair", *pair, *wrong).refused(wrong[0], "pictures and sounds")
    (sounds / "light").rename(sounds / "loud")
    run("train", "--pair", *pair).refused("label of sound has other classes")


def test_a_folder_of_animations_is_one_of_videos(
    run: Any, trained: list[Any], tmp_path: Path
) -> None:
    for index in range(3):
        clip = torch.rand(1, 16, 8, 8) * 2 - 1
        Video(10).write(clip, tmp_path / "gifs" / f"{index}.gif")
        Image.new("L", (8, 8)).save(tmp_path / "gifs" / f"cover{index}.png")
    assert run("train", "--dataset", "folder:gifs", "--device", "cpu").code == 0
    assert trained.pop()[1].modality == Video(10)
    for index in range(3):
        Image.new("L", (8, 8)).save(tmp_path / "gifs" / f"{index}.gif")
    assert run("train", "--dataset", "folder:gifs", "--device", "cpu").code == 0
    assert trained.pop()[1].modality == Pictures()


def test_a_model_of_videos_with_their_sound(run: Any, tmp_path: Path) -> None:
    for index in range(3):
        clip = torch.rand(1, 8, 16, 16) * 2 - 1
        Video(10).write(clip, tmp_path / "clips" / f"{index}.gif")
        path = tmp_path / "sounds" / f"{index}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, 0.5 * np.sin(np.arange(6400) * (1 + index)), 8000)
    options = ("--frames", 8, "--size", 16, "--steps", 2, "--batch", 2, "--samples", 2)
    folders = ("--pair", "folder:clips", "folder:sounds")
    run("train", *folders, *options, "--seconds", 2).refused("0.8 s", "a sound of 2 s", "frames")
    result = run("train", *folders, *options, "--device", "cpu")
    assert result.code == 0, result.err
    assert "2 pairs of one name, the same 0.8 s of each" in result.out
    left = {path.suffix for path in Path("runs/clips-sounds/samples").glob("epoch_*")}
    assert left == {".png", ".wav"}  # to see and to hear
    made = "runs/clips-sounds/model.safetensors"
    model: Any = mmdiff.load(made)
    assert model.packing.shapes == {"video": (1, 8, 16, 16), "sound": (1, 6400)}
    assert model.config["bridge"].config["slices"] == {"video": [1, 4, 4], "sound": [25]}
    assert run("sample", made, "--steps", 2, "-n", 1, "--out", "drawn/").code == 0
    drawn = sorted(file.name for file in Path("drawn").iterdir())
    assert drawn == ["0.gif", "0.wav"]
    given = ("--given", "clips/0.gif", "--out", "heard.wav")
    assert run("sample", made, "--steps", 2, *given).code == 0
    assert soundfile.info("heard.wav").frames == 6400
