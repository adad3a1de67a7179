"""mmdiff evaluate: the judge follows from the model, and works for all of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import mmdiff
from mmdiff.audio import Enhance, Sound, sound
from mmdiff.conditions import Class
from mmdiff.image.modality import Pictures
from mmdiff.metrics import conversions, frames, images, sounds, speech
from mmdiff.nn import MDCT, FrontEnd, UNet

DIGITS = tuple("0123456789")
LENGTH, BANDS = 1024, 16


class Report:
    """What stands in for a report."""

    def as_text(self) -> str:
        return "good"

    def as_dict(self) -> dict[str, Any]:
        return {"quality": "good"}


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """(which judge, its arguments ...) of each call; nothing is sampled."""
    calls: list[tuple[Any, ...]] = []

    def record(name: str) -> Any:
        def judge(model: Any, sampling: Any, *arguments: Any, **options: Any) -> Report:
            calls.append((name, sampling, *arguments, options))
            return Report()

        return judge

    monkeypatch.setattr(images, "evaluate_digit_model", record("digits"))
    monkeypatch.setattr(speech, "evaluate_speech_model", record("speech"))
    monkeypatch.setattr(sounds, "evaluate_sound_model", record("sounds"))
    monkeypatch.setattr(conversions, "evaluate_conversion", record("conversions"))
    return calls


def save_sound(path: Path, shape: tuple[int, int] = (1, LENGTH), **about: Any) -> Path:
    """A small network behind an MDCT, at 8 kHz."""
    torch.manual_seed(0)
    about = {"dataset": "synthetic", "modality": Sound(8000), **about}
    inside = shape[0] * BANDS
    labels = about.pop("labels", ())
    classes = {"label": Class(len(labels), labels)} if labels else None
    network = UNet(1, inside, inside, (16,), 1, conditions=classes)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model = mmdiff.Diffusion(FrontEnd(MDCT(BANDS), network), mmdiff.Trigonometric(), "v")
    mmdiff.save(path, model, mmdiff.Info(shape, **about))
    return path


def write_noise(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sound.write(path, (0.1 * torch.randn(1, LENGTH)).clamp(-1, 1), 8000)


def test_pictures_and_sounds_go_to_their_judge(
    run: Any, save: Any, called: list[Any], labelled: Path
) -> None:
    assert run("evaluate", labelled).out == "good\n"
    shared: dict[str, Any] = {"seed": 0, "data_dir": None, "progress": False}
    recommended = mmdiff.Sampling(clip=(-1.0, 1.0))
    assert called.pop() == ("digits", recommended, 10_000, {**shared, "batch": 256})
    sampling = mmdiff.Sampling("ddim", 50, guidance=2.0, spin=64)
    path = save(Path("m.safetensors"), (1, LENGTH), DIGITS, sampling=sampling)
    assert json.loads(run("evaluate", path, "--json").out) == {"quality": "good"}
    assert called.pop() == ("speech", sampling, 1_000, {**shared, "batch": 50})
    given = ("-n", 7, "--solver", "heun", "--steps", 3, "--guidance", 1, "--spin", 0, "--batch", 4)
    assert run("evaluate", path, *given, "--data-dir", "d", "--seed", 2).code == 0
    options = {**shared, "batch": 4, "seed": 2, "data_dir": Path("d")}
    assert called.pop() == ("speech", mmdiff.Sampling("heun", 3, guidance=1.0), 7, options)


def test_other_sounds_and_other_data_go_to_the_judge_of_any_sound(
    run: Any, save: Any, called: list[Any]
) -> None:
    other = save(Path("o.safetensors"), (1, 800), ("a", "b"))
    digits = save(Path("d.safetensors"), (1, LENGTH), DIGITS)
    options = {"seed": 0, "data_dir": None, "progress": False, "batch": 50}
    for path, given, expected in (
        (other, (), ("sounds", None, None)),
        (other, ("-n", 9, "--dataset", "fsdd"), ("sounds", 9, "fsdd")),
        (digits, ("--dataset", "folder:x"), ("sounds", None, "folder:x")),
        (digits, ("--dataset", "fsdd"), ("speech", 1_000)),
        (digits, (), ("speech", 1_000)),
    ):
        assert run("evaluate", path, *given).out == "good\n"
        name, *arguments = expected
        assert called.pop() == (name, mmdiff.Sampling(), *arguments, options)


def test_evaluate_refuses_what_it_cannot_compare(run: Any, plain: Path, speech: Path) -> None:
    run("evaluate", plain, "-n", 10, "--steps", 1).refused("digits")
    run("evaluate", speech, "-n", 10, "--steps", 1).refused("dataset", "folder:PATH")
    run("evaluate", plain, "--dataset", "synthetic").refused("leave --dataset out")
    run("evaluate", speech, "--dataset", "folder:gone").refused("gone does not exist")
    run("evaluate", speech, "--dataset", "toads").refused("unknown data set 'toads'")
    moved = save_sound(Path("m.safetensors"), dataset="folder:moved")
    run("evaluate", moved, "--steps", 1).refused("folder:moved", "dataset", "folder:PATH")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Derivatives of a network are slow."""
    monkeypatch.setattr(frames, "TIMES", (0.5,))


@pytest.mark.usefixtures("quick")
def test_evaluate_a_model_of_a_folder(run: Any, tmp_path: Path) -> None:
    for index in range(25):
        write_noise(tmp_path / "test" / f"{index}.wav")
    write_noise(tmp_path / "train" / "one.wav")
    model = save_sound(tmp_path / "m.safetensors", dataset="folder:moved")
    told = run("evaluate", model, "--steps", 1, "--dataset", f"folder:{tmp_path}")
    assert told.code == 0
    assert "held-out clips     25  (folder:" in told.out
    assert "artefacts of the front end, which takes 16 samples at a time" in told.out


@pytest.mark.usefixtures("quick")
def test_evaluate_in_stereo_beside_other_data(run: Any, tmp_path: Path) -> None:
    model = save_sound(tmp_path / "m.safetensors", (2, LENGTH), dataset="folder:gone")
    options = ("--steps", 1, "--json", "-n", 20, "--dataset", "synthetic")
    result = run("evaluate", model, *options)
    assert result.code == 0
    report = json.loads(result.out)
    assert (report["dataset"], report["count"], report["real_count"]) == ("synthetic", 20, 100)
    assert set(report["aliasing"]["at"]) == {"15", "16", "17"}
    assert report["denoiser"]["period"] == BANDS


def test_a_network_of_single_samples_has_no_artefacts(run: Any, save: Any, tmp_path: Path) -> None:
    write_noise(tmp_path / "sounds" / "one.wav")
    dataset = f"folder:{tmp_path / 'sounds'}"
    raw = save(Path("raw.safetensors"), (1, LENGTH))
    options = ("evaluate", raw, "-n", 2, "--steps", 1, "--dataset", dataset)
    told = run(*options).out.splitlines()
    assert told[-1].startswith("artefacts          not measured: the network takes single samples")
    report = json.loads(run(*options, "--json").out)
    assert report["aliasing"] == report["denoiser"]
    assert "single samples" in report["aliasing"]["skipped"]


@pytest.mark.usefixtures("quick")
def test_evaluate_spoken_digits(run: Any, tmp_path: Path) -> None:
    """Noise in the place of one speaker's recordings, with the report as it was and artefacts."""
    for digit in DIGITS:
        for take in range(50):
            write_noise(tmp_path / "fsdd" / "recordings" / f"{digit}_me_{take}.wav")
    model = save_sound(tmp_path / "m.safetensors", labels=DIGITS, dataset="fsdd")
    result = run("evaluate", model, "-n", 20, "--steps", 1, "--data-dir", tmp_path, "--json")
    assert result.code == 0
    report = json.loads(result.out)
    assert report["ratio"] == report["frechet"] / report["floor"]
    assert set(report["aliasing"]["at"]) == {"15", "16", "17"}
    assert report["denoiser"]["count"] == 16
    assert "frames" not in report


def test_evaluate_reports(run: Any, data_dir: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = UNet(
        dims=2,
        in_channels=1,
        out_channels=1,
        channels=(8,),
        conditions={"label": Class(10, DIGITS)},
    )
    model = mmdiff.Diffusion(net, mmdiff.LinearBeta(), "eps")
    info = mmdiff.Info((1, 28, 28), Pictures(), dataset="mnist")
    mmdiff.save(tmp_path / "m.safetensors", model, info)
    options = ("-n", 40, "--steps", 2, "--data-dir", data_dir, "--json")
    result = run("evaluate", tmp_path / "m.safetensors", *options)
    assert result.code == 0
    report = json.loads(result.out)
    assert report["count"] == 40
    assert report["frechet"] > 2 * report["floor"]  # noise is no digit


def test_sound_from_sound_goes_to_the_judge_of_pairs(
    run: Any, called: list[Any], tmp_path: Path
) -> None:
    path = save_sound(tmp_path / "enhancer.safetensors", task=Enhance(8000))
    run("evaluate", path).refused("--dataset folder:PATH")
    assert run("evaluate", path, "--dataset", "folder:x", "-n", 5).out == "good\n"
    name, _, *arguments, _ = called.pop()
    assert (name, arguments) == ("conversions", ["folder:x", 5])
