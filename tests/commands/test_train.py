"""mmdiff train: the engine follows from the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

import mmdiff
from mmdiff.errors import Interrupted
from mmdiff.training import audio, images


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
def called(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """The engines that were called, and with what; nothing is trained."""
    calls: list[tuple[str, dict[str, Any]]] = []

    def record(name: str) -> Any:
        def train(**arguments: Any) -> Path:
            calls.append((name, arguments))
            return arguments["out"] / "model.safetensors"

        return train

    monkeypatch.setattr(images, "train_images", record("images"))
    monkeypatch.setattr(audio, "train_audio", record("audio"))
    return calls


def test_makes_a_model_of_pictures_that_sample_takes(run: Any, pictures: Path) -> None:
    options = ("train", "--dataset", f"folder:{pictures}", "--steps", 2, "--device", "cpu")
    result = run(*options)
    assert result.code == 0
    assert result.out == "wrote runs/pictures/model.safetensors\n"
    shown = run("info", "runs/pictures/model.safetensors").out
    assert "1 x 8 x 8" in shown
    assert "dark, light" in shown
    options_of_sample = ("-n", 2, "--steps", 2, "--label", "dark", "--out", "x/")
    assert run("sample", "runs/pictures/model.safetensors", *options_of_sample).code == 0
    assert {file.name for file in Path("x").iterdir()} == {"dark_0.png", "dark_1.png"}
    run(*options).refused("--resume", "--out")
    assert run(*options, "--resume").code == 0


def test_batch_and_learning_rate_in_place_of_the_presets(run: Any, pictures: Path) -> None:
    options = ("train", "--dataset", f"folder:{pictures}", "--steps", 1, "--device", "cpu")
    assert run(*options, "--batch", 8, "--lr", 0.01).code == 0
    made = mmdiff.load("runs/pictures/model.safetensors").info.made
    assert (made["batch"], made["lr"]) == (8, 0.01)
    run(*options, "--resume", "--batch", 8, "--lr", 0.02).refused("lr 0.01, not 0.02")
    for wrong in (0, -1, "nan"):
        run(*options, "--out", "other", "--lr", wrong).refused("lr must be above 0")
    assert not Path("other").exists()


def test_pictures_that_the_thesis_network_cannot_take(run: Any, pictures: Path) -> None:
    options = ("--dataset", f"folder:{pictures}", "--preset", "thesis", "--device", "cpu")
    run("train", *options).refused("12 to 512 pixels", "not 8x8", "--preset fast")


def test_makes_a_model_of_sounds_that_sample_takes(run: Any, sounds: Path) -> None:
    options = (
        *("train", "--dataset", f"folder:{sounds}", "--steps", 1, "--device", "cpu"),
        *("--frontend", "patch:16", "--channels", 32, "--seconds", 0.05, "--stereo"),
    )
    assert run(*options).out == "wrote runs/sounds/model.safetensors\n"
    info = mmdiff.load("runs/sounds/model.safetensors").info
    assert (info.shape, info.sample_rate, info.labels) == ((2, 400), 8000, ("high", "low"))
    options_of_sample = ("--steps", 2, "--label", "low", "--out", "x.wav")
    assert run("sample", "runs/sounds/model.safetensors", *options_of_sample).code == 0
    assert soundfile.info("x.wav").channels == 2
    run(*options).refused("--resume", "--out")


def test_the_front_end_of_the_help_is_the_one_that_is_taken(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    assert f"[default: ({audio.FRONTEND})]" in run("train", "--help").out


def test_names_and_options_go_to_their_engine(run: Any, called: list[Any]) -> None:
    shared = {"data_dir": None, "epochs": None, "steps": None, "resume": False}
    shared |= {"batch": None, "lr": None}
    shared |= {"device": "auto", "seed": 0}
    assert run("train").code == 0
    mnist = {"dataset": "mnist", "out": Path("runs/mnist"), "preset": "fast"}
    assert called.pop() == ("images", {**shared, **mnist})
    assert run("train", "--dataset", "kmnist", "--preset", "thesis", "--size", 16).code == 0
    kmnist = {"dataset": "kmnist", "out": Path("runs/kmnist"), "preset": "thesis", "size": 16}
    assert called.pop() == ("images", {**shared, **kmnist})
    assert run("train", "--dataset", "fsdd").code == 0
    fsdd = {"dataset": "fsdd", "out": Path("runs/fsdd")}
    assert called.pop() == ("audio", {**shared, **fsdd})
    options = ("--frontend", "stft:512", "--sample-rate", 48000, "--seconds", 1.5)
    result = run("train", "--dataset", "synthetic", *options, "--channels", 64, "--stereo")
    assert result.out == "wrote runs/synthetic/model.safetensors\n"
    synthetic = {"dataset": "synthetic", "out": Path("runs/synthetic"), "frontend": "stft:512"}
    synthetic |= {"sample_rate": 48000, "seconds": 1.5, "channels": 64, "stereo": True}
    assert called.pop() == ("audio", {**shared, **synthetic})


@pytest.mark.parametrize("majority", ["sounds", "pictures"])
def test_most_files_of_a_folder_decide(run: Any, called: list[Any], majority: str) -> None:
    for index in range(9):
        few, many = ("PNG", "flac") if majority == "sounds" else ("MP3", "jpeg")
        Path("mixed/deep").mkdir(parents=True, exist_ok=True)
        Path("mixed", f"{index}.{few if index < 4 else many}").touch()
        Path("mixed/deep", f".hidden{index}.{few}").touch()
        Path("mixed", f"{index}.txt").touch()
    assert run("train", "--dataset", "folder:mixed").code == 0
    assert called[0][0] == ("audio" if majority == "sounds" else "images")


@pytest.mark.parametrize(
    ("dataset", "option", "kind"),
    [
        ("fsdd", ("--preset", "fast"), "pictures"),
        ("synthetic", ("--size", 32), "pictures"),
        ("mnist", ("--frontend", "raw"), "sounds"),
        ("mnist", ("--sample-rate", 8000), "sounds"),
        ("cifar10", ("--seconds", 1), "sounds"),
        ("celeba", ("--channels", 64), "sounds"),
        ("mnist", ("--stereo",), "sounds"),
    ],
)
def test_an_option_of_the_other_engine_is_one_sentence(
    run: Any, called: list[Any], dataset: str, option: tuple[object, ...], kind: str
) -> None:
    run("train", "--dataset", dataset, *option).refused(str(option[0]), kind, dataset)
    assert not called


def test_a_run_is_named_after_its_folder(
    run: Any, called: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("drums").mkdir()
    Path("drums/a.wav").touch()
    monkeypatch.setenv("HOME", str(Path("drums").resolve()))
    for path in ("drums", "./drums/", "drums/../drums", "~"):
        assert run("train", "--dataset", f"folder:{path}").code == 0
    monkeypatch.chdir("drums")
    assert run("train", "--dataset", "folder:.").code == 0
    assert {arguments["out"] for _, arguments in called} == {Path("runs/drums")}


def test_an_unknown_front_end_is_one_sentence(run: Any) -> None:
    run("train", "--dataset", "synthetic", "--frontend", "wavelet").refused("'wavelet'", "mdct:M")


def test_an_interrupted_training_says_how_to_go_on(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(**_: Any) -> None:
        raise Interrupted("stopped; go on with --resume.")

    monkeypatch.setattr(images, "train_images", interrupt)
    result = run("train")
    assert (result.code, result.out) == (130, "")
    assert result.err == "mmdiff: stopped; go on with --resume.\n"


def test_a_file_in_the_place_of_the_run_is_one_sentence(run: Any, pictures: Path) -> None:
    Path("mine").touch()
    options = ("--dataset", f"folder:{pictures}", "--steps", 1, "--device", "cpu")
    run("train", *options, "--out", "mine").refused("mine", "File exists", "--out")
    assert Path("mine").read_bytes() == b""


def test_train_needs_its_data(run: Any) -> None:
    run("train", "--dataset", "folder:nowhere").refused("nowhere", "does not exist")
    run("train", "--dataset", "nothing").refused("nothing", "mnist", "fsdd", "folder:PATH")
    Path("texts").mkdir()
    Path("texts/a.txt").touch()
    run("train", "--dataset", "folder:texts").refused("pictures or sounds", ".png", ".wav")
