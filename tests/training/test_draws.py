"""What training draws, as a function of seed, step and place."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import Dataset

from mmdiff.schedules import Trigonometric
from mmdiff.training.draws import (
    BatchOrder,
    Visited,
    gaussian,
    hide,
    log_snrs,
    share,
    times,
)

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
        entries = [entry for step in steps for entry in step]
        assert len(set(entries)) == len(entries)
        epochs.append([entry % length for entry in entries])
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


def test_log_snrs_are_those_of_logit_normal_times() -> None:
    found = log_snrs((torch.arange(100_000) + 0.5) / 100_000)
    assert (found.diff() <= 0).all()
    logits = Trigonometric().time_of(found).logit()
    assert abs(logits.mean()) < 1e-3
    assert abs(logits.std() - 1) < 1e-3
    assert abs((logits.abs() < 1).double().mean() - 0.6827) < 1e-3
    ends = log_snrs(torch.tensor([0.0, 1 - 2**-24]))
    assert ends.isfinite().all()


class Counting(Dataset[Any]):
    """Items that say how often they were visited before."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> tuple[int, int]:
        return self.visit(index, 0)

    def visit(self, index: int, count: int) -> tuple[int, int]:
        return index, count


@pytest.mark.parametrize("batch", [2, 5, 12])
def test_each_visit_is_counted(batch: int) -> None:
    order, data = BatchOrder(5, batch, 0), Visited(Counting(), 5)
    seen = [item for entries in batches(order, 12) for item in data.__getitems__(entries)]
    assert len(set(seen)) == len(seen)  # no item comes twice in the same way
    # And by one more each time, over all that an epoch took of it.
    assert sorted({count for _, count in seen}) == list(range(max(c for _, c in seen) + 1))


def test_data_without_visits_are_the_same_at_each() -> None:
    plain, quick = list("abcde"), Quick(list("abcde"))
    for data in (plain, quick):
        visited = Visited(data, 5)  # type: ignore[arg-type]
        assert visited.__getitems__([0, 7, 14]) == ["a", "c", "e"]
    assert quick.asked == [[0, 2, 4]]


class Quick(list[str]):
    """Gives whole batches at once, as data sets may."""

    def __init__(self, items: list[str]) -> None:
        super().__init__(items)
        self.asked: list[list[int]] = []

    def __getitems__(self, indices: list[int]) -> list[str]:
        self.asked.append(indices)
        return [self[index] for index in indices]


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
