"""What is left after a word: tones, noise and silence, whose figures are known beforehand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mmdiff.metrics.tails import silent_tail

RATE, LENGTH = 8000, 2000


def hum(frequency: float, amplitude: float) -> Tensor:
    """All harmonics of a frequency, of one amplitude each."""
    k = torch.arange(1, math.ceil(RATE / 2 / frequency))[:, None]
    return amplitude * torch.cos(2 * math.pi * k * frequency / RATE * torch.arange(LENGTH)).sum(0)


def noise(count: int, level: float) -> Tensor:
    return torch.randn(count, 1, LENGTH) * 10 ** (level / 20)


def test_silence_is_noise_of_60_db_below_full_scale() -> None:
    x = torch.zeros(5, 1, LENGTH)
    x[..., : LENGTH - 800] = 0.9
    assert silent_tail(x, RATE, 500.0).median == pytest.approx(-60)
    assert silent_tail(x, RATE, 500.0).hum == pytest.approx(0, abs=1e-9)
    assert silent_tail(x, RATE).hum is None
    x[..., -800] = 0.9
    assert silent_tail(x, RATE).mean == pytest.approx(20 * math.log10(0.9) - 10 * math.log10(800))


def test_a_word_that_goes_on_counts_in_the_mean_alone() -> None:
    """One of ten clips at -20 dB, the others silent."""
    x = torch.zeros(10, 1, LENGTH)
    x[3] = 0.1 * (-1) ** torch.arange(LENGTH)
    tail = silent_tail(x, RATE)
    assert (tail.mean, tail.median) == pytest.approx((-30, -60))


@pytest.mark.parametrize("frequency", [250.0, 500.0, RATE / 12, 1000.0])
@pytest.mark.parametrize("level", [-50.0, -40.0])
def test_a_hum_is_its_height_above_the_noise(frequency: float, level: float) -> None:
    """Hann's window raises a tone of amplitude a above white noise s by a^2 n / 6 s^2."""
    amplitude = 0.01
    tail = silent_tail(noise(400, level) + hum(frequency, amplitude), RATE, frequency)
    wanted = 10 * math.log10(1 + amplitude**2 * 800 / 6 / (10 ** (level / 10) + 1e-6))
    assert tail.hum == pytest.approx(wanted, abs=1.5)


def test_a_hum_in_all_clips_shows_where_the_mean_hides_it() -> None:
    """Three words that go on, 30 dB above a hum that the others have."""
    x = noise(30, -80.0) + hum(500.0, 1e-3)
    x[:3] += 0.1 * torch.randn(3, 1, LENGTH)
    clean = x - hum(500.0, 1e-3)
    tail, quiet = silent_tail(x, RATE, 500.0), silent_tail(clean, RATE, 500.0)
    assert tail.mean == pytest.approx(quiet.mean, abs=0.1)
    assert tail.median > quiet.median + 5
    assert tail.hum is not None
    assert tail.hum > 10 > 1 > abs(quiet.hum or 0)
    other = silent_tail(x, RATE, 530.0).hum
    assert other is not None
    assert other < 1


@pytest.mark.parametrize("grid", [RATE / 2, 40.0, 5.0])
def test_frequencies_with_nothing_between_have_no_hum(grid: float) -> None:
    assert silent_tail(noise(3, -20.0), RATE, grid).hum is None


def test_text_is_of_one_width() -> None:
    tail = silent_tail(torch.zeros(3, 2, LENGTH), RATE, 500.0)
    assert tail.as_text() == "mean -120.0  median  -60.0  hum   0.0"
    assert "hum" not in silent_tail(torch.zeros(3, 2, LENGTH), RATE).as_text()


def test_refuses_clips_without_a_tail() -> None:
    for x in (torch.zeros(3, 1, 799), torch.zeros(0, 1, LENGTH), torch.zeros(3, LENGTH)):
        with pytest.raises(ValueError, match="at least 800 samples"):
            silent_tail(x, RATE)
