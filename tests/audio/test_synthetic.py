"""Computed sounds against measurements that know nothing of how they are made."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from torch import Tensor

from mmdiff.audio.synthetic import BAND, DRUMS, LABELS, PITCHES, plucked_string, sound, synthetic

RATE, LENGTH = 22050, 33075
SEEDS = (1, 2, 3)


def spectrum(x: Tensor, rate: int = RATE, padded: int = 1) -> tuple[Tensor, Tensor]:
    """Frequencies in Hz and the power there; no window, for a clip begins and ends at 0."""
    power = torch.fft.rfft(x.double(), n=padded * len(x)).abs().square()
    return torch.fft.rfftfreq(padded * len(x), 1 / rate), power


def decibels(ratio: Tensor) -> float:
    return 10 * math.log10(float(ratio) + 1e-30)


def pitch(x: Tensor) -> float:
    """In Hz: the period from the autocorrelation, refined by the peak of the spectrum near it."""
    _, power = spectrum(x, padded=2)
    lags = torch.fft.irfft(power)
    among = lags[RATE // 1000 : RATE // 80]
    # The first peak that is nearly the highest: later ones are multiples of the period.
    peaks = (among[1:-1] > among[:-2]) & (among[1:-1] > among[2:]) & (among[1:-1] > lags[0] / 2)
    period = RATE // 1000 + 1 + int(peaks.nonzero()[0])
    f, power = spectrum(x * torch.hann_window(len(x)), padded=8)
    near = (f - RATE / period).abs() < 0.03 * RATE / period
    k = int(torch.where(near, power, 0).argmax())
    below, at, above = power[k - 1 : k + 2].log().tolist()
    return float(f[1]) * (k + (below - above) / (2 * (below - 2 * at + above)))


@pytest.mark.parametrize("name", PITCHES)
def test_every_string_is_in_tune(name: str) -> None:
    cents = [1200 * math.log2(pitch(sound(name, LENGTH, RATE, s)) / PITCHES[name]) for s in SEEDS]
    assert max(map(abs, cents)) < 10
    assert max(cents) - min(cents) > 0.5


def test_names_of_the_pitches() -> None:
    assert list(PITCHES) == [*(f"{n}{k}" for k in (3, 4) for n in "CDEFGAB"), "C5"]
    assert PITCHES["A4"] == 440
    assert PITCHES["A3"] == 220
    assert PITCHES["C4"] == pytest.approx(261.6256)


def test_the_measurement_of_pitch() -> None:
    """It finds what is put in, and tells a semitone and an octave from it."""
    t = torch.arange(LENGTH, dtype=torch.float64) / RATE
    for f in (131.3, 247.0, 523.25):
        tone = sum((2 * math.pi * n * f * t).sin() * n**-0.5 for n in range(1, 8))
        assert isinstance(tone, Tensor)
        assert pitch(tone * (-3 * t).exp()) == pytest.approx(f, rel=1e-4)


@pytest.mark.parametrize("name", ["C3", "A3", "C5"])
@pytest.mark.parametrize("seed", SEEDS)
def test_strings_decay_and_the_high_partials_first(name: str, seed: int) -> None:
    x = sound(name, LENGTH, RATE, seed)
    levels, tilts = [], []
    for part in x[: 4 * (LENGTH // 5)].chunk(4):
        f, power = spectrum(part * torch.hann_window(len(part)))
        levels.append(decibels(part.square().mean()))
        tilts.append(decibels(power[f > 1500].sum() / power[f < 1500].sum()))
    assert levels[0] > levels[1] > levels[2] > levels[3]
    assert levels[0] - levels[3] > 6
    assert tilts[0] > tilts[1] + 1


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 48000])
@pytest.mark.parametrize("label", ["C3", "B4", *DRUMS])
def test_nothing_above_the_band(label: str, rate: int) -> None:
    f, power = spectrum(sound(label, rate, rate, 5), rate, padded=2)
    assert decibels(power[f > BAND * rate].sum() / power.sum()) < -70


@pytest.mark.parametrize("label", ["C3", "B4", *DRUMS])
def test_one_seed_is_one_sound_at_every_rate(label: str) -> None:
    """At 8 kHz it is what 48 kHz has below the limit: nothing of what is above has folded."""
    coarse, fine = sound(label, 8000, 8000, 6), sound(label, 48000, 48000, 6)
    one, two = (torch.fft.rfft(x.double())[10:3100] for x in (coarse, fine))
    gain = (one.conj() * two).sum().real / one.abs().square().sum()
    error = (gain * one - two).abs().square().sum() / two.abs().square().sum()
    assert decibels(error) < -80


def test_form() -> None:
    waves, labels, names = synthetic(2 * len(LABELS) + 3, "train", 8000, 6000, 2)
    assert waves.shape == (len(labels), 2, 6000)
    assert (waves.dtype, labels.dtype) == (torch.float32, torch.int64)
    assert names == LABELS
    assert len(set(names)) == len(names)
    peaks = waves.abs().amax((1, 2))
    assert peaks.max() <= 0.95
    assert peaks.min() > 0.1
    assert peaks.std() > 0.05  # some are struck harder than others
    assert waves.mean(-1).abs().max() < 1e-6
    assert waves[..., [0, -1]].abs().max() < 1e-3
    counts = Counter(labels.tolist())
    assert set(counts) == set(range(len(names)))
    assert max(counts.values()) - min(counts.values()) <= 1


def test_each_sound_is_a_function_of_its_split_and_index() -> None:
    waves, labels, _ = synthetic(24, "train", 8000, 2000, 1)
    again, _, _ = synthetic(9, "train", 8000, 2000, 1)
    assert torch.equal(waves[:9], again)
    for i in (3, 20):
        assert torch.equal(waves[i, 0], sound(LABELS[int(labels[i])], 2000, 8000, 2 * i))
    other, _, _ = synthetic(24, "test", 8000, 2000, 1)
    together = torch.cat((waves, other)).flatten(1)
    similar = torch.corrcoef(together) - torch.eye(len(together))
    assert similar.abs().max() < 0.999
    assert len(synthetic(0, "test", 8000, 2000, 1)[0]) == 0


def test_two_channels_are_one_sound_at_a_place() -> None:
    pairs, _, _ = synthetic(20, "train", 8000, 2000, 2)
    mono, _, _ = synthetic(20, "train", 8000, 2000, 1)
    torch.testing.assert_close(pairs.square().sum(1), mono[:, 0].square(), rtol=1e-4, atol=1e-7)
    left, right = pairs.unbind(1)
    ratio = left.norm(dim=1) / right.norm(dim=1)
    torch.testing.assert_close(left, ratio[:, None] * right, rtol=1e-4, atol=1e-5)
    assert ratio.min() < 0.6
    assert ratio.max() > 1.7


def test_drums_are_told_apart_by_where_their_energy_is() -> None:
    """In frequency, and for the two hi-hats in time: by the nearest mean of other sounds."""

    def centroids(x: Tensor) -> Tensor:
        f, power = spectrum(x)
        energy, t = x.double().square(), torch.arange(len(x)) / RATE
        moments = (power * f).sum() / power.sum(), (energy * t).sum() / energy.sum()
        return torch.stack(moments).log2()

    means, held = [], []
    for drum in DRUMS:
        points = torch.stack([centroids(sound(drum, LENGTH // 3, RATE, s)) for s in range(12)])
        means.append(points[:6].mean(0))
        held.append(points[6:])
    found = torch.cdist(torch.cat(held), torch.stack(means)).argmin(1)
    wanted = torch.arange(len(DRUMS)).repeat_interleave(6)
    assert (found == wanted).double().mean() > 0.97


@pytest.mark.parametrize("samples", [1, 2, 3, 7, 331])
@pytest.mark.parametrize("rate", [4000, 192000])
def test_short_clips_and_extreme_rates(samples: int, rate: int) -> None:
    for label in ("C3", "C5", *DRUMS):
        x = sound(label, samples, rate, 1)
        assert x.shape == (samples,)
        assert x.abs().max() <= 0.95


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="unknown split 'dev'; known are train, test"):
        synthetic(1, "dev", 8000, 100, 1)
    for arguments in ((-1, 8000, 100, 1), (1, 3999, 100, 1), (1, 8000, 0, 1), (1, 8000, 100, 3)):
        with pytest.raises(ValueError, match="at least one sample"):
            synthetic(arguments[0], "train", *arguments[1:])
    for frequency in (0.0, -1.0, BAND * 8000, math.nan):
        with pytest.raises(ValueError, match="no string of"):
            plucked_string(frequency, 100, 8000, 1)
    with pytest.raises(ValueError, match="no string of"):
        plucked_string(18000.0, 100, 48000, 1)
