from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mmdiff import noise

IDS = torch.arange(8)
COUNT = 1 << 20


def draw(seed: int = 0, sample: int = 0, step: int = 0, stream: int = 0) -> Tensor:
    return noise.normal(seed, torch.tensor([sample]), step, (COUNT,), stream)[0].double()


def test_moments_and_distribution_of_normal() -> None:
    z = draw()
    for power, moment in ((1, 0), (2, 1), (3, 0), (4, 3), (6, 15)):
        variance = math.prod(range(1, 2 * power, 2)) - moment**2
        assert abs(float((z**power).mean()) - moment) < 4 * math.sqrt(variance / COUNT)
    ranks = torch.arange(1, COUNT + 1, dtype=torch.float64) / COUNT
    distance = (torch.special.ndtr(z.sort().values) - ranks).abs().max()
    assert distance < 1.95 / math.sqrt(COUNT)  # Kolmogorov-Smirnov at one in a thousand


@pytest.mark.parametrize(
    "other",
    [{"seed": 1}, {"sample": 1}, {"step": 1}, {"stream": 1}, {"seed": 2**40}, {"step": -1}],
    ids=str,
)
def test_every_part_of_the_key_gives_independent_noise(other: dict[str, int]) -> None:
    one, two = draw(), draw(**other)
    for a, b in ((one, two), (one[1:], two[:-1]), (one.square() - 1, two.square() - 1)):
        spread = float(a.std() * b.std()) / math.sqrt(len(a))
        assert abs(float((a * b).mean())) < 4.5 * spread


def test_neighbours_are_uncorrelated() -> None:
    z = draw()
    for lag in (1, 2, 3, 64):
        assert abs(float((z[lag:] * z[:-lag]).mean())) < 4.5 / math.sqrt(COUNT)


@given(seed=st.integers(-(2**63), 2**64), cut=st.integers(0, 8), size=st.integers(1, 40))
def test_a_batch_is_its_parts_bit_for_bit(seed: int, cut: int, size: int) -> None:
    whole = noise.normal(seed, IDS, 3, (2, size))
    parts = [noise.normal(seed, part, 3, (2, size)) for part in (IDS[:cut], IDS[cut:])]
    assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(noise.normal(seed, IDS.flip(0), 3, (2, size)).flip(0), whole)
    for i in IDS:
        assert torch.equal(noise.normal(seed, IDS[i : i + 1], 3, (2, size))[0], whole[i])


def test_a_step_for_each_sample() -> None:
    steps = torch.tensor([-1, 0, 5, 5, 9, 0, 1, 2])
    together = noise.normal(4, IDS, steps, (3, 5))
    for i, step in enumerate(steps.tolist()):
        assert torch.equal(together[i : i + 1], noise.normal(4, IDS[i : i + 1], step, (3, 5)))


def test_uniform() -> None:
    u = noise.uniform(0, torch.arange(COUNT)).double()
    assert 0 <= float(u.min()) < 1e-4
    assert 1 - 1e-4 < float(u.max()) < 1
    ranks = torch.arange(1, COUNT + 1, dtype=torch.float64) / COUNT
    assert (u.sort().values - ranks).abs().max() < 1.95 / math.sqrt(COUNT)
    assert torch.equal(noise.uniform(0, IDS), noise.uniform(0, torch.arange(99))[:8])


def test_permutation() -> None:
    order = noise.permutation(0, 1000, step=2)
    assert torch.equal(order.sort().values, torch.arange(1000))
    assert torch.equal(order, noise.permutation(0, 1000, step=2))
    for other in (noise.permutation(1, 1000, step=2), noise.permutation(0, 1000, step=3)):
        assert (order == other).sum() < 10  # one agreement is expected by chance


@pytest.mark.parametrize("kind", [np.int64, np.uint8, torch.tensor, bool])
def test_any_integer_is_a_seed(kind: Callable[[int], Any]) -> None:
    assert torch.equal(noise.normal(kind(1), IDS, 0, (3,)), noise.normal(1, IDS, 0, (3,)))


@pytest.mark.parametrize("seed", [0.5, 1.0, "1", None, np.float32(1), torch.tensor(1.0)], ids=repr)
def test_what_is_no_integer_is_no_seed(seed: Any) -> None:
    for draw in (
        lambda: noise.normal(seed, IDS, 0, (3,)),
        lambda: noise.uniform(seed, IDS),
        lambda: noise.permutation(seed, 9, 0),
    ):
        with pytest.raises(ValueError, match="a seed is an integer, not"):
            draw()


def test_what_an_objective_draws() -> None:
    """A part of a batch draws what the whole does there; all times together are spread evenly."""
    places = torch.arange(64)
    whole = noise.Draws(3, 7, places, 64)
    part = noise.Draws(3, 7, places[20:30], 64)
    x = torch.zeros(64, 2, 5, dtype=torch.float64)
    for draw in (
        lambda draws: draws.times(),
        lambda draws: draws.normal(x[: len(draws.places)]),
        lambda draws: draws.chosen(0.3),
    ):
        assert torch.equal(draw(part), draw(whole)[20:30])
        assert not torch.equal(draw(noise.Draws(3, 8, places, 64)), draw(whole))
    assert torch.equal((whole.times() * 64).floor(), places.float())
    assert whole.normal(x).dtype == x.dtype
    rate = noise.Draws(3, 7, torch.arange(COUNT), COUNT).chosen(0.1).double().mean()
    assert abs(float(rate) - 0.1) < 4 * math.sqrt(0.09 / COUNT)
