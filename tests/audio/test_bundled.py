"""The bundled models of sound from sound do their work, on a noisy recording of a voice."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import mmdiff
from mmdiff.audio import sound
from mmdiff.audio.convert import stream
from mmdiff.audio.recording import Recording
from mmdiff.checkpoints import ZOO
from mmdiff.metrics.paired import log_mel_distance, log_spectral_distance

NOISY = Path(__file__).parents[2] / "docs" / "noisy.wav"
RATE = 16_000


@pytest.fixture(scope="module")
def noisy() -> Tensor:
    x, rate = sound.read(NOISY)
    assert rate == RATE
    return x[:, : 4 * RATE]


def decibels(x: Tensor) -> float:
    return float(10 * x.square().mean().log10())


def test_all_together_are_small() -> None:
    assert sum(path.stat().st_size for path in ZOO.glob("*.safetensors")) <= 40e6


def test_the_enhancer_takes_the_noise_and_leaves_the_voice(noisy: Tensor) -> None:
    clean = mmdiff.audio.enhance(noisy, RATE)
    pause, voice = slice(RATE // 20, RATE // 5), slice(RATE // 2, 3 * RATE)
    assert decibels(noisy[:, pause]) - decibels(clean[:, pause]) > 20
    assert abs(decibels(noisy[:, voice]) - decibels(clean[:, voice])) < 3


def test_the_upsampler_makes_what_is_missing_and_keeps_what_is_not(noisy: Tensor) -> None:
    clean = mmdiff.audio.enhance(noisy, RATE)
    low = sound.resample(clean, RATE, RATE // 2)
    wide = mmdiff.audio.upsample(low, RATE // 2)
    narrow = sound.resample(low, RATE // 2, RATE)
    made, missing = (log_spectral_distance(x, clean, RATE, above=4000.0) for x in (wide, narrow))
    assert made < 0.85 * missing
    known = round(3500 / RATE * wide.shape[1])
    spectra = (torch.fft.rfft(x)[:, :known] for x in (wide, narrow))
    torch.testing.assert_close(*spectra, atol=0.05, rtol=0.02)


def test_the_vocoder_speaks_what_it_is_told(noisy: Tensor) -> None:
    clean = mmdiff.audio.enhance(noisy, RATE)
    again = mmdiff.audio.vocode(clean, RATE)
    assert log_mel_distance(again, clean, RATE) < 1.5


@pytest.mark.parametrize(
    ("name", "task"), [("enhancer", "enhance"), ("upsampler", "upsample"), ("vocoder", "vocode")]
)
def test_windows_make_what_the_whole_makes(noisy: Tensor, name: str, task: str) -> None:
    """Within -60 dB, phases that are searched for too."""
    model = mmdiff.load(name)
    x = noisy.repeat(1, 5)
    source = model.info.task.mel.of(x) if task == "vocode" else Recording.of(x, RATE)
    parts = list(stream(task, source, model, margins=3).parts)
    whole = stream(task, source, model, margins=1000).whole()
    assert len(parts) > 2
    assert decibels(torch.cat(parts, 1) - whole) < decibels(whole) - 60
