"""Batches of signals that are not all of one size: each batch is of items that are."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from itertools import count
from typing import Any

import torch
from torch import Tensor

from mmdiff import noise
from mmdiff.training.loading import BatchOrder


def order_of(data: Any, *how: int) -> BatchOrder:
    """The order in which to train on `data`; `how` is as of `BatchOrder`, behind its `length`."""
    shapes = getattr(data, "shapes", None)
    return BatchOrder(len(data), *how) if shapes is None else Buckets(shapes, *how)


def in_buckets(data: Any, places: Tensor, batch: int) -> list[Tensor]:
    """What of `places` are items of one shape, at most `batch` of them at a time."""
    shapes = getattr(data, "shapes", None)
    if shapes is None:
        return list(places.split(batch))
    buckets = Buckets([shapes[place] for place in places.tolist()], batch, 0).buckets
    return [part for bucket in buckets for part in places[bucket].split(batch)]


class Buckets(BatchOrder):
    """The same for items of several `shapes`, of which a batch has one.

    Which shape a step has is drawn anew, as often as there are items of it. Each shape's items are
    gone through in an order of their own, again and again, and none is left out.

    Args:
        shapes: of each item; all else is as of `BatchOrder`, behind its `length`.
    """

    def __init__(self, shapes: Sequence[Hashable], *how: int, **named: int) -> None:
        super().__init__(len(shapes), *how, **named)
        items: dict[Hashable, list[int]] = {}
        for index, shape in enumerate(shapes):
            items.setdefault(shape, []).append(index)
        self.buckets = [torch.tensor(some) for some in items.values()]
        self._ends = torch.tensor([len(some) for some in self.buckets]).cumsum(0) / len(shapes)

    def _batches(self, start: int) -> Iterator[Tensor]:
        done = torch.bincount(self._bucket(torch.arange(start)), minlength=len(self.buckets))
        for step in count(start):
            bucket = int(self._bucket(torch.tensor([step])))
            yield self._batch(bucket, int(done[bucket]))
            done[bucket] += 1

    def _bucket(self, steps: Tensor) -> Tensor:
        u = noise.uniform(self.seed, steps, stream=noise.BUCKET)
        return torch.searchsorted(self._ends, u, right=True).clamp(max=len(self.buckets) - 1)

    def _batch(self, bucket: int, number: int) -> Tensor:
        """Batch `number` of a bucket; it may end one visit of its items and begin the next."""
        items = self.buckets[bucket]
        places = torch.arange(number * self.batch, (number + 1) * self.batch)
        first, last = int(places[0]) // len(items), int(places[-1]) // len(items)
        entries = []
        for visit in range(first, last + 1):
            order = noise.permutation(self.seed, len(items), visit, noise.ORDER)
            entries.append(items[order] + visit * self.length)
        return torch.cat(entries)[places - first * len(items)]
