"""The report on generated sound of any kind: against data whose answers are known beforehand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mmdiff.audio import sound
from mmdiff.audio.datasets import open_sounds
from mmdiff.audio.frontends import FrontEnd, Patch
from mmdiff.diffusion import Diffusion
from mmdiff.errors import UserError
from mmdiff.metrics import sounds
from mmdiff.metrics.aliasing import AliasingReport
from mmdiff.metrics.equivariance import DenoiserReport
from mmdiff.metrics.frames import Skipped
from mmdiff.metrics.loudness import measure_levels
from mmdiff.metrics.sounds import (
    Clips,
    SoundReport,
    evaluate_sound_model,
    sample_sounds,
    spectral_distance,
    take,
)
from mmdiff.nn.unet import UNet
from mmdiff.sampling import sample
from mmdiff.schedules import Trigonometric
from mmdiff.solvers import DDIM
from mmdiff.training.checkpoints import Info

RATE, LENGTH, SCALE, PERIOD = 8000, 640, 4.0, 8


class Recorded(nn.Module):
    """Predicts x0: half of the state and a tone of PERIOD; knows which classes it was asked for."""

    def __init__(self, factor: int = 1, height: float = 0.0) -> None:
        super().__init__()
        self.height = nn.Parameter(torch.tensor(height))
        self.transform = cast(Any, SimpleNamespace(factor=factor))
        self.asked: dict[str, list[int]] = {"label": [], "speaker": []}

    def forward(self, x: Tensor, t: Tensor, **cond: Tensor) -> Tensor:
        for name, classes in cond.items():
            self.asked[name] += classes.tolist()
        tone = torch.cos(2 * math.pi / PERIOD * torch.arange(x.shape[2], dtype=x.dtype))
        return x / 2 + self.height * tone


def known(backbone: nn.Module, **about: Any) -> Diffusion:
    """As from a checkpoint."""
    model = Diffusion(backbone, Trigonometric(), "x0").eval().requires_grad_(False)
    usual: dict[str, Any] = {"shape": (1, LENGTH), "sample_rate": RATE, "dataset": "synthetic"}
    model.info = cast(Any, Info(data_range=(-SCALE, SCALE), **{**usual, **about}))
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


def judge(model: Diffusion, count: int | None = None, **options: Any) -> SoundReport:
    return evaluate_sound_model(model, DDIM(1), count, progress=False, **options)


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


def test_samples_are_what_sampling_them_together_gives() -> None:
    model = known(Recorded(height=1.0), labels=("a", "b"))
    cond: dict[str, Any] = {"label": torch.arange(7) % 2}
    options: dict[str, Any] = {"seed": 3, "guidance": 2.0, "spin": 8}
    x = sample_sounds(model, DDIM(3), 7, cond, batch=3, progress=False, **options)
    whole = sample(model, (7, 1, LENGTH), DDIM(3), **cond, **options)
    torch.testing.assert_close(x, whole / SCALE, rtol=0, atol=1e-5)


def test_takes_items_at_full_scale(noise: str) -> None:
    settings: dict[str, Any] = {"sample_rate": RATE, "seconds": LENGTH / RATE}
    data = open_sounds(noise, "test", scale=SCALE, **settings)
    whole = open_sounds(noise, "test", **settings)
    taken = take(data, (30, 2))
    assert taken.labels.tolist() == [1, 0]
    assert taken.speakers.tolist() == [-1, -1]
    torch.testing.assert_close(taken.x, torch.stack([whole[30]["x"], whole[2]["x"]]))


@pytest.mark.parametrize("count", [None, 5, 8, 100])
def test_classes_are_as_common_as_in_the_held_out_clips(noise: str, count: int | None) -> None:
    """Whatever numbers the model knows them by, and with more classes than the data has."""
    backbone = Recorded()
    report = judge(known(backbone, dataset=noise, labels=("b", "c", "a")), count)
    assert report.real_count == 32
    assert report.count == len(backbone.asked["label"]) == (count or 32)
    shares = torch.bincount(torch.tensor(backbone.asked["label"]), minlength=3) / report.count
    wanted = torch.tensor([0.25, 0, 0.75])
    assert bool(((shares - wanted).abs() <= 1 / report.count).all())
    assert backbone.asked["speaker"] == []


def test_pairs_of_classes_are_as_common_too(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [(0, 1), (1, 0), (0, 0), (0, 1), (1, 1), (0, 1)]
    labels, speakers = torch.tensor(10 * pairs).unbind(1)

    class Held(list[Any]):
        name, scale, labels, speakers = "data", 1.0, ("a", "b"), ("me", "you")

    items = [
        {"x": 0.1 * torch.randn(1, LENGTH), "label": int(a), "speaker": int(b)}
        for a, b in zip(labels, speakers, strict=True)
    ]
    monkeypatch.setattr(sounds, "open_sounds", lambda *_: Held(items))
    backbone = Recorded()
    judge(known(backbone, labels=("a", "b"), speakers=("me", "you")), 12)
    asked = list(zip(backbone.asked["label"], backbone.asked["speaker"], strict=True))
    assert sorted(asked) == sorted(2 * pairs)


def test_classes_that_the_data_does_not_have_take_turns(noise: str) -> None:
    """And its clips are denoised as of none; data may have classes that the model does not take."""
    backbone = Recorded(PERIOD)
    judge(known(backbone, labels=("x", "y"), speakers=("z",)), 6, dataset=f"{noise}/test/a")
    assert backbone.asked["label"][:6] == [0, 1, 0, 1, 0, 1]
    assert backbone.asked["speaker"][:6] == [0] * 6
    assert set(backbone.asked["label"][6:]) == {-1}
    backbone = Recorded(PERIOD)
    judge(known(backbone), 6, dataset=noise)
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
    report = judge(known(Recorded(PERIOD), dataset=noise, labels=("b", "a")), 4)
    assert report.frames.denoiser == Skipped("not today.")
    real = take(open_sounds(noise, "test", None, RATE, LENGTH / RATE), range(1, 32, 2))
    torch.testing.assert_close(seen[0][0], SCALE * real.x)
    assert seen[0][1].tolist() == (1 - real.labels).tolist()


def test_a_spur_of_the_network_is_found_at_its_period_alone(noise: str) -> None:
    """One step from noise z of variance 1 gives z / 2 and the tone; this is its size, too."""
    height = 0.2
    report = judge(known(Recorded(PERIOD, height), dataset=noise), 400)
    assert isinstance(report.frames.aliasing, AliasingReport)
    at = report.frames.aliasing.at
    ratio = height**2 / 2 / (1 / 4 + height**2 / 2)
    assert at[PERIOD].spurs.difference == pytest.approx(ratio, rel=0.1)
    assert report.frames.found[0] == "spurs"
    for control in (PERIOD - 1, PERIOD + 1):
        assert not any((at[control].spurs.found, at[control].coherence.found))
    assert "spurs" not in judge(known(Recorded(PERIOD), dataset=noise), 400).frames.found
    assert isinstance(report.frames.denoiser, DenoiserReport)
    errors = [row.shift_error.value for row in report.frames.denoiser.times]
    assert min(errors) > 0.01
    assert max(row.whole_period for row in report.frames.denoiser.times) < 1e-9


def test_levels_and_spectrum_are_of_clamped_samples_beside_held_out_clips(noise: str) -> None:
    model = known(Recorded(), dataset=noise)
    model.info = cast(Any, Info((1, LENGTH), (-SCALE / 2.2, SCALE / 2.2), (), (), RATE, noise))
    samples = sample_sounds(model, DDIM(1), 40, {}, progress=False)
    report = judge(model, 40)
    over = samples.abs().amax((1, 2)) > 1
    assert 0 < report.clamped == int(over.sum()) < 40
    real = take(open_sounds(noise, "test", None, RATE, LENGTH / RATE), range(32))
    assert report.levels == measure_levels(samples.clamp(-1, 1), RATE)
    assert report.real_levels == measure_levels(real.x, RATE)
    assert report.spectrum == pytest.approx(spectral_distance(samples.clamp(-1, 1), real.x))
    halves = spectral_distance(real.x[::2], real.x[1::2])  # files are in the order of classes
    assert report.real_spectrum == pytest.approx(halves)
    assert report.spectrum > 2 * halves


def test_halves_hold_the_same_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clips whose class is the parity of their number, of which one is 40 dB louder."""
    labels = torch.arange(40) % 2
    x = 0.1 * torch.randn(40, 1, LENGTH) * 100.0 ** -labels[:, None, None]
    clips = Clips(x, labels, torch.full((40,), -1))
    monkeypatch.setattr(sounds, "take", lambda *_: clips)
    report = judge(known(Recorded()), 4)
    assert report.real_spectrum is not None
    assert report.real_spectrum < 5


def test_a_single_held_out_clip(tmp_path: Path) -> None:
    write_noise(tmp_path, 3)
    report = judge(known(Recorded(PERIOD), dataset=f"folder:{tmp_path}"))
    assert (report.count, report.real_count, report.real_spectrum) == (1, 1, None)
    assert "one alone" in report.as_text()
    assert "it takes 20 samples" in report.as_text()


def test_not_all_of_very_many_held_out_clips_are_taken(
    noise: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sounds, "MOST", 8)
    backbone = Recorded()
    report = judge(known(backbone, dataset=noise, labels=("a", "b")))
    assert (report.count, report.real_count) == (8, 8)
    assert backbone.asked["label"] == [0] * 6 + [1] * 2


def test_stereo_synthetic_sounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmdiff.metrics.frames.TIMES", (0.5,))
    torch.manual_seed(1)
    network = UNet(1, 2 * PERIOD, 2 * PERIOD, (8,), 1, conditions={"label": 20})
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    labels = open_sounds("synthetic", "test", None, RATE, LENGTH / RATE, 2).labels
    model = known(FrontEnd(Patch(PERIOD), network), shape=(2, LENGTH), labels=labels)
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
        judge(known(Recorded(height=math.inf), dataset=noise), 4)


def test_refuses_what_makes_no_sound_or_does_not_say() -> None:
    for about in ({"sample_rate": None}, {"shape": (1, 28, 28)}, {"shape": (3, 640)}):
        with pytest.raises(UserError, match="only models of mono or stereo sound"):
            judge(known(Recorded(), **about), 4)
    with pytest.raises(UserError, match="loaded from a checkpoint"):
        judge(Diffusion(Recorded(), Trigonometric(), "x0"), 4)


def test_data_that_cannot_be_found_name_the_cure(noise: str, tmp_path: Path) -> None:
    for dataset, told in (
        ("", "was trained on data without a name, which cannot be opened"),
        ("my own", "was trained on my own, which cannot be opened"),
        ("folder:gone", "there is no folder gone, which the model was trained on"),
    ):
        with pytest.raises(UserError, match=told) as caught:
            judge(known(Recorded(), dataset=dataset), 4)
        assert "--dataset folder:PATH" in str(caught.value)
        assert judge(known(Recorded(), dataset=dataset), 4, dataset=noise).dataset == noise
    with pytest.raises(UserError, match="gone does not exist"):
        judge(known(Recorded()), 4, dataset="folder:gone")
    with pytest.raises(UserError, match="has the label 'b', which the model does not know") as no:
        judge(known(Recorded(), dataset=noise, labels=("a",)), 4)
    assert "--dataset folder:PATH" in str(no.value)
