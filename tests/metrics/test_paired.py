"""Figures of pairs, held against closed forms, other implementations and speech."""

from __future__ import annotations

import math
from typing import Any

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mmdiff.errors import UserError
from mmdiff.metrics import paired

RATE = 16_000


def noise(seed: int, length: int = 8192) -> Tensor:
    """[1, length], white, zero on average."""
    x = torch.randn(1, length, generator=torch.Generator().manual_seed(seed)) * 0.1
    return x - x.mean()


@pytest.fixture
def voice() -> Tensor:
    """[1, 3 s]: harmonics of a falling pitch in syllables, loud enough to pass for speech."""
    time = torch.arange(3 * RATE).double() / RATE
    phase = 2 * math.pi * (140 * time - 10 * time.square())
    tone = sum(torch.sin(k * phase) / k for k in range(1, 25))
    return (0.1 * tone * torch.sin(2 * math.pi * 2 * time).clamp(min=0))[None].float()


@given(st.floats(-20, 40), st.floats(0.01, 100))
def test_si_sdr_is_the_ratio_of_what_is_added_whatever_the_gain(ratio: float, gain: float) -> None:
    true, other = noise(0).double(), noise(1).double()
    other -= (other * true).sum() / true.square().sum() * true  # at right angles
    other *= 10 ** (-ratio / 20) * true.norm() / other.norm()
    assert paired.si_sdr(gain * (true + other), true) == pytest.approx(ratio, abs=1e-6)


@given(st.floats(-40, 40))
def test_spectral_and_mel_distances_of_a_gain_are_its_decibels(decibels: float) -> None:
    x = noise(0).double()
    louder = x * 10 ** (decibels / 20)
    distance = paired.log_spectral_distance(louder, x, RATE)
    assert distance == pytest.approx(abs(decibels), abs=0.1)
    assert paired.log_mel_distance(louder, x, RATE) == pytest.approx(abs(decibels), abs=0.1)


def test_log_spectral_distance_is_that_of_librosas_spectra() -> None:
    y, s = noise(0), noise(1)
    powers = [
        np.abs(librosa.stft(x[0].double().numpy(), n_fft=2048, hop_length=512)) ** 2 for x in (y, s)
    ]
    gap = 10 * np.log10(powers[0] / powers[1])
    wanted = np.sqrt((gap**2).mean(0)).mean()
    assert paired.log_spectral_distance(y, s, RATE) == pytest.approx(wanted, rel=1e-3)


def test_spectral_distance_above_a_frequency_sees_nothing_below() -> None:
    time = torch.arange(RATE) / RATE
    low, high = (0.1 * torch.sin(2 * math.pi * f * time)[None] for f in (500, 6000))
    x = noise(0, RATE) + high
    assert paired.log_spectral_distance(x + low, x, RATE, above=4000) < 1
    assert paired.log_spectral_distance(x - high, x, RATE, above=4000) > 1


def test_those_who_judge_speech_find_nothing_wrong_with_the_truth(voice: Tensor) -> None:
    pytest.importorskip("pesq")
    pytest.importorskip("pystoi")
    pytest.importorskip("speechmos")
    worse = voice + 0.2 * noise(0, voice.shape[1])
    assert paired.pesq(voice, voice, RATE) == pytest.approx(4.644, abs=1e-3)
    assert paired.estoi(voice, voice, RATE) == pytest.approx(1, abs=1e-6)
    for judge in (paired.pesq, paired.estoi, paired.dnsmos):
        assert judge(worse, voice, RATE) < judge(voice, voice, RATE)


def test_judges_hear_any_rate_and_any_number_of_channels(voice: Tensor) -> None:
    pytest.importorskip("pesq")
    stereo = torch.cat([voice, voice]).repeat_interleave(2, 1)  # at 32 kHz, with images above 8 kHz
    assert paired.pesq(stereo, stereo, 2 * RATE) > 4.6


def test_silence_and_clips_without_speech_have_no_number() -> None:
    pytest.importorskip("pesq")
    pytest.importorskip("pystoi")
    silence, short = torch.zeros(1, RATE), noise(0, 1600)
    for judge in (paired.pesq, paired.estoi):
        assert math.isnan(judge(noise(0, RATE), silence, RATE))
        assert math.isnan(judge(short, short, RATE))
    assert math.isnan(paired.pesq(silence, noise(0, RATE), RATE))


def test_dnsmos_is_that_of_speechmos(voice: Tensor) -> None:
    pytest.importorskip("speechmos")
    long = voice.repeat(1, -(-10 * RATE // voice.shape[1]))[:, : 10 * RATE]
    wanted = paired.package("speechmos", "dnsmos").run(long[0].numpy(), RATE)["ovrl_mos"]
    assert paired.dnsmos(long, long, RATE) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize(
    ("heard", "errors"),
    [
        ("press 1, then two", 0),
        ("Press one then.", 1 / 4),
        ("press won then two too", 2 / 4),
        ("", 1),
    ],
)
def test_word_errors(heard: str, errors: float, monkeypatch: pytest.MonkeyPatch) -> None:
    class Whisper:
        def transcribe(self, x: Any, **how: Any) -> Any:
            return [type("Part", (), {"text": heard})], None

    monkeypatch.setattr(paired, "_whisper", Whisper)
    assert paired.word_errors(noise(0), "Press one, then 2!", RATE) == errors
    with pytest.raises(ValueError, match="one word"):
        paired.word_errors(noise(0), " ... ", RATE)


def test_the_mean_leaves_out_what_has_no_number_and_its_interval_is_the_normal_one() -> None:
    values = torch.randn(400, generator=torch.Generator().manual_seed(0)).double()
    found = paired.mean([*values.tolist(), math.nan])
    assert found.value == pytest.approx(float(values.mean()))
    half = 1.96 * float(values.std()) / 20
    assert found.high - found.value == pytest.approx(half, rel=0.2)
    assert found.value - found.low == pytest.approx(half, rel=0.2)
    assert all(map(math.isnan, paired.mean([math.nan])))


def test_a_missing_judge_is_one_sentence(monkeypatch: pytest.MonkeyPatch, voice: Tensor) -> None:
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(paired, "import_module", absent)
    with pytest.raises(UserError, match=r"^pesq is missing.*mmdiff\[speech\]"):
        paired.pesq(voice, voice, RATE)


def test_refuses_what_is_no_pair() -> None:
    for made in (noise(0, 100), noise(0)[0], torch.zeros(2, 8192)):
        with pytest.raises(ValueError, match=r"\[C, L\]"):
            paired.si_sdr(made, noise(1))
