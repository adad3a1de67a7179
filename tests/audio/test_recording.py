"""A recording is measured as a whole, whatever parts it comes in."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdiff.audio.levels import active_level
from mmdiff.audio.recording import Recording, fitted
from mmdiff.audio.sound import resample


@settings(max_examples=50, deadline=None, derandomize=True)
@given(sizes=st.lists(st.integers(1, 900), min_size=1, max_size=6), channels=st.integers(1, 3))
def test_parts_measure_as_the_whole(sizes: list[int], channels: int) -> None:
    torch.manual_seed(0)
    x = 0.2 * torch.randn(channels, sum(sizes)) * (torch.arange(sum(sizes)) > 300)
    found = Recording._measured(lambda: x.split(sizes, 1), 8000)
    assert (found.channels, found.frames) == x.shape
    assert found.peak == x.abs().max()
    assert found.level == pytest.approx(active_level(x, 8000), rel=1e-5)


def test_pauses_do_not_count() -> None:
    x = torch.randn(1, 80_000)
    x[:, 20_000:] = 0
    assert Recording.of(x, 8000).level == pytest.approx(1, rel=0.02)
    assert Recording.of(0 * x, 8000).level == 0


@settings(max_examples=30, deadline=None, derandomize=True)
@given(frames=st.integers(1, 3000), target=st.sampled_from([8000, 11_025, 16_000, 44_100]))
def test_at_another_rate(frames: int, target: int) -> None:
    x = torch.randn(2, frames)
    recording = Recording.of(x, 16_000)
    whole = torch.cat(list(recording.at(target)), 1)
    assert whole.shape == (2, recording.length(target))
    torch.testing.assert_close(whole, resample(x, 16_000, target), rtol=0, atol=1e-4)


def test_parts_are_cut_or_filled_up() -> None:
    parts = [torch.ones(1, 3), torch.ones(1, 2)]
    for frames in (1, 4, 5, 7):
        x = torch.cat(list(fitted(parts, frames)), 1)
        assert x.tolist() == [[1.0] * min(5, frames) + [0.0] * max(0, frames - 5)]


def test_files_are_as_tensors(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", 0.5 * torch.rand(900, 2).numpy(), 8000, subtype="PCM_U8")
    found = Recording.of(tmp_path / "x.wav")
    same = Recording.of(torch.cat(list(found.parts()), 1), 8000)
    assert (found.channels, found.frames, found.sample_rate) == (2, 900, 8000)
    assert (found.level, found.peak) == (same.level, same.peak)


@pytest.mark.parametrize(
    ("x", "rate", "words"),
    [
        (torch.zeros(1, 0), 8000, "C, L"),
        (torch.zeros(9), 8000, "C, L"),
        (torch.zeros(1, 9, dtype=torch.int16), 8000, "floating-point"),
        (torch.full((1, 9), torch.nan), 8000, "NaN"),
        (torch.full((1, 9), torch.inf), 8000, "infinite"),
        (torch.zeros(1, 9), None, "sample rate"),
        (torch.zeros(1, 9), 0, "sample rate"),
    ],
)
def test_no_sound_is_one_sentence(x: torch.Tensor, rate: int | None, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Recording.of(x, rate)
