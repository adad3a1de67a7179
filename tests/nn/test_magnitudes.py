"""Magnitudes as a code: what the search for phases finds, and what it leaves alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mmdiff.audio.mel import Mel
from mmdiff.audio.mel_magnitudes import MelMagnitudes
from mmdiff.nn import STFT, Magnitudes

RATE = 16_000


def glide(length: int = RATE, seed: int = 0) -> Tensor:
    """[1, 1, L]: a sound with harmonics that rise, as a voice has, and a little noise."""
    time = torch.arange(length, dtype=torch.float64) / RATE
    phase = 2 * torch.pi * (120 * time + 40 * time.square())
    tone = torch.stack([(k * phase).sin() / k for k in range(1, 30)]).sum(0)
    noise = torch.randn(length, generator=torch.manual_seed(seed), dtype=torch.float64)
    return (0.1 * tone + 0.002 * noise).float()[None, None]


def distance(codec: Magnitudes, x: Tensor, y: Tensor) -> float:
    """In dB: how far magnitudes differ, of how large they are."""
    a, b = (codec.encode(v).exp() for v in (x, y))
    return float(20 * ((a - b).norm() / a.norm()).log10())


def test_more_rounds_find_phases_that_fit_better() -> None:
    x = glide()
    found = []
    for rounds in (0, 4, 32):
        codec = Magnitudes(STFT(512, 128), 2, rounds=rounds)
        found.append(distance(codec, x, codec.decode(codec.encode(x), (RATE,))))
    assert found[0] > found[1] > found[2]
    assert found[2] < -18


@settings(max_examples=20, deadline=None)
@given(
    length=st.integers(1, 3000), channels=st.integers(1, 2), frames=st.integers(1, 3),
    first=st.integers(0, 32),
)  # fmt: skip
def test_what_is_not_coded_comes_back_from_the_source(
    length: int, channels: int, frames: int, first: int
) -> None:
    x, source = torch.randn(2, 1, channels, length, generator=torch.manual_seed(length))
    codec = Magnitudes(STFT(64, 16), frames, first, 3)
    z = codec.encode(x)
    assert z.shape[1] == codec.channels(channels)
    silent = codec.decode(torch.full_like(z, -20.0), (length,), source if first else None)
    assert silent.shape == x.shape
    kept = codec.stft.encode(source).unflatten(1, (channels, 2, 33))
    kept[:, :, :, first:] = 0
    expected = codec.stft.decode(kept.flatten(1, 3), (length,))
    torch.testing.assert_close(silent, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("first", [0, 100])
def test_a_place_depends_on_what_is_within_reach(first: int) -> None:
    x = glide(1 << 15)
    codec = Magnitudes(STFT(512, 128), 2, first, 4)
    given = {"source": x} if first else {}
    z = codec.encode(x)
    far = z.clone()
    far[..., :20] += 1
    y, moved = (codec.decode(code, x.shape[2:], **given) for code in (z, far))
    changed = 20 * codec.factor
    assert (y - moved)[..., : changed // 2].abs().max() > 1e-3
    assert (y - moved)[..., changed + codec.reach :].abs().max() == 0


def test_told_frames_hold() -> None:
    """A code that is too quiet all over makes a sound of the right frames all the same."""
    mel = Mel(RATE)
    x = glide()
    told = mel.of(x[:, 0] / 2)
    plain = Magnitudes(STFT(512, 128), 2)
    held = MelMagnitudes(STFT(512, 128), mel, 2, scale=2.0)
    z = plain.encode(x) - 0.3
    errors = [
        float((mel.of(y[:, 0] / 2) - told).abs().mean())
        for y in (plain.decode(z, (RATE,)), held.decode(z, (RATE,), told))
    ]
    assert errors[1] < 0.4 * errors[0]
    quiet = held.decode(torch.full_like(z, -9.0), (RATE,), torch.full_like(told, -18.4))
    assert quiet.abs().max() < 1e-2


def test_misuse() -> None:
    with pytest.raises(ValueError, match="complex STFT"):
        Magnitudes(STFT(64, 16, form="polar"))
    with pytest.raises(ValueError, match=r"0 \.\. 32"):
        Magnitudes(STFT(64, 16), first=33)
