"""Artefacts of period p: planted ones are found at their size, and sound without any is let be."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom
from torch import Tensor

from mmdiff.audio.datasets import open_sounds
from mmdiff.metrics.aliasing import Artefacts, compare, evaluate_aliasing
from mmdiff.metrics.periodic import (
    PERIODS,
    Shared,
    cyclic_coherence,
    fold,
    phase_variance,
    spurs,
)

PERIOD = 8
STATISTICS = (spurs, phase_variance, cyclic_coherence)
Make = Callable[[int], Tensor]


def white(count: int, length: int = 512, channels: int = 1) -> Tensor:
    return torch.randn(count, channels, length, dtype=torch.float64)


def coloured(count: int, length: int = 512, pole: float = 0.9, channels: int = 1) -> Tensor:
    """Stationary AR(1) noise: x[n] = pole x[n - 1] + e[n], as a convolution long enough."""
    taps = pole ** torch.arange(100, -1, -1, dtype=torch.float64)
    noise = white(count * channels, length + 100)
    return torch.nn.functional.conv1d(noise, taps[None, None]).reshape(count, channels, length)


def words(count: int, length: int = 512) -> Tensor:
    """Coloured noise that begins at once, dies away within the clip, and is padded with zeros."""
    n = torch.arange(length)
    decay = 20 + 60 * torch.rand(count, 1, 1)
    level = 10 ** -torch.rand(count, 1, 1, dtype=torch.float64)
    return level * coloured(count, length) * (-n / decay).exp() * (n < 4 * decay)


def tones(count: int, length: int) -> Tensor:
    """Four sinusoids of random frequencies and phases in each clip, [count, 1, length]."""
    w, phase = math.pi * torch.rand(2, count, 4, 1, dtype=torch.float64)
    return torch.cos(w * torch.arange(length) + 2 * phase).sum(1, keepdim=True)


def gains(depth: float, length: int = 512, period: int = PERIOD) -> Tensor:
    return 1 + depth * torch.cos(2 * math.pi / period * torch.arange(length, dtype=torch.float64))


def mixed(x: Tensor, matrix: Tensor) -> Tensor:
    """Frames of x times a matrix, as a network of 1x1 convolutions on patches does."""
    return (x.unflatten(2, (-1, len(matrix))) @ matrix.T).flatten(2)


def matrix(strength: float, period: int = PERIOD) -> Tensor:
    noise = torch.randn(period, period, generator=torch.Generator().manual_seed(1))
    return torch.eye(period, dtype=torch.float64) + strength * noise.double()


def levels(count: int, length: int) -> Tensor:
    """White noise in clips that are up to 60 dB quieter than others."""
    return 1e-3 ** torch.rand(count, 1, 1, dtype=torch.float64) * white(count, length)


def soft_tones(count: int, length: int) -> Tensor:
    """With noise 40 dB below them."""
    return tones(count, length) + 0.014 * white(count, length)


@pytest.mark.parametrize("make", [levels, soft_tones])
@pytest.mark.parametrize("k", [1, 3, 4])
def test_finds_a_spur_of_60_db_to_1_db(make: Callable[[int, int], Tensor], k: int) -> None:
    x = make(100, 4410)
    amplitude = 1e-3 * math.sqrt(1 if 2 * k == PERIOD else 2) * x.square().mean().sqrt()
    spur = amplitude * torch.cos(2 * math.pi * k / PERIOD * torch.arange(4410))
    assert 10 * math.log10(spurs(x + spur, PERIOD).value) == pytest.approx(-60, abs=1)
    assert abs(spurs(x, PERIOD).value) < 1e-7
    assert abs(spurs(x + spur, PERIOD + 1).value) < 1e-7


def test_spurs_are_the_formula_where_nothing_else_is_there() -> None:
    """A sinusoid of amplitude a has a^2 / 2; opposite ones in two channels do not cancel."""
    offset = 0.3
    tone = torch.cos(2 * math.pi / PERIOD * torch.arange(803, dtype=torch.float64))
    x = (torch.stack((tone, -tone)) + offset).expand(3, 2, -1)
    power = x.square().mean().item()
    assert spurs(x, PERIOD).value == pytest.approx(0.5 / power, rel=1e-9)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    period=st.integers(5, 12),
    depth=st.floats(0, 1),
    extra=st.integers(0, 11),
    channels=st.integers(1, 2),
    level=st.sampled_from((1e-30, 1.0, 1e12)),
)
def test_phase_variance_is_its_closed_form(
    period: int, depth: float, extra: int, channels: int, level: float
) -> None:
    """White noise of the values -1 and 1: its squares have no variance, so that this is exact."""
    length = 20 * period + extra
    signs = torch.randint(2, (3, channels, length)).double() * 2 - 1
    found = phase_variance(level * signs * gains(depth, length, period), period)
    wanted = (2 * depth**2 + depth**4 / 8) / (1 + depth**2 / 2) ** 2
    assert found.value == pytest.approx(wanted, rel=1e-9, abs=1e-15)


def test_the_bias_that_is_taken_off_is_that_of_white_noise() -> None:
    """|mean|^2 of N clips is too large by the variance of one divided by N."""
    for statistic, factor, weighted in ((spurs, 1, 1.15), (phase_variance, 2, 1)):
        found = statistic(white(200), PERIOD)
        excess = (found.products.trace() - found.products.sum() / 200) / (200 * 199)
        bias = float(excess / found.scales.mean() ** found.order)
        wanted = weighted * factor * 1.5 * (1 - 1 / PERIOD) * PERIOD / (200 * 512)
        assert bias == pytest.approx(wanted, rel=0.12)


def test_fold_is_exact_on_what_has_the_period() -> None:
    cycle = torch.randn(PERIOD, dtype=torch.complex128)
    for blocks in (2, 5, 64):
        means = fold(cycle.repeat(blocks + 1)[: blocks * PERIOD + 3], PERIOD)
        torch.testing.assert_close(means, cycle, rtol=0, atol=1e-12)


@pytest.mark.parametrize("depth", [0.2, 0.8])
def test_coherence_of_white_noise_under_gains_is_their_phase_variance(depth: float) -> None:
    x = white(100, 2048) * gains(depth, 2048)
    wanted = (2 * depth**2 + depth**4 / 8) / (1 + depth**2 / 2) ** 2
    assert cyclic_coherence(x, PERIOD).value == pytest.approx(wanted, rel=0.08)


def test_coherence_of_mixing_is_that_of_the_covariance() -> None:
    """Coloured noise through a matrix in each frame, against spectra of its exact covariance."""
    period, pole, length = 4, 0.8, 1024
    a, size = matrix(0.3, period), PERIODS * period
    lags = (torch.arange(size)[:, None] - torch.arange(size)).abs()
    blocks = torch.block_diag(*[a] * PERIODS)
    n = 2 * math.pi / size * torch.arange(size, dtype=torch.float64)
    window = 0.35875 - 0.48829 * n.cos() + 0.14128 * (2 * n).cos() - 0.01168 * (3 * n).cos()
    transform = torch.polar(window, -torch.arange(size)[:, None] * n)
    covariance = (blocks @ pole ** lags.double() @ blocks.T).to(transform)
    cross = transform @ covariance @ transform.mH
    power = cross.diagonal().real
    rho = cross.abs().square() / (power[:, None] * power)
    f = [bin for bin in range(size) if bin % PERIODS in (1, 2, 3)]
    wanted = sum(
        rho[[(b + PERIODS * k) % size for b in f], f].mean().item() for k in range(1, period)
    )
    x = mixed(coloured(200, length, pole), a)
    assert cyclic_coherence(x, period).value == pytest.approx(wanted, rel=0.08)
    assert wanted > 0.1


PLANTED: dict[str, tuple[str, Make]] = {
    "spurs": ("spurs", lambda n: coloured(n) + 0.2 * (gains(1) - 1)),
    "gains": ("phase_variance", lambda n: coloured(n) * gains(0.3)),
    "images": ("coherence", lambda n: mixed(coloured(n), matrix(0.1))),
    "images in words": ("coherence", lambda n: mixed(words(n), matrix(0.1))),
    "spurs in stereo": ("spurs", lambda n: coloured(n, channels=2) + 0.2 * (gains(1) - 1)),
}


@pytest.mark.parametrize("name", PLANTED)
def test_what_is_planted_is_found_and_only_at_its_period(name: str) -> None:
    statistic, make = PLANTED[name]
    plain = words(60) if "words" in name else coloured(60)
    report = evaluate_aliasing(make(50), plain, PERIOD)
    assert list(report.at) == [PERIOD, PERIOD - 1, PERIOD + 1]
    one, *controls = (getattr(artefacts, statistic) for artefacts in report.at.values())
    assert one.found
    assert all(abs(control.difference) < one.difference / 4 for control in controls)
    assert one.low < one.difference < one.high
    assert one.difference == one.generated - one.real
    assert "found: " in report.as_text()


def within_chance(alarms: int, trials: int, rate: float = 0.05) -> bool:
    """As many as intervals of 95% may miss, with a probability of 0.999."""
    return alarms <= binom.ppf(0.999, trials, rate)


@pytest.mark.parametrize("make", [white, coloured, words])
def test_nothing_is_found_where_nothing_is(make: Make) -> None:
    trials = 32
    missed = torch.zeros(len(STATISTICS), dtype=torch.int64)
    for seed in range(trials):
        ours, theirs = make(24), make(40)
        for i, statistic in enumerate(STATISTICS):
            one = compare(statistic(ours, PERIOD), statistic(theirs, PERIOD), seed)
            missed[i] += not one.low <= 0 <= one.high
    assert all(within_chance(n, trials) for n in missed.tolist()), missed


def test_intervals_hold_the_truth_where_something_is() -> None:
    """About the power of a spur, and of gains, in noise."""
    trials, depth, amplitude = 32, 0.5, 0.3
    missed = torch.zeros(2, dtype=torch.int64)
    truths = (
        amplitude**2 / (2 + amplitude**2),
        (2 * depth**2 + depth**4 / 8) / (1 + depth**2 / 2) ** 2,
    )
    for seed in range(trials):
        x, plain = white(40), white(40)
        spur, gained = x + amplitude * (gains(1) - 1), x * gains(depth)
        for i, (statistic, planted) in enumerate(((spurs, spur), (phase_variance, gained))):
            one = compare(statistic(planted, PERIOD), statistic(plain, PERIOD), seed)
            missed[i] += not one.low <= truths[i] <= one.high
    assert all(within_chance(n, trials) for n in missed.tolist()), missed


def test_nothing_is_found_between_halves_of_real_speech(data_dir: Path) -> None:
    sounds = open_sounds("fsdd", "test", data_dir)
    x = torch.stack([sounds[i]["x"] for i in range(0, len(sounds), 2)])
    trials, period = 40, 64
    for statistic in STATISTICS:
        whole = statistic(x, period)
        missed = 0
        for seed in range(trials):
            ours, theirs = torch.randperm(len(whole.scales)).tensor_split(2)
            one = compare(part(whole, ours), part(whole, theirs), seed)
            missed += not one.low <= 0 <= one.high
        assert within_chance(missed, trials), (statistic.__name__, missed)


def part(whole: Shared, ids: Tensor) -> Shared:
    return Shared(whole.products[ids][:, ids], whole.scales[ids], whole.order)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 1000), level=st.sampled_from((1e-150, 1e-9, 1e6)))
def test_level_order_silence_and_a_doubled_channel_make_no_difference(
    seed: int, level: float
) -> None:
    torch.manual_seed(seed)
    x = words(6, 8 * PERIOD + seed % 50)
    louder = torch.cat((x.flip(0), torch.zeros_like(x[:2]))).repeat(1, 2, 1) * level
    for statistic in STATISTICS:
        wanted = statistic(x, PERIOD).value
        assert statistic(louder, PERIOD).value == pytest.approx(wanted, rel=1e-6, abs=1e-12)


def test_reports_are_json_and_repeat() -> None:
    x, y = coloured(10).float(), coloured(12, 600).float()
    report = evaluate_aliasing(x, y, PERIOD, seed=3)
    assert evaluate_aliasing(x, y, PERIOD, seed=3) == report
    stored = json.loads(json.dumps(report.as_dict()))
    assert (stored["count"], stored["real_count"], stored["period"]) == (10, 12, PERIOD)
    one = report.at[PERIOD + 1].coherence
    assert stored["at"][str(PERIOD + 1)]["coherence"]["high"] == one.high
    text = report.as_text()
    assert text.count("(control)") == 2
    assert all(text.count(field.name.replace("_", " ")) == 3 for field in fields(Artefacts))
    assert list(evaluate_aliasing(x, y, 2).at) == [2, 3]


def test_what_cannot_be_measured_is_refused() -> None:
    x = white(4)
    with pytest.raises(ValueError, match="period of 1 has nothing to measure"):
        evaluate_aliasing(x, x, 1)
    with pytest.raises(ValueError, match="period of 65 needs clips of at least 520 samples"):
        evaluate_aliasing(x, x, 64)
    with pytest.raises(ValueError, match="at least two"):
        evaluate_aliasing(x[:1], x, PERIOD)
    with pytest.raises(ValueError, match="at least two"):
        spurs(torch.zeros(3, 1, 512), PERIOD)
    with pytest.raises(ValueError, match="not finite"):
        phase_variance(x.index_fill(2, torch.tensor([7]), math.nan), PERIOD)
    with pytest.raises(ValueError, match=r"shape \[N, C, L\]"):
        cyclic_coherence(x[0], PERIOD)
