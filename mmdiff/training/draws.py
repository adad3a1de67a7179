"""Everything random in training, as a function of (seed, step, place in the batch).

So a resumed run needs no generator's state, and several processes see what one would.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from mmdiff import noise

# One stream for each use, so that no two share their numbers.
_ORDER, _TIME, _NOISE, _HIDE = 1, 2, 3, 4


class Visited(Dataset[Any]):
    """`data` by the entries of `BatchOrder`: index + length * visit.

    Where it has a method `visit(index, count)`, it gives another crop or another augmentation at
    each visit by it; elsewhere an item is the same at each.
    """

    def __init__(self, data: Dataset[Any], length: int) -> None:
        self.data, self.length = data, length

    def __getitems__(self, entries: list[int]) -> list[Any]:
        if hasattr(self.data, "visit"):
            places = (divmod(entry, self.length) for entry in entries)
            return [self.data.visit(index, count) for count, index in places]
        indices = [entry % self.length for entry in entries]
        if hasattr(self.data, "__getitems__"):
            return list(self.data.__getitems__(indices))
        return [self.data[index] for index in indices]


class BatchOrder(Sampler[list[int]]):
    """Index lists for a DataLoader: this process's parts of every batch from `start` on, for ever.

    Each epoch visits the data in an order of its own; what does not fill a batch is left out,
    and a data set smaller than a batch is gone through several times in one. An entry is
    index + length * visit, where `visit` counts how often the data were gone through before.

    Args:
        length: of the data set.
        batch: samples in a batch, over all processes.
        seed: of the order.
        start: the first step.
        parts: into how many lists each process's share of a batch is cut.
        rank, world: which process this is, of how many.
    """

    def __init__(
        self,
        length: int,
        batch: int,
        seed: int,
        start: int = 0,
        parts: int = 1,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.length, self.batch, self.seed, self.start = length, batch, seed, start
        self.parts, self.rank, self.world = parts, rank, world
        self.steps_per_epoch = max(1, length // batch)

    def __iter__(self) -> Iterator[list[int]]:
        step, shown, order = self.start, -1, torch.empty(0, dtype=torch.int64)
        while True:
            epoch, place = divmod(step, self.steps_per_epoch)
            if epoch != shown:
                shown, order = epoch, self._order(epoch)
            batch = order[place * self.batch : (place + 1) * self.batch]
            for part in share(batch, self.rank, self.world).chunk(self.parts):
                yield part.tolist()
            step += 1

    def _order(self, epoch: int) -> Tensor:
        order = noise.permutation(self.seed, self.length, epoch, _ORDER)
        repeats = -(-self.batch // self.length)
        visits = epoch * repeats + torch.arange(repeats)
        return (order + self.length * visits[:, None]).flatten()


def share(batch: Tensor, rank: int, world: int) -> Tensor:
    """The consecutive part of `batch` that belongs to process `rank` of `world`."""
    size = len(batch) // world
    return batch[rank * size : (rank + 1) * size]


def times(seed: int, step: int, places: Tensor, batch: int) -> Tensor:
    """Numbers in [0, 1), one for each of the `places` (int64) in a batch of `batch`.

    Place k draws from [k, k + 1) / batch, with one offset for all: each number is uniform over the
    data's random order, and together they cover the range evenly, which takes variance out of the
    gradient (Kingma et al. 2021, appendix I.1).
    """
    offset = noise.uniform(seed, torch.zeros_like(places), step, _TIME)
    return ((places + offset) / batch).clamp(max=1 - 2**-24)


def log_snrs(u: Tensor) -> Tensor:
    """Uniform numbers in [0, 1) -> falling log-SNRs, float64, densest where signal = noise.

    Those of `Trigonometric` at times that are the sigmoid of a standard normal number, the
    logit-normal times of Esser et al. 2024, whatever schedule will be asked for them.
    """
    t = torch.special.ndtri(u.double().clamp(min=2**-24)).sigmoid()
    return -2 * torch.tan(math.pi / 2 * t).log()


def gaussian(seed: int, step: int, places: Tensor, x: Tensor) -> Tensor:
    """Noise of the shape of `x` [B, ...]."""
    return noise.normal(seed, places, step, x.shape[1:], _NOISE).to(x.dtype)


def hide(seed: int, step: int, places: Tensor, label: Tensor, rate: float) -> Tensor:
    """`label` [B] with each entry replaced by -1 at `rate`."""
    return torch.where(noise.uniform(seed, places, step, _HIDE) < rate, -1, label)
