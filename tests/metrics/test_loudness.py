"""Loudness, held against the tables of its standard and tones whose loudness is agreed."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torchaudio.functional import lfilter
from torchaudio.functional import loudness as peer

from mmdiff.metrics.loudness import k_weighting, loudness, measure_levels


def tone(decibels: float, seconds: float, sample_rate: int, frequency: float = 997) -> Tensor:
    """[1, 1, L]: a sine whose peak is `decibels` relative to full scale."""
    t = torch.arange(round(seconds * sample_rate), dtype=torch.float64) / sample_rate
    return (10 ** (decibels / 20) * torch.sin(2 * math.pi * frequency * t))[None, None]


def test_filters_are_the_tables_of_the_standard_at_48_khz() -> None:
    """ITU-R BS.1770-4, tables 1 and 2."""
    (shelf_b, shelf_a), (pass_b, pass_a) = k_weighting(48_000)
    for found, printed in (
        (shelf_b, (1.53512485958697, -2.69169618940638, 1.19839281085285)),
        (shelf_a, (1, -1.69065929318241, 0.73248077421585)),
        (pass_b, (1, -2, 1)),
        (pass_a, (1, -1.99004745483398, 0.99007225036621)),
    ):
        wanted = torch.tensor(printed, dtype=torch.float64)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-11)


@pytest.mark.parametrize("sample_rate", [8_000, 22_050, 44_100, 48_000])
def test_a_tone_of_997_hz_has_the_loudness_that_the_standard_gives_it(sample_rate: int) -> None:
    """At full scale on one channel -3.01 LUFS; at -23 dB on both -23 LUFS."""
    assert loudness(tone(0, 3, sample_rate), sample_rate).item() == pytest.approx(-3.01, abs=0.05)
    both = tone(-23, 3, sample_rate).expand(1, 2, -1)
    assert loudness(both, sample_rate).item() == pytest.approx(-23, abs=0.05)


def test_pauses_and_quiet_parts_are_gated() -> None:
    """EBU Tech 3341, case 3: -36, -23, -36 dB for 10, 60, 10 s is -23; silence counts no more."""
    loud, quiet = tone(-23, 60, 8_000), tone(-36, 10, 8_000)
    whole = torch.cat([quiet, loud, quiet, torch.zeros(1, 1, 8_000)], dim=2).expand(1, 2, -1)
    assert loudness(whole, 8_000).item() == pytest.approx(-23, abs=0.1)


def test_follows_gain_exactly_and_beyond_full_scale() -> None:
    x = torch.randn(3, 2, 8_000, dtype=torch.float64)
    for decibels in (-40, 12):
        louder = loudness(x * 10 ** (decibels / 20), 8_000)
        torch.testing.assert_close(louder, loudness(x, 8_000) + decibels, rtol=0, atol=1e-9)


def test_agrees_with_torchaudio_where_that_does_not_clamp() -> None:
    """Its filters have slightly other corners."""
    x = torch.randn(4, 1, 48_000, dtype=torch.float64) * 0.02
    assert lfilter(x, *k_weighting(48_000)[0][::-1]).abs().max() < 1
    wanted = torch.stack([peer(clip, 48_000) for clip in x])
    torch.testing.assert_close(loudness(x, 48_000), wanted, rtol=0, atol=0.25)


def test_silence_and_short_clips() -> None:
    assert loudness(torch.zeros(2, 1, 100), 8_000).tolist() == [-70, -70]
    short = tone(-10, 0.2, 8_000)
    padded = torch.cat([short, torch.zeros(1, 1, 1_600)], dim=2)
    assert loudness(short, 8_000) == loudness(padded, 8_000)


def test_levels_are_quantiles() -> None:
    x = tone(0, 1, 8_000) * torch.linspace(0, 0.8, 101)[:, None, None]
    levels = measure_levels(x, 8_000)
    assert levels.peak == pytest.approx([0.04, 0.4, 0.76], abs=1e-3)
    assert levels.loudness[1] == pytest.approx(-3.01 + 20 * math.log10(0.4), abs=0.05)
    assert measure_levels(-x, 8_000) == levels


def test_refuses_other_shapes() -> None:
    for shape in ((4, 800), (1, 3, 800), (1, 1, 0)):
        with pytest.raises(ValueError, match="mono or stereo"):
            loudness(torch.zeros(shape), 8_000)
