"""What training draws, as a function of seed, step and place."""

from __future__ import annotations

from itertools import islice

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdiff.training.draws import BatchOrder, gaussian, hide, share, times

sizes = st.integers(1, 60)


def batches(order: BatchOrder, count: int) -> list[list[int]]:
    return list(islice(order, count))


@settings(deadline=None)
@given(length=sizes, batch=sizes, seed=st.integers(0, 99))
def test_an_epoch_visits_everything_once(length: int, batch: int, seed: int) -> None:
    order = BatchOrder(length, batch, seed)
    epochs = []
    taken = batches(order, 2 * order.steps_per_epoch)
    for epoch in range(2):
        steps = taken[epoch * order.steps_per_epoch : (epoch + 1) * order.steps_per_epoch]
        assert all(len(step) == batch for step in steps)
        epochs.append([index for step in steps for index in step])
        counts = torch.bincount(torch.tensor(epochs[-1]), minlength=length)
        if length >= batch:
            assert len(epochs[-1]) > length - batch
            assert counts.max() == 1
        else:  # all of it, over and over
            assert counts.max() - counts.min() <= 1
            assert counts.sum() == batch
    if length > 20 and batch > 10:
        assert epochs[0] != epochs[1]


@settings(deadline=None)
@given(length=sizes, batch=sizes, start=st.integers(0, 40))
def test_a_resumed_order_is_the_rest_of_the_whole(length: int, batch: int, start: int) -> None:
    whole = batches(BatchOrder(length, batch, 7), start + 5)
    assert batches(BatchOrder(length, batch, 7, start), 5) == whole[start:]


@settings(deadline=None)
@given(
    length=sizes,
    world=st.integers(1, 4),
    parts=st.integers(1, 3),
    size=st.integers(1, 5),
)
def test_processes_and_parts_divide_the_batch(
    length: int, world: int, parts: int, size: int
) -> None:
    batch = world * parts * size
    whole = batches(BatchOrder(length, batch, 3), 4)
    shares = [
        batches(BatchOrder(length, batch, 3, 0, parts, rank, world), 4 * parts)
        for rank in range(world)
    ]
    for step, expected in enumerate(whole):
        mine = [part for one in shares for part in one[step * parts : (step + 1) * parts]]
        assert all(len(part) == size for part in mine)
        assert [index for part in mine for index in part] == expected


def test_seeds_order_differently() -> None:
    assert batches(BatchOrder(50, 50, 0), 1) != batches(BatchOrder(50, 50, 1), 1)


@given(batch=st.integers(1, 300), seed=st.integers(0, 9), step=st.integers(0, 1000))
def test_one_time_in_each_cell(batch: int, seed: int, step: int) -> None:
    u = times(seed, step, torch.arange(batch), batch)
    assert u.min() >= 0
    assert u.max() < 1
    # Rounding may put a time that lies on a border to either side of it.
    cells = (u.double() * batch + 1e-4).floor().clamp(max=batch - 1)
    lower = (u.double() * batch - 1e-4).floor().clamp(min=0)
    places = torch.arange(batch)
    assert ((cells == places) | (lower == places)).all()


def test_times_are_uniform_over_steps() -> None:
    """Each step has one offset; the mean of n uniform numbers has variance 1 / (12 n)."""
    u = torch.cat([times(0, step, torch.arange(4), 4) for step in range(1000)])
    offsets = (u * 4) % 1
    assert abs(offsets.mean() - 0.5) < 4 * (12 * 1000) ** -0.5
    assert abs(u.square().mean() - 1 / 3) < 0.01


def test_processes_draw_what_one_would() -> None:
    whole, x = torch.arange(12), torch.zeros(12, 1, 3)
    label = torch.arange(12) % 5
    for world in (2, 3):
        mine = [share(whole, rank, world) for rank in range(world)]
        assert torch.equal(torch.cat([times(1, 2, m, 12) for m in mine]), times(1, 2, whole, 12))
        noise = torch.cat([gaussian(1, 2, m, x[m]) for m in mine])
        assert torch.equal(noise, gaussian(1, 2, whole, x))
        hidden = torch.cat([hide(1, 2, m, label[m], 0.5) for m in mine])
        assert torch.equal(hidden, hide(1, 2, whole, label, 0.5))


def test_noise_is_new_at_every_step() -> None:
    x = torch.zeros(200, 50, dtype=torch.float64)
    first, second = (gaussian(0, step, torch.arange(200), x) for step in (0, 1))
    assert first.dtype == torch.float64
    assert abs((first * second).mean()) < 4e-2
    assert abs(first.var() - 1) < 4 * (2 / 10_000) ** 0.5


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 1.0])
def test_hides_at_its_rate(rate: float) -> None:
    label = torch.full((10_000,), 3)
    hidden = hide(0, 5, torch.arange(10_000), label, rate)
    assert set(hidden.tolist()) <= {-1, 3}
    share_hidden = (hidden == -1).double().mean()
    assert abs(share_hidden - rate) <= 4 * (rate * (1 - rate) / 10_000) ** 0.5
