"""Which items a step is given, how often they were visited, and threads that decode ahead."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import count, islice
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mmdiff import Class, Tokens
from mmdiff.training.loading import BatchOrder, ahead, load

sizes = st.integers(1, 60)


def batches(order: BatchOrder, number: int, start: int = 0) -> list[list[int]]:
    return list(islice(order.lists(start), number))


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
    assert batches(BatchOrder(length, batch, 7), 5, start) == whole[start:]


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
        batches(BatchOrder(length, batch, 3, parts, rank, world), 4 * parts)
        for rank in range(world)
    ]
    for step, expected in enumerate(whole):
        mine = [part for one in shares for part in one[step * parts : (step + 1) * parts]]
        assert all(len(part) == size for part in mine)
        assert [index for part in mine for index in part] == expected


def test_seeds_order_differently() -> None:
    assert batches(BatchOrder(50, 50, 0), 1) != batches(BatchOrder(50, 50, 1), 1)


class Counting:
    """Items that say how often they were visited before."""

    def visit(self, index: int, count: int) -> dict[str, Any]:
        return {"x": torch.tensor([index, count]), "label": count, "text": torch.ones(count, 1)}


@pytest.mark.parametrize("batch", [2, 5, 12])
def test_each_visit_is_counted(batch: int) -> None:
    order, data = BatchOrder(5, batch, 0), Counting()
    seen = [
        tuple(item)
        for entries in batches(order, 12)
        for item in load(data, {}, 5, entries)["x"].tolist()
    ]
    assert len(set(seen)) == len(seen)  # no item comes twice in the same way
    # And by one more each time, over all that an epoch took of it.
    assert sorted({count for _, count in seen}) == list(range(max(c for _, c in seen) + 1))


def test_a_batch_holds_what_a_model_is_told() -> None:
    kinds = {"label": Class(3), "text": Tokens(1), "speaker": Class(2)}
    batch = load(Counting(), kinds, 5, [4, 5, 11])
    assert batch["x"].tolist() == [[4, 0], [0, 1], [1, 2]]
    assert batch["label"].tolist() == [0, 1, 2]
    assert batch["text"].isfinite().sum((1, 2)).tolist() == [0, 1, 2]
    assert batch.keys() == {"x", "label", "text"}


def test_data_without_visits_are_the_same_at_each() -> None:
    data = [{"x": torch.tensor([index])} for index in range(5)]
    assert load(data, {}, 5, [0, 7, 14])["x"].tolist() == [[0], [2], [4]]


def slowly(entries: list[int]) -> dict[str, Tensor]:
    """The first of several takes the longest."""
    time.sleep(0.02 / (1 + entries[0] % 4))
    return {"x": torch.tensor(entries)}


def endless() -> Iterator[list[int]]:
    return ([number] for number in count())


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_what_comes_does_not_depend_on_who_is_faster(threads: int) -> None:
    with closing(ahead(endless(), slowly, threads)) as loaded:
        assert [int(batch["x"]) for batch in islice(loaded, 12)] == list(range(12))


def test_threads_are_at_most_a_few_batches_ahead_and_end_with_the_training() -> None:
    asked: list[int] = []

    def note(entries: list[int]) -> dict[str, Tensor]:
        asked.append(entries[0])
        return slowly(entries)

    with closing(ahead(endless(), note, 2)) as loaded:
        next(loaded)
        next(loaded)
    for thread in threading.enumerate():
        if thread.name.startswith("mmdiff-data"):
            thread.join(timeout=10)
    assert 2 <= len(asked) <= 6


def test_what_fails_in_a_thread_fails_in_the_training() -> None:
    def fail(entries: list[int]) -> dict[str, Tensor]:
        if entries == [3]:
            raise OSError("the file has gone")
        return slowly(entries)

    loaded = ahead(endless(), fail, 2)
    assert [int(batch["x"]) for batch in islice(loaded, 3)] == [0, 1, 2]
    with pytest.raises(OSError, match="the file has gone"):
        next(loaded)
