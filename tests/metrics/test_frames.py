"""Artefacts of a front end: planted ones are found at its period, and what cannot be is said."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from mmdiff.conditions import Class
from mmdiff.diffusion import Diffusion
from mmdiff.metrics.aliasing import AliasingReport, evaluate_aliasing
from mmdiff.metrics.equivariance import DenoiserReport, denoiser_artefacts
from mmdiff.metrics.frames import (
    FEWEST,
    PROBED,
    TIMES,
    FrameReport,
    Skipped,
    evaluate_frames,
)
from mmdiff.metrics.loudness import Levels
from mmdiff.metrics.speech import SpeechReport
from mmdiff.metrics.tails import Tail
from mmdiff.nn import FrontEnd, Patch, Raw, UNet
from mmdiff.schedules import Trigonometric

PERIOD = 6
LENGTH = 240


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Derivatives of a network are slow."""
    monkeypatch.setattr("mmdiff.metrics.frames.TIMES", (0.5,))


class Framed(nn.Module):
    """Predicts x0: half of the state, and a tone of PERIOD. It says that it has frames."""

    def __init__(self, factor: int = PERIOD, height: float = 0.0) -> None:
        super().__init__()
        self.height = nn.Parameter(torch.tensor(height))
        self.codec = cast(Any, SimpleNamespace(factor=factor))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        tone = torch.cos(2 * math.pi / PERIOD * torch.arange(x.shape[2], dtype=x.dtype))
        return x / 2 + self.height * tone


def model(backbone: nn.Module) -> Diffusion:
    return Diffusion(backbone, Trigonometric(), "x0")


def clips(count: int, seed: int, channels: int = 1, length: int = LENGTH) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.2 * torch.randn(count, channels, length, generator=generator)


def spur(length: int = LENGTH, height: float = 0.1) -> Tensor:
    return height * torch.cos(2 * math.pi / PERIOD * torch.arange(length))


def measure(
    samples: Tensor, real: Tensor, backbone: nn.Module | None = None, **settings: Any
) -> FrameReport:
    return evaluate_frames(model(backbone or Framed()), samples, real, {}, **settings)


@pytest.mark.parametrize("channels", [1, 2])
def test_a_spur_is_found_at_its_period_and_not_at_the_controls(channels: int) -> None:
    samples, real = clips(30, 0, channels), clips(40, 1, channels)
    report = measure(samples + spur(), real)
    assert isinstance(report.aliasing, AliasingReport)
    assert set(report.aliasing.at) == {PERIOD - 1, PERIOD, PERIOD + 1}
    assert report.aliasing.at[PERIOD].spurs.found
    for control in (PERIOD - 1, PERIOD + 1):
        at = report.aliasing.at[control]
        assert not any((at.spurs.found, at.phase_variance.found, at.coherence.found))
    assert "spurs" in report.found
    assert "more at a period of 6 than at the controls: spurs" in report.as_text()
    # At another period than the front end's it is none of its artefacts.
    other = measure(samples + spur(), real, Framed(PERIOD + 4))
    assert "spurs" not in other.found
    honest = measure(samples, real)
    assert honest.found == ()
    assert "than at the controls: nothing" in honest.as_text()


def test_what_leaks_to_the_controls_is_found_all_the_same() -> None:
    """Gains that strong leave a trace at all periods, and a hundred times as much at their own."""
    samples, gains = clips(200, 0), torch.linspace(0.02, 3, PERIOD).repeat(LENGTH // PERIOD)
    report = measure(gains * samples, clips(200, 1))
    assert isinstance(report.aliasing, AliasingReport)
    at = report.aliasing.at
    assert any(at[q].coherence.found for q in (PERIOD - 1, PERIOD + 1))
    assert set(report.found) >= {"phase variance", "coherence"}


def test_what_is_found_at_a_control_too_is_not_the_front_ends() -> None:
    """A step at the same place in all clips has every period."""
    samples = clips(30, 0) / 100
    samples[..., 100:103] += 0.5
    report = measure(samples, clips(30, 1))
    assert isinstance(report.aliasing, AliasingReport)
    assert all(at.coherence.found for at in report.aliasing.at.values())
    assert "coherence" not in report.found


def test_it_is_the_two_modules_reports() -> None:
    """On clamped samples, on 16 clips spread over the real ones, at the model's level."""
    torch.manual_seed(1)
    network = UNet(1, PERIOD, PERIOD, (8,), 1, conditions={"label": Class(3)})
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    behind = model(FrontEnd(Patch(PERIOD), network)).eval().requires_grad_(False)
    samples, real, labels = 3 * clips(25, 0), clips(32, 1), torch.arange(32) % 3
    report = evaluate_frames(behind, samples, real, {"label": labels}, 4.0, 5, 50)
    wanted = evaluate_aliasing(samples.clamp(-1, 1), real, PERIOD, 5)
    assert report.aliasing == wanted
    some = slice(1, None, 2)
    denoiser = denoiser_artefacts(
        behind, 4 * real[some], PERIOD, (0.5,), seed=5, batch=16, label=labels[some]
    )
    assert len(real[some]) == PROBED
    assert report.denoiser == denoiser
    stored = json.loads(json.dumps(report.as_dict()))
    assert set(stored) == {"aliasing", "denoiser"}
    assert stored["aliasing"]["at"]["6"]["spurs"]["low"] == wanted.at[6].spurs.low
    assert stored["denoiser"]["times"][0]["time"] == 0.5


def test_the_text_has_medians_over_frequencies_and_fits_a_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mmdiff.metrics.frames.TIMES", TIMES)
    report = measure(clips(30, 0), clips(30, 1), Framed(height=0.1))
    assert isinstance(report.denoiser, DenoiserReport)
    assert report.denoiser.times[0].shift_error.value > 0.1
    lines = report.as_text().splitlines()
    assert max(map(len, lines)) <= 100
    rows = [line.split() for line in lines if line.startswith("  t = ")]
    assert [row[2] for row in rows] == ["0.25", "0.5", "0.75"]
    for row, at in zip(rows, report.denoiser.times, strict=True):
        better = sorted(e.value for e in at.rejection[PERIOD])[3]
        assert row[3] == (f"{better:.1f}" if better < 120 else ">120")
        assert row[-4] == f"{at.shift_error.value:.1e}"
        assert row[4:6] == [">120", ">120"]


@pytest.mark.parametrize(
    ("backbone", "length", "reason"),
    [
        (FrontEnd(Raw(), UNet(1, 1, 1, (8,), 1)), LENGTH, "takes single samples"),
        (UNet(1, 1, 1, (8,), 1), LENGTH, "takes single samples"),
        (Framed(), 55, "for frames of 6 samples clips must have 56, not 55"),
        (Framed(64), LENGTH, "for frames of 64 samples clips must have 520, not 240"),
    ],
)
def test_networks_and_clips_without_periods_are_told_in_one_line(
    backbone: nn.Module, length: int, reason: str
) -> None:
    report = measure(clips(30, 0, length=length), clips(30, 1, length=length), backbone)
    assert report.aliasing == report.denoiser
    assert report.as_text().count("\n") == 0
    assert reason in report.as_text()
    assert report.found == ()
    assert all(reason in part["skipped"] for part in report.as_dict().values())


def test_the_shortest_clips_that_will_do() -> None:
    report = measure(clips(30, 0, length=56), clips(30, 1, length=56))
    assert isinstance(report.aliasing, AliasingReport)
    assert isinstance(report.denoiser, DenoiserReport)


@pytest.mark.parametrize(("samples", "real"), [(FEWEST - 1, FEWEST), (FEWEST, FEWEST - 1)])
def test_too_few_clips_are_told_in_one_line(samples: int, real: int) -> None:
    report = measure(clips(samples, 0), clips(real, 1))
    assert isinstance(report.aliasing, Skipped)
    assert isinstance(report.denoiser, DenoiserReport)
    told = f"not measured: it takes 20 samples and as many held-out clips, not {samples} and {real}"
    assert told in report.as_text().splitlines()[1]


def test_one_clip_and_silence_are_told() -> None:
    report = measure(clips(FEWEST, 0), clips(1, 1))
    assert report.denoiser == Skipped("it takes 2 held-out clips, not 1.")
    report = measure(torch.zeros(FEWEST, 1, LENGTH), clips(FEWEST, 1))
    assert isinstance(report.aliasing, Skipped)
    assert "not silent" in report.aliasing.reason
    mute = Framed()
    mute.forward = lambda x, t: 0 * x  # type: ignore[method-assign]
    report = measure(clips(FEWEST, 0), clips(FEWEST, 1), mute)
    assert isinstance(report.denoiser, Skipped)
    assert "does not answer" in report.denoiser.reason
    assert "in the network: not measured" in report.as_text()


def test_a_code_has_the_frames_of_both_codecs_and_its_network_is_let_be() -> None:
    """Which denoises no sound."""
    around = Diffusion(Framed(3), Trigonometric(), "x0", codec=Patch(2))
    report = evaluate_frames(around, clips(30, 0) + spur(), clips(30, 1), {})
    assert report.period == PERIOD
    assert "spurs" in report.found
    assert report.denoiser == Skipped("the network denoises a code, and not the sound itself.")


def test_long_frames_take_fewer_clips_than_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory that it takes grows with clips times the square of the period."""
    monkeypatch.setattr("mmdiff.metrics.frames._ROOM", 25 * PERIOD**2)
    report = measure(clips(50, 0), clips(22, 1))
    assert isinstance(report.aliasing, AliasingReport)
    assert (report.aliasing.count, report.aliasing.real_count) == (25, 22)
    monkeypatch.setattr("mmdiff.metrics.frames._ROOM", FEWEST * PERIOD**2 - 1)
    report = measure(clips(50, 0), clips(22, 1))
    assert report.aliasing == Skipped("frames of 6 samples would take too much memory.")


def test_refuses_samples_that_are_not_finite() -> None:
    for backbone in (Framed(), UNet(1, 1, 1, (8,), 1)):
        with pytest.raises(ValueError, match="not finite"):
            measure(clips(30, 0) * torch.nan, clips(30, 1), backbone)


def test_a_report_on_speech_ends_with_it() -> None:
    frames = measure(clips(30, 0), clips(30, 1))
    levels, tail = Levels((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)), Tail(-40.0, -60.0, None)
    plain = SpeechReport(9, None, 2.0, 1.0, None, 0, None, 1.0, 1.0, levels, levels, tail, tail)
    whole = replace(plain, frames=frames)
    assert whole.as_text() == f"{plain.as_text()}\n\n{frames.as_text()}"
    assert whole.as_dict() == {**plain.as_dict(), **frames.as_dict()}
    assert not {"aliasing", "denoiser", "frames"} & set(plain.as_dict())
