"""The prior of a vocoder: what the mel frames of a sound expect of its MDCT coefficients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdiff.audio.mel import Mel
from mmdiff.audio.priorgrad import PriorGrad
from mmdiff.nn import MDCT

MEL = Mel(16_000)


@pytest.mark.parametrize("bands", [32, 64, 256])
@pytest.mark.parametrize("slope", [0.0, 0.5])
def test_stationary_noise_becomes_white(bands: int, slope: float) -> None:
    """Of any smooth spectrum, at any level: the expected size of a coefficient is its size."""
    white = torch.randn(4, 1 << 15, generator=torch.manual_seed(0))
    f = torch.fft.rfftfreq(white.shape[1]).clamp(min=0.01)
    x = 0.01 * torch.fft.irfft(torch.fft.rfft(white) * f**-slope)[:, None]
    z = PriorGrad(MDCT(bands), MEL).encode(x, MEL.of(x[:, 0]))
    deviation = z.square().mean((0, 2)).sqrt()
    assert (deviation[1:] / 1 - 1).abs().mean() < 0.06
    assert deviation[1:].min() > 0.8
    assert deviation[1:].max() < 1.2


@settings(max_examples=10, deadline=None)
@given(length=st.integers(1, 3000), channels=st.integers(1, 2))
def test_any_length_comes_back(length: int, channels: int) -> None:
    x = 0.1 * torch.randn(2, channels, length, generator=torch.manual_seed(length))
    mel = MEL.of(x).flatten(1, 2)
    codec = PriorGrad(MDCT(32), MEL)
    z = codec.encode(x, mel)
    assert z.shape[1] == codec.channels(channels)
    torch.testing.assert_close(codec.decode(z, (length,), mel), x, atol=1e-5, rtol=0)
