"""What a step is given: which items, in which order, decoded ahead of it where that pays.

The order is a function of (seed, step) alone, so that a resumed run needs no generator's state, and
several processes see what one would.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from mmdiff import noise
from mmdiff.conditions import Condition
from mmdiff.errors import UserError
from mmdiff.told import stack

THREADS = min(8, os.cpu_count() or 1)  # that decode
_FAR = 10.0  # times the range of the data: beyond it they are of another scale
_AHEAD = 4  # batches that wait, at most


def count(data: Any, purpose: str) -> int:
    """How many items `data` has.

    Raises:
        UserError: none, so that there is nothing to `purpose`; or no length.
    """
    if isinstance(data, IterableDataset) or not isinstance(data, Sized):
        raise UserError(
            "a data set needs a length, so that its order can be drawn: give one with "
            "__len__ and __getitem__."
        )
    if len(data) == 0:
        raise UserError(f"there is nothing to {purpose}: the data set is empty.")
    return len(data)


def name(data: Any) -> str:
    """What `data` are called, without where they lie on this machine."""
    kind, colon, path = getattr(data, "name", "").partition(":")
    return f"{kind}:{Path(path).expanduser().resolve().name}" if colon else kind


class BatchOrder:
    """Lists of items: this process's parts of every batch.

    Each epoch visits the data in an order of its own; what does not fill a batch is left out,
    and a data set smaller than a batch is gone through several times in one. An entry is
    index + length * visit, where `visit` counts how often the data were gone through before.

    Args:
        length: of the data set.
        batch: samples in a batch, over all processes.
        seed: of the order.
        parts: into how many lists each process's share of a batch is cut.
        rank, world: which process this is, of how many.
    """

    def __init__(
        self,
        length: int,
        batch: int,
        seed: int,
        parts: int = 1,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.length, self.batch, self.seed = length, batch, seed
        self.parts, self.rank, self.world = parts, rank, world
        self.steps_per_epoch = max(1, length // batch)

    def lists(self, start: int) -> Iterator[list[int]]:
        """The parts of every batch from step `start` on, for ever."""
        for batch in self._batches(start):
            for part in share(batch, self.rank, self.world).chunk(self.parts):
                yield part.tolist()

    def _batches(self, start: int) -> Iterator[Tensor]:
        shown, order = -1, torch.empty(0, dtype=torch.int64)
        for step in itertools.count(start):
            epoch, place = divmod(step, self.steps_per_epoch)
            if epoch != shown:
                shown, order = epoch, self._order(epoch)
            yield order[place * self.batch : (place + 1) * self.batch]

    def _order(self, epoch: int) -> Tensor:
        order = noise.permutation(self.seed, self.length, epoch, noise.ORDER)
        repeats = -(-self.batch // self.length)
        visits = epoch * repeats + torch.arange(repeats)
        return (order + self.length * visits[:, None]).flatten()


def share(batch: Tensor, rank: int, world: int) -> Tensor:
    """The consecutive part of `batch` that belongs to process `rank` of `world`."""
    size = len(batch) // world
    return batch[rank * size : (rank + 1) * size]


def load(
    data: Any, kinds: Mapping[str, Condition], length: int, entries: list[int]
) -> dict[str, Tensor]:
    """The batch of the `entries` of `BatchOrder`: index + length * visit.

    Where `data` has a method `visit(index, count)`, it gives another crop or another augmentation
    at each visit by it; elsewhere an item is the same at each.
    """
    places = [divmod(entry, length) for entry in entries]
    if hasattr(data, "visit"):
        return stack(kinds, [data.visit(index, count) for count, index in places])
    return stack(kinds, [data[index] for _, index in places])


def ahead(
    lists: Iterator[list[int]], batch: Callable[[list[int]], dict[str, Tensor]], threads: int
) -> Iterator[dict[str, Tensor]]:
    """`batch` of each of `lists`, by so many `threads` that work ahead of the training; 0 is none.

    Decoders let other threads run, and what comes does not depend on who was faster.
    """
    if not threads:
        yield from map(batch, lists)
        return
    waiting: deque[Future[dict[str, Tensor]]] = deque()
    pool = ThreadPoolExecutor(threads, "mmdiff-data")
    try:
        for entries in lists:
            waiting.append(pool.submit(batch, entries))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def check_range(x: Tensor, modality: Any) -> None:
    """Raises ValueError for data of another scale than noise has, such as 0 to 255."""
    most = 1.0 if modality is None else max(map(abs, modality.data_range))
    reached = float(x.abs().max())
    if not reached <= _FAR * most:
        raise ValueError(
            f"x reaches {reached:g}, far beyond {most:g}, and noise of deviation 1 is added to it: "
            f"bring the data to about -{most:g} .. {most:g}."
        )
