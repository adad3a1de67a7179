"""What training draws, as a function of seed, step and place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from train_tiny import Waves

from mmdiff import Recipe
from mmdiff.image.presets import fast
from mmdiff.noise import Draws
from mmdiff.training.loading import share


@given(batch=st.integers(1, 300), seed=st.integers(0, 9), step=st.integers(0, 1000))
def test_one_time_in_each_cell(batch: int, seed: int, step: int) -> None:
    u = Draws(seed, step, torch.arange(batch), batch).times()
    assert u.min() >= 0
    assert u.max() < 1
    # Rounding may put a time that lies on a border to either side of it.
    cells = (u.double() * batch + 1e-4).floor().clamp(max=batch - 1)
    lower = (u.double() * batch - 1e-4).floor().clamp(min=0)
    places = torch.arange(batch)
    assert ((cells == places) | (lower == places)).all()


def test_times_are_uniform_over_steps() -> None:
    """Each step has one offset; the mean of n uniform numbers has variance 1 / (12 n)."""
    u = torch.cat([Draws(0, step, torch.arange(4), 4).times() for step in range(1000)])
    offsets = (u * 4) % 1
    assert abs(offsets.mean() - 0.5) < 4 * (12 * 1000) ** -0.5
    assert abs(u.square().mean() - 1 / 3) < 0.01


def test_processes_draw_what_one_would() -> None:
    whole, x = torch.arange(12), torch.zeros(12, 1, 3)
    one = Draws(1, 2, whole, 12)
    for world in (2, 3):
        parts = [Draws(1, 2, share(whole, rank, world), 12) for rank in range(world)]
        assert torch.equal(torch.cat([part.times() for part in parts]), one.times())
        noise = torch.cat([part.normal(x[: 12 // world]) for part in parts])
        assert torch.equal(noise, one.normal(x))
        assert torch.equal(torch.cat([part.chosen(0.5) for part in parts]), one.chosen(0.5))


def test_noise_is_new_at_every_step() -> None:
    x = torch.zeros(200, 50, dtype=torch.float64)
    first, second = (Draws(0, step, torch.arange(200), 200).normal(x) for step in (0, 1))
    assert first.dtype == torch.float64
    assert abs((first * second).mean()) < 4e-2
    assert abs(first.var() - 1) < 4 * (2 / 10_000) ** 0.5


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 1.0])
def test_chooses_at_its_rate(rate: float) -> None:
    chosen = Draws(0, 5, torch.arange(10_000), 10_000).chosen(rate).double().mean()
    assert abs(chosen - rate) <= 4 * (rate * (1 - rate) / 10_000) ** 0.5


@pytest.mark.parametrize(
    "seed", [7, 7 + 2**64, np.int64(7), np.uint8(7), torch.tensor(7), 7 - 2**64]
)
def test_any_integer_is_a_seed(seed: Any) -> None:
    """And those that differ by 2^64 are the same, wherever a seed is given."""
    x, wanted = torch.zeros(4, 3), Draws(7, 0, torch.arange(4), 4)
    assert torch.equal(Draws(seed, 0, torch.arange(4), 4).normal(x), wanted.normal(x))
    given = Recipe(nn.Linear(1, 1), seed=seed).seed
    assert (given, type(given)) == (7, int)
    first, again = (fast(Waves(shape=(1, 4, 4)), seed=one).model.state_dict() for one in (7, seed))
    assert all(torch.equal(first[name], again[name]) for name in first)


@pytest.mark.parametrize("seed", [0.5, 1.0, np.float32(1), torch.tensor(0.5), "1", None])
def test_nothing_else_is_a_seed(seed: Any) -> None:
    for use in (
        lambda: Draws(seed, 0, torch.arange(4), 4).times(),
        lambda: Recipe(nn.Linear(1, 1), seed=seed),
        lambda: fast(Waves(shape=(1, 4, 4)), seed=seed),
    ):
        with pytest.raises(ValueError, match="a seed is an integer, not "):
            use()
