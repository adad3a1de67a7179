"""Damage: as much as was asked for, in place, and the same again at the same visit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from mmdiff.audio.degradations import (
    Chain,
    Clipped,
    Compressed,
    Degradation,
    LowBand,
    Noise,
    Room,
    Sometimes,
    everyday,
)
from mmdiff.audio.levels import active_level
from mmdiff.audio.noises import COLOURS, Coloured, Recorded
from mmdiff.errors import UserError

RATE = 16000
WHITE = Coloured("white", RATE)
KINDS: list[Degradation] = [
    *(Noise(RATE, (Coloured(colour, RATE),), (0.0, 10.0)) for colour in COLOURS),
    Room(RATE),
    Clipped(),
    Compressed(RATE),
    everyday(RATE),
]


def voice(channels: int = 1, length: int = RATE) -> Tensor:
    """Bursts of dull noise between pauses."""
    x = F.avg_pool1d(torch.randn(channels, length + 15), 16, 1)
    on = torch.arange(length) // 3200 % 2 == 0
    return 0.5 * x * on / x.abs().max()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: type(kind).__name__)
def test_all_that_is_random_hangs_on_seed_index_and_visit(kind: Degradation) -> None:
    x = voice(2)
    first = kind(x, 3, 5, 7)
    assert first.shape == x.shape
    assert torch.equal(kind(x, 3, 5, 7), first)
    for other in ((4, 5, 7), (3, 6, 7), (3, 5, 8)):
        assert not torch.equal(kind(x, *other), first)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(length=st.integers(1, 3000), channels=st.integers(1, 3), silent=st.booleans())
def test_any_length_stays_and_silence_too(length: int, channels: int, silent: bool) -> None:
    x = torch.zeros(channels, length) if silent else voice(channels, length)
    for kind in (*KINDS, LowBand(RATE, 8000)):
        y = kind(x, 0, 1, 2)
        assert y.shape == x.shape
        assert y.dtype == torch.float32
        assert y.isfinite().all()
        assert not silent or y.abs().max() < 1e-4


# --- noise


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("snr", [-5.0, 0.0, 15.0])
def test_noise_is_as_far_below_the_voice_as_asked(colour: str, snr: float) -> None:
    x = voice(2)
    added = Noise(RATE, (Coloured(colour, RATE),), (snr, snr))(x, 0, 0, 0) - x  # type: ignore[arg-type]
    spoken = x[:, torch.arange(RATE) // 3200 % 2 == 0].square().mean().sqrt()
    assert active_level(x, RATE) == pytest.approx(float(spoken), rel=1e-5)
    measured = 20 * math.log10(active_level(x, RATE) / float(added.square().mean().sqrt()))
    assert measured == pytest.approx(snr, abs=0.01)


def test_a_steady_sound_is_active_throughout() -> None:
    x = torch.randn(2, 12_345)
    assert active_level(x, RATE) == pytest.approx(float(x.square().mean().sqrt()), rel=1e-5)


@pytest.mark.parametrize(("colour", "slope"), [("white", 0.0), ("pink", -1.0), ("brown", -2.0)])
def test_colours_fall_as_they_should(colour: str, slope: float) -> None:
    """Power in octaves from 125 Hz on: it doubles with the width of the band."""
    x = Coloured(colour, RATE)((1, 8 * RATE), 0, 0, 0)  # type: ignore[arg-type]
    power = torch.fft.rfft(x[0]).abs().square()
    octaves = [power[8 * f : 16 * f].sum().log2() for f in (125, 250, 500, 1000, 2000, 4000)]
    torch.testing.assert_close(
        torch.stack(octaves).diff(), torch.full((5,), slope + 1), atol=0.15, rtol=0
    )


def test_recorded_noise_is_any_part_of_any_file(tmp_path: Path) -> None:
    """Each value tells where it is from, how they rise the speed; a short file comes again."""
    for name, start in (("train/a", 0.1), ("train/b", 0.5), ("test/c", 0.9)):
        path = tmp_path / f"{name}.wav"
        path.parent.mkdir(exist_ok=True)
        ramp = start + torch.arange(3000) / 100_000
        soundfile.write(path, ramp.numpy(), RATE, subtype="FLOAT")
    noises = Recorded.open(tmp_path, "train", RATE, 1)
    cuts = [noises((1, 1000), 0, index, 0)[0] for index in range(60)]
    speeds = torch.stack([cut[100:-100].diff().median() for cut in cuts]) / 1e-5
    assert 0.69 < speeds.min() < 0.8 < 1.2 < speeds.max() < 1.41
    middles = torch.stack([cut.median() for cut in cuts])
    assert 0.103 < middles.min() < 0.11 < 0.5 < middles.max() < 0.53
    long = noises((2, 7000), 0, 0, 0)
    periods = (round(3000 * 100 / percent) for percent in range(70, 141))
    assert any(torch.equal(long[:, period:], long[:, :-period]) for period in periods)
    moved = Recorded.open(tmp_path.rename(tmp_path.with_name("moved")), "train", RATE, 1)
    assert (
        repr(moved)
        == repr(noises)
        != repr(Recorded.open(tmp_path.with_name("moved"), "test", RATE, 1))
    )
    with pytest.raises(UserError, match="nowhere does not exist"):
        Recorded.open(tmp_path / "nowhere", "train", RATE, 1)


# --- rooms


@pytest.mark.parametrize("rt60", [0.2, 0.5, 1.0])
def test_a_room_dies_away_in_its_time(rt60: float) -> None:
    """By Schroeder's integral (1965), from -5 to -25 dB, for each channel."""
    room = Room(RATE, (rt60, rt60), (0.0, 0.0))
    for response in room.response(2, 0, 1, 2):
        left = response[1:].square().flip(0).cumsum(0).flip(0)
        decay = 10 * (left / left[0]).log10()
        start, end = (int((decay > level).sum()) for level in (-5, -25))
        assert 3 * (end - start) / RATE == pytest.approx(rt60, rel=0.1)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(direct=st.floats(-5, 15), seed=st.integers(0, 99))
def test_the_direct_sound_comes_first_and_whole(direct: float, seed: int) -> None:
    room = Room(RATE, (0.3, 0.3), (direct, direct))
    response = room.response(2, seed, 0, 0)
    assert torch.equal(response[:, 0], torch.ones(2))
    assert response[:, 1 : int(0.002 * RATE)].eq(0).all()
    energy = 10 * response[:, 1:].square().sum(1).log10()
    torch.testing.assert_close(energy, torch.full((2,), -direct), atol=1e-3, rtol=0)
    click = F.pad(torch.ones(2, 1), (100, 8000))
    torch.testing.assert_close(
        room(click, seed, 0, 0)[:, 100:][:, : response.shape[1]], response, atol=1e-5, rtol=0
    )


# --- microphones and files


def test_what_is_clipped_is_as_it_was_up_to_the_limit() -> None:
    x = voice()
    y = Clipped((6.0, 6.0))(x, 0, 0, 0)
    assert float(y.abs().max() / x.abs().max()) == pytest.approx(10**-0.3)
    below = x.abs() <= y.abs().max()
    assert torch.equal(y[below], x[below])


@pytest.mark.parametrize("rate", [8000, RATE, 48000])
@pytest.mark.parametrize("quality", [0.0, 0.5, 0.95])
def test_an_mp3_stays_in_place_and_in_level(rate: int, quality: float) -> None:
    x = 4 * voice(2, 10_000)  # beyond full scale
    y = Compressed(rate, (quality, quality))(x, 0, 0, 0)
    together = torch.fft.irfft(torch.fft.rfft(y, 32768) * torch.fft.rfft(x, 32768).conj())
    assert together.argmax(1).tolist() == [0, 0]
    assert active_level(y, rate) == pytest.approx(active_level(x, rate), rel=0.05)
    assert not torch.equal(x, y)


def test_mp3_knows_few_rates() -> None:
    with pytest.raises(ValueError, match=r"no sample rate of 17,000 Hz, only 8,000"):
        Compressed(17000)


@pytest.mark.parametrize("rate", [8000, 11025])
def test_a_low_band_ends_at_half_its_rate(rate: int) -> None:
    def tone(hertz: float) -> Tensor:
        return (2 * math.pi * hertz / RATE * torch.arange(RATE).double()).sin().float()[None]

    kept, gone = tone(0.4 * rate), tone(0.55 * rate)
    y = LowBand(RATE, rate)(kept + gone, 0, 0, 0)
    torch.testing.assert_close(y[:, 500:-500], kept[:, 500:-500], atol=1e-3, rtol=0)


# --- compositions


class Told:
    """Does nothing but tell its name and its seed."""

    def __init__(self, name: str, said: list[tuple[str, int]]) -> None:
        self.name, self.said = name, said

    def __call__(self, x: Tensor, seed: int, index: int, visit: int) -> Tensor:
        self.said.append((self.name, seed))
        return x


def orders(visits: Sequence[int]) -> list[str]:
    said: list[tuple[str, int]] = []
    chain = Chain(tuple(Told(name, said) for name in "abc"))
    for visit in visits:
        chain(torch.zeros(1, 1), 0, 0, visit)
    assert len({seed for _, seed in said}) == 3  # each part draws what no other does
    names = "".join(name for name, _ in said)
    return [names[at : at + 3] for at in range(0, len(names), 3)]


def test_a_chain_has_all_orders() -> None:
    drawn = orders(range(600))
    counts = {order: drawn.count(order) for order in set(drawn)}
    assert sorted(counts) == ["abc", "acb", "bac", "bca", "cab", "cba"]
    assert all(60 < count < 140 for count in counts.values())  # 100 +- 4.4 deviations
    assert orders(range(50)) == drawn[:50]


def test_sometimes_is_as_often_as_asked() -> None:
    said: list[tuple[str, int]] = []
    part = Sometimes(0.3, Told("a", said))
    for index in range(1000):
        part(torch.zeros(1, 1), 0, index, 0)
    assert len(said) == pytest.approx(300, abs=60)
