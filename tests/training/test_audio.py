"""Training on sound: what a run leaves, what it is compared with, and how networks are sized."""

from __future__ import annotations

import importlib.util
import io
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import soundfile
import torch
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from typer.testing import CliRunner

from mmdiff import DDIM, Info, Trigonometric, load, sample
from mmdiff.audio.datasets import open_sounds
from mmdiff.audio.sound import read
from mmdiff.errors import UserError
from mmdiff.training import audio
from mmdiff.training.audio import FRONTEND, PRESET, AudioPreset, levels, train_audio
from mmdiff.training.config import TrainingConfig
from mmdiff.training.listening import classes, examples, waveforms

SECONDS, RATE = 0.05, 8000
LENGTH = 400

TINY = AudioPreset(
    width=32,
    blocks=1,
    epochs=3,
    look_every=3,
    sampling={"solver": "ddim", "steps": 3, "guidance": 1.5},
    samples=10,  # more than are drawn at a time
    training={"batch": 8, "lr": 1e-3, "ema": 0.5},
)


@pytest.fixture
def dataset(tmp_path: Path) -> str:
    """16 stereo beeps of two classes to train on, and 4 that are held out."""
    for split, count in (("train", 8), ("test", 2)):
        for name, hertz in (("high note", 1500), ("low", 400)):
            folder = tmp_path / "sounds" / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                phase = torch.arange(LENGTH) * 2 * torch.pi * hertz / RATE + index
                x = 0.5 * torch.stack((phase.sin(), phase.cos()), dim=1)
                soundfile.write(folder / f"{index}.wav", x.numpy(), RATE)
    return f"folder:{tmp_path / 'sounds'}"


def run(out: Path, dataset: str, **options: Any) -> Path:
    settings = {"frontend": "mdct:16", "seconds": SECONDS, "device": "cpu", "seed": 3}
    return train_audio(dataset=dataset, out=out, **{**settings, **options})


def test_what_a_run_leaves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dataset: str) -> None:
    monkeypatch.setattr(audio, "PRESET", TINY)
    out = tmp_path / "out"
    path = run(out, dataset, stereo=True)
    assert path == out / "model.safetensors"
    # 3 epochs of 2 batches, looked at after the second and at the end.
    looks = ("epoch_002", "epoch_003")
    assert sorted(p.stem for p in (out / "progress").iterdir()) == list(looks)
    for look in looks:
        picture = Image.open(out / "progress" / f"{look}.png")
        assert picture.width > 2 * 120
        assert picture.text["Software"].startswith("mmdiff")  # type: ignore[attr-defined]
        x, rate = read(out / "samples" / f"{look}.wav")
        assert (x.shape, rate) == ((2, 2 * LENGTH + 1200), RATE)
        assert not x[:, LENGTH:-LENGTH].any()
    assert len((out / "losses.csv").read_text().splitlines()) == 3
    assert len((out / "validation.csv").read_text().splitlines()) == 1 + 2 * 8
    assert not list(out.rglob("*.part*"))

    model = load(path)
    info = model.info
    assert (info.shape, info.data_range, info.sample_rate) == ((2, LENGTH), (-4, 4), RATE)
    assert (info.labels, info.speakers, info.dataset) == (("high note", "low"), (), dataset)
    assert info.sampling == TINY.sampling
    assert {"frontend": "mdct:16", "epochs": 3.0, "seed": 3, "steps": 6}.items() <= (
        info.made.items()
    )
    # The files are what a user would get of the model that was saved, and say so.
    names = [f"{'low' if index % 2 else 'high-note'}_{index}" for index in range(10)]
    files = sorted((out / "samples").glob("*_[0-9].wav"), key=lambda file: file.stem[-1])
    assert [file.stem for file in files] == names
    label = torch.arange(10) % 2
    expected = sample(model, (10, *info.shape), DDIM(3), 3, guidance=1.5, label=label) / 4
    assert expected.abs().max() > 0.05
    for file, clip in zip(files, expected, strict=True):
        torch.testing.assert_close(read(file)[0], clip.clamp(-1, 1), rtol=0, atol=2**-14)
    with soundfile.SoundFile(files[0]) as file:
        for line in (
            "Model: out/model",
            "Seed: 3",
            "Steps: 3",
            "Guidance: 1.5",
            "Label: high note",
        ):
            assert line in file.comment.splitlines()
    # The last look was at the same samples.
    joined, _ = read(out / "samples" / "epoch_003.wav")
    torch.testing.assert_close(joined[:, :LENGTH], read(files[0])[0], rtol=0, atol=2**-15)

    board = EventAccumulator(str(out / "tensorboard"))
    board.Reload()
    heard = board.Audio("samples")
    assert [event.step for event in heard] == [4, 6]
    x, rate = soundfile.read(io.BytesIO(heard[-1].encoded_audio_string), dtype="float32")
    assert rate == RATE
    torch.testing.assert_close(torch.from_numpy(x), joined.mean(0), rtol=0, atol=2**-14)
    assert len(board.Images("samples")) == 2

    before = files[0].read_bytes(), (out / "samples.png").read_bytes()
    files[0].unlink()
    (out / "samples.png").unlink()
    assert run(out, dataset, stereo=True, resume=True) == path
    assert (files[0].read_bytes(), (out / "samples.png").read_bytes()) == before


def test_without_classes_nothing_is_guided(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dataset: str
) -> None:
    monkeypatch.setattr(audio, "PRESET", replace(TINY, samples=2, columns=3))
    out = tmp_path / "out"
    path = run(out, f"{dataset}/train/low", frontend="patch:8", steps=1, channels=64)
    model: Any = load(path)
    assert model.info.labels == ()
    assert model.info.sampling["guidance"] is None
    assert model.info.made["steps"] == 1
    assert model.backbone.backbone.config["channels"][0] == round(64 * 8**0.5 / 8 / 16) * 16
    assert {file.name for file in (out / "samples").iterdir()} == {
        "0.wav", "1.wav", "epoch_001.wav",
    }  # fmt: skip


def test_a_picture_of_fewer_samples_than_classes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dataset: str
) -> None:
    monkeypatch.setattr(audio, "PRESET", replace(TINY, samples=1))
    out = tmp_path / "out"
    run(out, dataset, steps=1)
    assert (out / "samples" / "high-note_0.wav").is_file()
    look, end = (Image.open(out / name) for name in ("progress/epoch_001.png", "samples.png"))
    assert (end.width, end.height) == (look.width - 480 - 8, look.height)


def test_an_unknown_front_end_is_reported_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown front end 'wavelets'"):
        run(tmp_path / "out", "folder:does/not/exist", frontend="wavelets")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seconds": float("inf")}, "a length in seconds must be positive, not inf"),
        ({"seconds": 1e6}, "fewer seconds or a lower sample rate"),
        ({"sample_rate": 1}, "100 to 1,000,000 Hz"),
        ({"dataset": "synthetic", "sample_rate": 3999}, "a rate from 4000 Hz"),
        ({"frontend": "mdct:3"}, "even number of bands"),
        ({"frontend": "patch:401"}, "patch:401 takes 401 samples at a time, .* has only 400"),
    ],
)
def test_what_cannot_be_trained_is_one_sentence(
    tmp_path: Path, dataset: str, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        run(**{"out": tmp_path / "out", "dataset": dataset, **options})
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_place_of_the_run_is_one_sentence(tmp_path: Path, dataset: str) -> None:
    (tmp_path / "out").write_text("mine")
    for out in (tmp_path / "out", tmp_path / "out" / "run"):
        with pytest.raises(UserError, match=r"cannot be made .*: choose another --out"):
            run(out, dataset)
    assert (tmp_path / "out").read_text() == "mine"


def test_the_preset_is_valid() -> None:
    config = TrainingConfig(steps=1, **PRESET.training)
    assert (config.decay, config.precision, config.label_dropout) == ("cosine", "bf16", 0.1)
    data = SimpleNamespace(shape=(1, 800), labels=("a",), speakers=("b", "c"))
    model = replace(PRESET, width=32, blocks=1).model(data, "mdct:64", seed=0)  # type: ignore[arg-type]
    assert model.schedule == Trigonometric()
    assert (model.prediction, model.weighting) == ("v", "uniform")
    assert model.backbone.conditions == {"label": 1, "speaker": 2}


@pytest.mark.parametrize("frontend", ["raw", "patch:32", "stft", "learned", "mdct:64"])
def test_a_model_for_every_front_end(frontend: str) -> None:
    data = SimpleNamespace(shape=(2, 777), labels=("a", "b"), speakers=())
    preset = replace(PRESET, width=32, blocks=1)
    first, again, other = (preset.model(data, frontend, seed) for seed in (1, 1, 2))  # type: ignore[arg-type]
    x, t, label = torch.randn(2, 2, 777), torch.tensor([0.3, 1.0]), torch.tensor([1, -1])
    assert first.denoise(x, t, label=label).x0.shape == x.shape
    weights = [model.state_dict() for model in (first, again, other)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert any(not torch.equal(weights[0][name], weights[2][name]) for name in weights[0])


def test_levels_of_some_networks() -> None:
    assert levels(5120, 16, 128) == [64, 96, 128, 176, 256]
    assert levels(5120, 64, 128) == [128, 176, 256]
    assert levels(5120, 256, 128) == [256]
    assert levels(5 * 48000, 16, 128) == [64, 96, 128, 176, 256, 368, 512, 512, 512, 512]
    assert levels(5120, 1, 128) == [16, 16, 32, 48, 64, 96, 128, 176, 256]


@settings(deadline=None, derandomize=True)
@given(st.integers(1, 3_000_000), st.sampled_from([1, 8, 32, 64, 100, 256]), st.integers(32, 600))
def test_levels(length: int, factor: int, width: int) -> None:
    widths = levels(length, factor, width)
    positions = [-(-length // factor // 2**level) for level in range(len(widths))]
    assert positions[-1] <= 32
    assert len(positions) == 1 or positions[-2] > 32
    assert widths == sorted(widths)
    assert all(w % 16 == 0 and 16 <= w <= 4 * width + 8 for w in widths)
    # As wide as positions are rich, whatever the front end and the length.
    for level, wide in enumerate(widths):
        expected = width * min(4, (factor * 2**level / 64) ** 0.5)
        assert abs(wide - expected) <= max(8, 16 - expected)


class Words(list[dict[str, Any]]):
    """Clips that hold 10 * label + speaker, the scale times."""

    def __init__(self, *pairs: tuple[int, int]) -> None:
        super().__init__(
            {"x": torch.full((1, 6), 4.0 * (10 * label + speaker) / 100), "label": label,
             "speaker": speaker}
            for label, speaker in pairs
        )  # fmt: skip


def chosen(data: Words, labels: int, speakers: int, columns: int = 10) -> list[int]:
    info = Info((1, 6), (-4, 4), tuple("abcdefgh"[:labels]), tuple("stuvwxyz"[:speakers]))
    x = examples(info, data, columns)  # type: ignore[arg-type]
    assert x.shape[1:] == (1, 6)
    return (x[:, 0, 0] * 100).round().int().tolist()


def test_examples_are_of_the_classes_of_the_samples() -> None:
    everything = Words(*((label, speaker) for label in range(3) for speaker in (1, 0, 2)))
    assert chosen(everything, 3, 3) == [0, 11, 22]
    assert chosen(everything, 3, 3, columns=2) == [0, 11]
    # Another speaker where there must be, and silence for a class that was not held out.
    assert chosen(Words((2, 1), (1, 2), (2, 2)), 3, 3) == [0, 12, 22]
    assert chosen(Words((1, -1), (0, -1), (1, -1)), 2, 0) == [-1, 9]
    assert chosen(Words((-1, 1), (-1, 0)), 0, 2) == [-10, -9]
    assert chosen(Words((3, 3), (2, 2), (1, 1)), 0, 0, columns=2) == [33, 22]


def test_examples_of_spoken_digits(data_dir: Path) -> None:
    test = open_sounds("fsdd", "test", data_dir, scale=4.0)
    info = Info(test.shape, (-4, 4), test.labels, test.speakers, test.sample_rate)
    assert classes(info) == {"label": 10, "speaker": 6}
    x = examples(info, test, 10)
    recordings = {
        (item["label"], item["speaker"], item["x"].sum().item())
        for item in map(test.__getitem__, range(len(test)))
    }
    for column, clip in enumerate(x):
        assert (column, column % 6, (clip * 4).sum().item()) in recordings


def test_waveforms_end_at_full_scale() -> None:
    info = Info((1, 4), (-4, 4))
    x = torch.tensor([[[2.0, -4, 5, -9]]], dtype=torch.float64)
    assert waveforms(x, info).tolist() == [[[0.5, -1, 1, -1]]]
    assert waveforms(x, info).dtype == torch.float32


def test_the_recipe_hands_its_options_on(monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(__file__).parents[2] / "recipes" / "audio_v.py"
    spec = importlib.util.spec_from_file_location("audio_v", path)
    assert spec is not None
    assert spec.loader is not None
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    given: dict[str, Any] = {}

    def train(**options: Any) -> Path:
        given.update(options)
        return Path("somewhere")

    monkeypatch.setattr(recipe, "train_audio", train)
    app = typer.Typer()
    app.command()(recipe.main)
    assert CliRunner().invoke(app, []).exit_code == 0
    defaults = {"frontend": FRONTEND, "dataset": "fsdd", "channels": PRESET.width,
                "epochs": PRESET.epochs, "stereo": False, "sample_rate": None}  # fmt: skip
    assert defaults.items() <= given.items()
    words = "--dataset folder:x --sample-rate 48000 --seconds 5 --stereo --frontend patch:32"
    assert CliRunner().invoke(app, words.split()).exit_code == 0
    wanted = {"frontend": "patch:32", "dataset": "folder:x", "sample_rate": 48000, "seconds": 5.0,
              "stereo": True}  # fmt: skip
    assert wanted.items() <= given.items()
