"""mmdiff enhance, upsample and vocode: what they write, say and refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

import mmdiff
from mmdiff.audio.mel import Mel
from mmdiff.audio.modality import Sound
from mmdiff.audio.tasks import Enhance, Task, Upsample, Vocode
from mmdiff.nn import MDCT, Residual, UNet

RATE = 8000
STEP = 1 / 32768  # of 16 bits
TASKS: dict[str, Task] = {
    "enhance": Enhance(RATE),
    "upsample": Upsample(4000, RATE),
    "vocode": Vocode(Mel(RATE, bands=20)),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoints of networks that make nothing: an enhancer's output is what it is told."""
    folder, inner = tmp_path_factory.mktemp("models"), MDCT(16)
    for name, task in TASKS.items():
        told = task.conditions(1)
        inside = {key: kind.inside(inner) for key, kind in told.items()}
        net = UNet(1, 16, 16, (8,), 1, local=True, conditions=inside)
        codec = inner if name == "vocode" else Residual(inner)
        model = mmdiff.Diffusion(net, mmdiff.Linear(), "x0", codec=codec, conditions=told)
        sampling = mmdiff.Sampling("ddim", 2)
        info = mmdiff.Info((1, RATE), Sound(RATE, 4.0), sampling, "voices", task=task)
        mmdiff.save(folder / f"{name}.safetensors", model, info)
    return {name: folder / f"{name}.safetensors" for name in TASKS}


@pytest.fixture
def voice() -> Path:
    """Stereo, 8 bits, at twice the models' rate, without anything above half of theirs."""
    time = np.arange(RATE) / (2 * RATE)
    wave = 0.4 * np.sin(2 * np.pi * np.outer(time, (300, 500)))
    soundfile.write("voice.wav", wave, 2 * RATE, subtype="PCM_U8")
    return Path("voice.wav")


def test_enhances_a_file(run: Any, models: dict[str, Path], voice: Path) -> None:
    options = ("--model", models["enhance"], "--strength", 0.7, "--seed", 3)
    assert run("enhance", voice, *options, "--out", "a/clean.wav").out == "wrote a/clean.wav\n"
    before, rate = soundfile.read(voice)
    with soundfile.SoundFile("a/clean.wav") as file:
        said = dict(line.split(": ", 1) for line in file.comment.split("\n"))
        after = file.read()
        assert (file.samplerate, file.subtype, after.shape) == (rate, "PCM_16", before.shape)
    inner = slice(300, -300)
    assert np.abs(after - before)[inner].max() < 0.01  # the rounding of 8 bits is wide
    assert "Generated" in said["Description"]
    assert (said["Made from"], said["Made by"]) == ("voice.wav", "enhance")
    assert (said["Strength"], said["Seed"], said["Steps"]) == ("0.7", "3", "2")


def test_upsamples_to_the_rate_of_the_model(run: Any, models: dict[str, Path]) -> None:
    soundfile.write("old.wav", 0.2 * np.random.default_rng(0).standard_normal(900), 4000)
    options = ("upsample", "old.wav", "--model", models["upsample"])
    assert run(*options, "--rate", RATE).out == "wrote upsampled.wav\n"
    assert run(*options, "--out", "y.flac").code == 0
    assert soundfile.info("upsampled.wav").samplerate == RATE
    assert soundfile.info("upsampled.wav").frames == 1800
    assert soundfile.info("y.flac").subtype == "PCM_24"
    run(*options, "--rate", 16_000, "--overwrite").refused("8,000 Hz", "--rate")


def test_vocodes_sounds_and_frames(run: Any, models: dict[str, Path], voice: Path) -> None:
    options = ("--model", models["vocode"])
    assert run("vocode", voice, *options, "--out", "again.wav").code == 0
    assert soundfile.info("again.wav").frames == RATE // 2
    np.save("mel.npy", TASKS["vocode"].mel.of(torch.randn(2, 2000)).numpy())  # type: ignore[attr-defined]
    assert run("vocode", "mel.npy", *options, "--out", "speech.wav").code == 0
    assert soundfile.info("speech.wav").frames == 8 * 256
    assert soundfile.info("speech.wav").channels == 2
    assert run("vocode", "mel.npy", *options, "--out", "speech.png").code == 0


def test_before_and_after(run: Any, models: dict[str, Path]) -> None:
    """Two sounds below each other; where nothing is changed they are the same."""
    soundfile.write("x.wav", 0.1 * np.random.default_rng(0).standard_normal((9000, 2)), RATE)
    for task in TASKS:
        assert run(task, "x.wav", "--model", models[task], "--out", f"{task}.png").code == 0
        with Image.open(f"{task}.png") as image:
            assert "Generated" in image.text["Description"]  # type: ignore[attr-defined]
            pixels = np.asarray(image, np.int64)
        row = 2 * 100 + 4 + 260  # of two lanes and a spectrogram
        upper, lower = (pixels[top : top + row, 80:910] for top in (32, 32 + row + 16))
        assert (np.abs(upper - lower).mean() < 1) == (task == "enhance")


def test_into_a_folder(run: Any, models: dict[str, Path], voice: Path) -> None:
    assert run("enhance", voice, "--model", models["enhance"], "--out", "clean/").code == 0
    assert [path.name for path in Path("clean").iterdir()] == ["voice.wav"]


def test_what_cannot_be_done_is_one_sentence(
    run: Any, models: dict[str, Path], voice: Path
) -> None:
    options = ("--model", models["enhance"])
    run("enhance", voice, "--model", "digits").refused("digits is no enhancer", "mnist")
    run("upsample", voice, *options).refused("no upsampler", "trained to enhance")
    run("enhance", voice, *options, "--out", "x.gif").refused("x.gif", ".wav")
    run("enhance", voice, *options, "--out", voice).refused("voice.wav", "--overwrite")
    run("enhance", "none.wav", *options).refused("none.wav")
    run("enhance", ".", *options).refused("is a folder")
    Path("text.wav").write_text("this is text")
    run("enhance", "text.wav", *options).refused("text.wav")
    soundfile.write("nan.wav", np.full(900, np.nan), RATE, subtype="FLOAT")
    run("enhance", "nan.wav", *options).refused("nan.wav", "NaN")
    soundfile.write("empty.wav", np.zeros(0), RATE)
    run("enhance", "empty.wav", *options).refused("empty.wav is empty")
    vocoder = ("--model", models["vocode"])
    Path("text.npy").write_text("this is text")
    run("vocode", "text.npy", *vocoder).refused("text.npy", "numpy.save")
    run("vocode", "none.npy", *vocoder).refused("none.npy")
    np.save("odd.npy", np.zeros((21, 5), np.float32))
    run("vocode", "odd.npy", *vocoder).refused("[20, N]")
    np.save("odd.npy", np.array([{}]), allow_pickle=True)
    run("vocode", "odd.npy", *vocoder).refused("odd.npy", "numpy.save")
    assert not Path("enhanced.wav").exists()


@pytest.mark.parametrize("frames", [1, 800])
def test_short_and_silent_files(run: Any, models: dict[str, Path], frames: int) -> None:
    soundfile.write("x.wav", np.zeros((frames, 8)), RATE)
    assert run("enhance", "x.wav", "--model", models["enhance"]).code == 0
    y, _ = soundfile.read("enhanced.wav")
    assert y.shape == (frames, 8)
    assert not y.any()
