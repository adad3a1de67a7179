"""Log-mel frames: librosa's, in place, for sounds of any length."""

from __future__ import annotations

import math

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdiff.audio.mel import FLOOR, Mel

MEL = Mel(16000)


@pytest.mark.parametrize("mel", [MEL, Mel(22050, 40, 200, 800), Mel(48000, 128, 512, 2048)])
@pytest.mark.parametrize("length", [5000, 2048, 100])
def test_librosa_agrees(mel: Mel, length: int) -> None:
    x = (0.1 * torch.randn(length)).numpy()
    margin, frames = (mel.window - mel.hop) // 2, -(-len(x) // mel.hop)
    padded = np.pad(x, (margin, margin + frames * mel.hop - len(x)), "symmetric")
    power = librosa.feature.melspectrogram(
        y=padded, sr=mel.sample_rate, n_fft=mel.window, hop_length=mel.hop, n_mels=mel.bands,
        center=False,
    )  # fmt: skip
    theirs = np.log(np.maximum(power, 1e-8))
    np.testing.assert_allclose(mel.of(torch.from_numpy(x)).numpy(), theirs, atol=1e-3)
    filters = librosa.filters.mel(sr=mel.sample_rate, n_fft=mel.window, n_mels=mel.bands)
    np.testing.assert_allclose(mel.filters.numpy(), filters, atol=1e-6)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(length=st.integers(1, 3000), channels=st.integers(1, 3))
def test_a_frame_for_every_hop(length: int, channels: int) -> None:
    x = torch.randn(channels, length)
    frames = MEL.of(x)
    assert frames.shape == (channels, 80, math.ceil(length / 256))
    torch.testing.assert_close(frames[-1], MEL.of(x[-1]), atol=1e-4, rtol=0)


def test_frames_lie_in_the_middle_of_their_samples() -> None:
    """A click in the middle of a frame's is heard there, and before and after alike."""
    click = torch.zeros(20 * 256)
    click[7 * 256 + 128] = 1
    heard = MEL.of(click)
    assert heard.sum(0).argmax() == 7
    torch.testing.assert_close(heard[:, 6], heard[:, 8], atol=1e-3, rtol=0)


def test_silence_is_the_floor_and_ten_times_is_20_db() -> None:
    x = 0.01 * torch.randn(4000)
    assert MEL.of(0 * x).unique().tolist() == [pytest.approx(math.log(FLOOR))]
    torch.testing.assert_close(MEL.of(10 * x), MEL.of(x) + math.log(100), atol=1e-3, rtol=0)


def test_a_window_is_centred_on_its_hop() -> None:
    for window in (200, 1023):
        with pytest.raises(ValueError, match="cannot be centred"):
            Mel(16000, window=window)
