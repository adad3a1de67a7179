"""The speech judge: what it hears, that its file is refused unless whole, and that it can read."""

from __future__ import annotations

import math
from pathlib import Path

import librosa
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mmdiff.audio.datasets import open_sounds
from mmdiff.errors import UserError
from mmdiff.metrics import judge as digits
from mmdiff.metrics.batches import Batch, take
from mmdiff.metrics.frechet import frechet_distance
from mmdiff.metrics.judge import accuracy, run_judge, save_judge
from mmdiff.metrics.speech_judge import (
    BUNDLED,
    FFT,
    FLOOR,
    HOP,
    WINDOW,
    SpeechJudge,
    load_speech_judge,
)
from mmdiff.tensorfile import read

LENGTH = 5120


def clips(count: int, length: int = LENGTH) -> Tensor:
    """Noise that swells and fades."""
    t = torch.linspace(0, math.pi, length)
    return torch.randn(count, 1, length) * t.sin() * 0.2


def tone(frequency: float, length: int = LENGTH) -> Tensor:
    return torch.sin(2 * math.pi * frequency / 8000 * torch.arange(length))[None, None]


@pytest.fixture(scope="module")
def real(data_dir: Path) -> tuple[Batch, Batch]:
    """All test clips, and 300 training clips of the same digits and speakers."""
    test = take(open_sounds("fsdd", "test", data_dir))
    train = take(open_sounds("fsdd", "train", data_dir))
    kept = [
        index
        for digit in range(10)
        for speaker in range(6)
        for index in ((train["label"] == digit) & (train["speaker"] == speaker)).nonzero()[:5, 0]
    ]
    return test, {name: values[torch.stack(kept)] for name, values in train.items()}


def test_spectrogram_is_librosas() -> None:
    x = clips(3)
    power = librosa.feature.melspectrogram(
        y=x[:, 0].double().numpy(), sr=8000, n_fft=FFT, hop_length=HOP, win_length=WINDOW,
        pad_mode="constant", n_mels=40, fmin=40, fmax=4000, htk=True, norm=None,
    )  # fmt: skip
    loudest = np.max(np.sum(power, axis=1, keepdims=True), axis=2, keepdims=True)
    wanted = np.log10(power / loudest + 10 ** (-FLOOR / 10)) * 10 / FLOOR + 1
    found = SpeechJudge().spectrogram(x)
    assert found.shape == (3, 1, 40, 1 + LENGTH // HOP)
    np.testing.assert_allclose(found[:, 0].numpy(), wanted, atol=1e-4)


@settings(derandomize=True, deadline=None, max_examples=30)
@given(st.floats(-60, 60), st.booleans(), st.integers(0, 2**31))
def test_hears_neither_level_nor_sign(decibels: float, flip: bool, seed: int) -> None:
    x = torch.randn(1, 1, 1600, generator=torch.Generator().manual_seed(seed))
    gain = 10 ** (decibels / 20) * (-1 if flip else 1)
    judge = SpeechJudge()
    torch.testing.assert_close(judge.spectrogram(x * gain), judge.spectrogram(x), rtol=0, atol=1e-4)


def test_silence_around_a_word_changes_nothing_in_it() -> None:
    judge, x = SpeechJudge(), clips(2, 1600)
    alone, padded = judge.spectrogram(x), judge.spectrogram(F.pad(x, (10 * HOP, 7 * HOP)))
    torch.testing.assert_close(padded[..., 10:-7], alone, rtol=0, atol=1e-5)
    assert padded[..., :8].abs().max() < 1e-5
    assert padded[..., -5:].abs().max() < 1e-5


@pytest.mark.parametrize("frequency", [300.0, 1000.0, 3000.0])
def test_a_tone_is_in_its_band(frequency: float) -> None:
    """Bands are equally wide in mel between 40 and 4000 Hz."""
    low, here, high = (2595 * math.log10(1 + f / 700) for f in (40, frequency, 4000))
    loudest = SpeechJudge().spectrogram(tone(frequency))[0, 0].mean(1).argmax()
    assert abs(loudest - ((here - low) / (high - low) * 41 - 1)) <= 1


def test_silence_is_heard_as_nothing() -> None:
    judge = SpeechJudge().eval()
    assert judge.spectrogram(torch.zeros(1, 1, LENGTH)).abs().max() < 1e-6
    assert judge.features(torch.zeros(1, 1, LENGTH)).isfinite().all()


@pytest.mark.parametrize("length", [1024, 1025, 5120, 16001])
def test_reads_any_length(length: int) -> None:
    features, words, voices = run_judge(SpeechJudge().eval(), clips(2, length))
    assert (features.shape, words.shape, voices.shape) == ((2, 96), (2, 10), (2, 6))


def test_refuses_other_shapes() -> None:
    for shape in ((2, 1, 1023), (2, 2, 2048), (1, 2048)):
        with pytest.raises(ValueError, match="waveforms with L >= 1024"):
            SpeechJudge().features(torch.zeros(shape))


def test_batches_do_not_matter() -> None:
    judge, x = load_speech_judge(), clips(7)
    whole, parts = run_judge(judge, x), run_judge(judge, x, batch=3)
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_stored_judge_is_the_judge(tmp_path: Path) -> None:
    judge = SpeechJudge().eval()
    save_judge(judge, tmp_path / "a.safetensors", {})
    save_judge(load_speech_judge(tmp_path / "a.safetensors"), tmp_path / "b.safetensors", {})
    once, twice = (load_speech_judge(tmp_path / f"{name}.safetensors") for name in "ab")
    x = clips(2)
    for ours, first, second in zip(judge(x), once(x), twice(x), strict=True):
        torch.testing.assert_close(first, ours, rtol=1e-2, atol=1e-2)
        assert torch.equal(first, second)


def test_refuses_what_is_no_speech_judge(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        load_speech_judge(tmp_path / "none.safetensors")
    with pytest.raises(UserError, match="is no speech judge: recipes/speech_judge"):
        load_speech_judge(digits.BUNDLED)
    with pytest.raises(UserError, match="is no digit judge: recipes/digit_judge"):
        digits.load_judge(BUNDLED)
    other = SpeechJudge()
    other.speaker_head = torch.nn.Linear(96, 7)
    save_judge(other, tmp_path / "judge.safetensors", {})
    with pytest.raises(UserError, match="is no speech judge"):
        load_speech_judge(tmp_path / "judge.safetensors")


def test_bundled_file_is_small_and_says_what_it_is() -> None:
    assert BUNDLED.stat().st_size < 1_000_000
    assert not load_speech_judge().training
    _, header = read(BUNDLED)
    assert {"data", "licence", "command"} <= set(header)
    assert float(header["test_accuracy"]) >= 0.98
    assert float(header["test_speaker_accuracy"]) >= 0.95
    assert f"{float(header['test_accuracy']):.2%}" in BUNDLED.with_suffix(".md").read_text()


@pytest.mark.parametrize(("shift", "gain"), [(0, 1.0), (200, 0.02), (400, -1.0)])
def test_bundled_judge_reads_the_test_clips(
    real: tuple[Batch, Batch], shift: int, gain: float
) -> None:
    """As they are, and late, quiet or upside down."""
    test, _ = real
    x = F.pad(test["x"], (shift, 0))[..., :LENGTH] * gain
    _, words, voices = run_judge(load_speech_judge(), x)
    assert accuracy(words, test["label"]) >= 0.98
    assert accuracy(voices, test["speaker"]) >= 0.95


def test_frechet_distance_knows_speech(real: tuple[Batch, Batch]) -> None:
    """Real clips are nearest; harmed ones the farther the worse; other sounds far off."""
    test, train = real
    judge = load_speech_judge()
    wanted, _, _ = run_judge(judge, test["x"])

    def distance(x: Tensor) -> float:
        return frechet_distance(run_judge(judge, x)[0], wanted)

    floor = distance(train["x"])
    hiss = torch.randn(train["x"].shape) * train["x"].square().mean(2, keepdim=True).sqrt()
    assert 3 * floor < distance(train["x"] + hiss) < distance(hiss)
    assert 5 * floor < distance(train["x"].flip(2))
    assert 5 * floor < distance(train["x"][(train["label"] == 3).nonzero()[:, 0]])
