"""The report on generated sound of any kind: against data whose answers are known beforehand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mmdiff.audio import sound
from mmdiff.audio.datasets import open_sounds
from mmdiff.audio.modality import Sound
from mmdiff.checkpoints import Info
from mmdiff.conditions import Class
from mmdiff.diffusion import Diffusion
from mmdiff.errors import UserError
from mmdiff.image.modality import Pictures
from mmdiff.metrics import sounds
from mmdiff.metrics.aliasing import AliasingReport
from mmdiff.metrics.batches import draw, take
from mmdiff.metrics.equivariance import DenoiserReport
from mmdiff.metrics.frames import Skipped
from mmdiff.metrics.loudness import measure_levels
from mmdiff.metrics.sounds import SoundReport, evaluate_sound_model, spectral_distance
from mmdiff.nn import FrontEnd, Patch, UNet
from mmdiff.sampling import Sampling
from mmdiff.schedules import Trigonometric

RATE, LENGTH, SCALE, PERIOD = 8000, 640, 4.0, 8
ONCE = Sampling("ddim", 1)


class Recorded(nn.Module):
    """Predicts x0: half of the state and a tone of PERIOD; knows which classes it was asked for."""

    def __init__(self, factor: int = 1, height: float = 0.0, **names: str) -> None:
        super().__init__()
        self.height = nn.Parameter(torch.tensor(height))
        self.codec: Any = SimpleNamespace(factor=factor)
        kinds = {name: words.split() for name, words in names.items()}
        self.conditions = {name: Class(len(words), words) for name, words in kinds.items()}
        self.asked: dict[str, list[int]] = {"label": [], "speaker": []}

    def forward(self, x: Tensor, t: Tensor, **cond: Tensor) -> Tensor:
        for name, classes in cond.items():
            self.asked[name] += classes.tolist()
        tone = torch.cos(2 * math.pi / PERIOD * torch.arange(x.shape[2], dtype=x.dtype))
        return x / 2 + self.height * tone


def known(
    backbone: nn.Module,
    dataset: str = "synthetic",
    shape: tuple[int, ...] = (1, LENGTH),
    scale: float = SCALE,
) -> Diffusion:
    """As from a checkpoint."""
    model = Diffusion(backbone, Trigonometric(), "x0").eval().requires_grad_(False)
    model.info = Info(shape, Sound(RATE, scale), dataset=dataset)
    return model


def write_noise(folder: Path, count: int, channels: int = 1, length: int = LENGTH) -> None:
    for index in range(count):
        x = (0.1 * torch.randn(channels, length)).clamp(-1, 1)
        folder.mkdir(parents=True, exist_ok=True)
        sound.write(folder / f"{index}.wav", x, RATE)


@pytest.fixture
def noise(tmp_path: Path) -> str:
    """A data set of noise: 24 held-out files of class a and 8 of b."""
    for split in ("train", "test"):
        write_noise(tmp_path / split / "a", 24)
        write_noise(tmp_path / split / "b", 8)
    return f"folder:{tmp_path}"


def judge(
    model: Diffusion, count: int | None = None, dataset: str | None = None, **options: Any
) -> SoundReport:
    return evaluate_sound_model(model, ONCE, count, dataset, progress=False, **options)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(gain=st.floats(1e-3, 1e3), length=st.integers(8, 65), stereo=st.booleans())
def test_spectral_distance_of_a_gain_is_its_decibels(
    gain: float, length: int, stereo: bool
) -> None:
    x = torch.zeros(3, 1 + stereo, length, dtype=torch.float64)
    x[..., length // 3] = torch.rand(3, 1 + stereo).double() + 0.1
    assert spectral_distance(x, gain * x) == pytest.approx(20 * abs(math.log10(gain)), abs=1e-9)


def test_spectral_distance_of_a_filter_is_the_root_mean_square_of_its_decibels() -> None:
    """Of sets of different sizes and orders, and the same from either side."""
    x = torch.randn(6, 1, 64, dtype=torch.float64)
    response = torch.rand(33, dtype=torch.float64) + 0.1
    filtered = torch.fft.irfft(response * torch.fft.rfft(x), n=64)
    wanted = float((20 * response.log10()).square().mean().sqrt())
    twice = torch.cat((filtered, -filtered.roll(5, 2))).flip(0)
    assert spectral_distance(x, twice) == pytest.approx(wanted, rel=1e-9)
    assert spectral_distance(twice, x) == pytest.approx(wanted, rel=1e-9)


def test_spectral_distance_hears_nothing_80_db_below_the_loudest() -> None:
    """A tone and a tone of half its height 100 dB below it, beside the tone alone."""
    n = torch.arange(64, dtype=torch.float64)
    loud, faint = (torch.cos(2 * math.pi * k / 64 * n)[None, None] for k in (5, 20))
    assert spectral_distance(loud + 1e-5 * faint, loud) < 1e-6
    heard = spectral_distance(loud + 1e-3 * faint, loud)  # 20 dB above what counts as silence
    assert heard == pytest.approx(20 / math.sqrt(33), rel=1e-6)
    assert spectral_distance(0 * loud, 0 * loud) == 0


def test_spectral_distance_refuses_other_lengths() -> None:
    for b in (torch.ones(2, 1, 63), torch.ones(0, 1, 64)):
        with pytest.raises(ValueError, match="cannot be compared"):
            spectral_distance(torch.ones(2, 1, 64), b)


@pytest.mark.parametrize("count", [None, 5, 8, 100])
def test_classes_are_as_common_as_in_the_held_out_clips(noise: str, count: int | None) -> None:
    """Whatever numbers the model knows them by, and with more classes than the data has."""
    backbone = Recorded(label="b c a")
    report = judge(known(backbone), count, noise)
    assert report.real_count == 32
    assert report.count == len(backbone.asked["label"]) == (count or 32)
    shares = torch.bincount(torch.tensor(backbone.asked["label"]), minlength=3) / report.count
    wanted = torch.tensor([0.25, 0, 0.75])
    assert bool(((shares - wanted).abs() <= 1 / report.count).all())
    assert backbone.asked["speaker"] == []


def test_pairs_of_classes_are_as_common_too(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [(0, 1), (1, 0), (0, 0), (0, 1), (1, 1), (0, 1)]

    class Held(list[Any]):
        name, modality = "data", Sound(RATE)
        conditions: ClassVar = {"label": Class(2, ("a", "b")), "speaker": Class(2, ("i", "u"))}

    items = [{"x": 0.1 * torch.randn(1, LENGTH), "label": a, "speaker": b} for a, b in 10 * pairs]
    monkeypatch.setattr(sounds, "open_sounds", lambda *_: Held(items))
    backbone = Recorded(label="a b", speaker="i u")
    judge(known(backbone), 12)
    asked = list(zip(backbone.asked["label"], backbone.asked["speaker"], strict=True))
    assert sorted(asked) == sorted(2 * pairs)


def test_classes_that_the_data_does_not_have_take_turns(noise: str) -> None:
    """And its clips are denoised untold; data may have classes that the model does not take."""
    backbone = Recorded(PERIOD, label="x y", speaker="z")
    report = judge(known(backbone), 6, f"{noise}/test/a")
    assert isinstance(report.frames.denoiser, DenoiserReport)
    assert backbone.asked == {"label": [0, 1, 0, 1, 0, 1], "speaker": [0] * 6}
    backbone = Recorded(PERIOD)
    judge(known(backbone), 6, noise)
    assert backbone.asked == {"label": [], "speaker": []}


def test_the_denoiser_is_told_the_classes_of_its_clips(
    noise: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixteen of them, spread over the data, at the level that the model works at."""
    seen = []

    def probe(model: Any, x: Tensor, *_: Any, **options: Any) -> Any:
        seen.append((x, options["label"]))
        raise ValueError("not today.")

    monkeypatch.setattr("mmdiff.metrics.frames.denoiser_artefacts", probe)
    report = judge(known(Recorded(PERIOD, label="b a")), 4, noise)
    assert report.frames.denoiser == Skipped("not today.")
    real = take(open_sounds(noise, "test", None, RATE, LENGTH / RATE), range(1, 32, 2))
    torch.testing.assert_close(seen[0][0], SCALE * real["x"])
    assert seen[0][1].tolist() == (1 - real["label"]).tolist()


def test_a_spur_of_the_network_is_found_at_its_period_alone(noise: str) -> None:
    """One step from noise z of variance 1 gives z / 2 and the tone; this is its size, too."""
    height = 0.2
    report = judge(known(Recorded(PERIOD, height)), 400, noise)
    assert isinstance(report.frames.aliasing, AliasingReport)
    at = report.frames.aliasing.at
    ratio = height**2 / 2 / (1 / 4 + height**2 / 2)
    assert at[PERIOD].spurs.difference == pytest.approx(ratio, rel=0.1)
    assert report.frames.found[0] == "spurs"
    for control in (PERIOD - 1, PERIOD + 1):
        assert not any((at[control].spurs.found, at[control].coherence.found))
    assert "spurs" not in judge(known(Recorded(PERIOD)), 400, noise).frames.found
    assert isinstance(report.frames.denoiser, DenoiserReport)
    errors = [row.shift_error.value for row in report.frames.denoiser.times]
    assert min(errors) > 0.01
    assert max(row.whole_period for row in report.frames.denoiser.times) < 1e-9


def test_levels_and_spectrum_are_of_clamped_samples_beside_held_out_clips(noise: str) -> None:
    model = known(Recorded(), scale=SCALE / 2.2)
    samples = draw(model, ONCE, 40, {}, progress=False)["x"]
    report = judge(model, 40, noise)
    over = samples.abs().amax((1, 2)) > 1
    assert 0 < report.clamped == int(over.sum()) < 40
    real = take(open_sounds(noise, "test", None, RATE, LENGTH / RATE), range(32))
    assert report.levels == measure_levels(samples.clamp(-1, 1), RATE)
    assert report.real_levels == measure_levels(real["x"], RATE)
    assert report.spectrum == pytest.approx(spectral_distance(samples.clamp(-1, 1), real["x"]))
    halves = spectral_distance(real["x"][::2], real["x"][1::2])  # files are in the order of classes
    assert report.real_spectrum == pytest.approx(halves)
    assert report.spectrum > 2 * halves


def test_halves_hold_the_same_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clips whose class is the parity of their number, of which one is 40 dB louder."""
    labels = torch.arange(40) % 2
    x = 0.1 * torch.randn(40, 1, LENGTH) * 100.0 ** -labels[:, None, None]
    monkeypatch.setattr(sounds, "take", lambda *_: {"x": x, "label": labels})
    report = judge(known(Recorded()), 4)
    assert report.real_spectrum is not None
    assert report.real_spectrum < 5


def test_a_single_held_out_clip(tmp_path: Path) -> None:
    write_noise(tmp_path, 3)
    report = judge(known(Recorded(PERIOD)), dataset=f"folder:{tmp_path}")
    assert (report.count, report.real_count, report.real_spectrum) == (1, 1, None)
    assert "one alone" in report.as_text()
    assert "it takes 20 samples" in report.as_text()


def test_not_all_of_very_many_held_out_clips_are_taken(
    noise: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sounds, "MOST", 8)
    backbone = Recorded(label="a b")
    report = judge(known(backbone), dataset=noise)
    assert (report.count, report.real_count) == (8, 8)
    assert backbone.asked["label"] == [0] * 6 + [1] * 2


def test_stereo_synthetic_sounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmdiff.metrics.frames.TIMES", (0.5,))
    torch.manual_seed(1)
    kinds = open_sounds("synthetic", "test", None, RATE, LENGTH / RATE, 2).conditions
    network = UNet(1, 2 * PERIOD, 2 * PERIOD, (8,), 1, conditions=kinds)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    model = known(FrontEnd(Patch(PERIOD), network), shape=(2, LENGTH))
    report = judge(model, 24)
    assert (report.dataset, report.count, report.real_count) == ("synthetic", 24, 100)
    assert isinstance(report.frames.aliasing, AliasingReport)
    assert isinstance(report.frames.denoiser, DenoiserReport)
    stored = json.loads(json.dumps(report.as_dict()))
    assert stored["aliasing"]["period"] == stored["denoiser"]["period"] == PERIOD
    assert stored["spectrum"] == report.spectrum
    assert stored["levels"]["peak"] == list(report.levels.peak)
    assert "frames" not in stored
    lines = report.as_text().splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[:2] == [
        f"samples            24  ({report.clamped} clamped to full scale)",
        "held-out clips     100  (synthetic)",
    ]
    assert f"{report.levels.loudness[1]:.2f}" in lines[3]
    assert f"{report.spectrum:.1f} dB from" in lines[7]


def test_samples_that_are_not_finite_are_refused(noise: str) -> None:
    with pytest.raises(ValueError, match="not finite"):
        judge(known(Recorded(height=math.inf)), 4, noise)


def test_refuses_what_makes_no_sound() -> None:
    pictures = known(Recorded())
    pictures.info = Info((1, 28, 28), Pictures())
    others = [known(Recorded(), shape=shape) for shape in ((1, 28, 28), (3, 640))]
    for model in (pictures, *others):
        with pytest.raises(UserError, match="only models of mono or stereo sound"):
            judge(model, 4)


@pytest.mark.parametrize("dataset", ["", "my own", "folder:sounds"])
def test_data_that_cannot_be_found_name_the_cure(noise: str, dataset: str) -> None:
    """A checkpoint does not say where a folder lies."""
    model = known(Recorded(), dataset)
    said = f"was trained on {dataset or 'data without a name'}, and does not know where that is"
    with pytest.raises(UserError, match=f"{said}: name the dataset"):
        judge(model, 4)
    assert judge(model, 4, noise).dataset == noise
    with pytest.raises(UserError, match="gone does not exist"):
        judge(model, 4, "folder:gone")


def test_classes_that_the_model_does_not_know_are_refused(noise: str) -> None:
    with pytest.raises(UserError, match="has the label 'b', which the model does not know"):
        judge(known(Recorded(label="a")), 4, noise)
