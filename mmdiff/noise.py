"""Random numbers that are a function of (seed, sample, step), not of the order of drawing.

The noise of a sample never depends on who else is in its batch: 64 samples at once, 64 one by
one and any division between machines draw the same bits. There is no generator state to save.

Each number is the finaliser of SplitMix64 (Steele, Lea & Flood 2014) applied to a counter, in
int64 tensor arithmetic on the device where it is wanted: nothing is copied and nothing waits.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# Streams keep uses of one seed apart, so that no two share their numbers.
ORDER, TIME, NOISE, HIDE, VALIDATION, SPIN, GIVEN, BUCKET = 1, 2, 3, 4, 5, 6, 7, 8
DATA = 16  # and on: of data sets
PARTS = 64  # and on: of the parts of a joint model

_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)  # the 64-bit golden ratio, as int64
_MIX_1 = 0xBF58476D1CE4E5B9 - (1 << 64)
_MIX_2 = 0x94D049BB133111EB - (1 << 64)


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift: torch shifts int64 arithmetically."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift(x, 30)) * _MIX_1
    x = (x ^ _shift(x, 27)) * _MIX_2
    return x ^ _shift(x, 31)


def as_seed(seed: object) -> int:
    """Any integer, of Python, NumPy or a tensor, as Python's in the range of int64.

    Integers that differ by a multiple of 2^64 are the same seed.

    Raises:
        ValueError: what is no integer, such as 0.5.
    """
    try:
        number = operator.index(seed)  # type: ignore[arg-type]
    except TypeError:
        raise ValueError(f"a seed is an integer, not {seed!r}.") from None
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)


def _key(seed: int, samples: Tensor, step: int | Tensor, stream: int) -> Tensor:
    """[B] int64: one well-mixed key for each sample."""
    key = _mix(torch.full_like(samples, as_seed(seed)) + _GOLDEN)
    steps = step if isinstance(step, Tensor) else torch.full_like(samples, step)
    for part in (samples, steps, torch.full_like(samples, stream)):
        key = _mix(key + (part + 1) * _GOLDEN)
    return key


def _bits(seed: int, samples: Tensor, step: int | Tensor, stream: int, count: int) -> Tensor:
    """[B, count] int64 of independent random bits."""
    counter = torch.arange(1, count + 1, device=samples.device) * _GOLDEN
    return _mix(_key(seed, samples, step, stream)[:, None] + counter)


def uniform(seed: int, samples: Tensor, step: int = 0, stream: int = 0) -> Tensor:
    """[B] float32 in [0, 1): one number for each of `samples` (int64 [B]).

    `stream` separates uses that share seed, sample and step.
    """
    return _shift(_bits(seed, samples, step, stream, 1)[:, 0], 40).to(torch.float32) * 2.0**-24


def normal(
    seed: int, samples: Tensor, step: int | Tensor, shape: Sequence[int], stream: int = 0
) -> Tensor:
    """[B, *shape] float32 standard normal noise for each of `samples` (int64 [B]), by Box-Muller.

    `step` is the row of the plan that adds it, one for all or int64 [B]; -1 is the initial state.
    """
    count = math.prod(shape)
    bits = _bits(seed, samples, step, stream, (count + 1) // 2)
    # 24 of the upper and 24 of the lower bits, off zero by half a unit so that log is finite.
    radius = (_shift(bits, 40).to(torch.float32) + 0.5).mul_(2.0**-24).log_().mul_(-2).sqrt_()
    angle = (bits & 0xFFFFFF).to(torch.float32).mul_(2 * math.pi * 2.0**-24)
    pairs = torch.stack((radius * angle.cos(), radius * angle.sin()), dim=-1)
    return pairs.flatten(1)[:, :count].reshape(len(samples), *shape)


def permutation(seed: int, length: int, step: int, stream: int = 0) -> Tensor:
    """[length] int64: a random order of 0 .. length - 1, on the CPU."""
    key = _bits(seed, torch.zeros(1, dtype=torch.int64), step, stream, length)[0]
    return torch.argsort(key, stable=True)


@dataclass(frozen=True)
class Draws:
    """What an objective may draw for a part of a batch: all a function of (seed, step, place).

    A resumed run needs no generator's state, and several processes see what one would.

    Attributes:
        seed, step: of the run.
        places: int64 [B], which places of the whole batch these samples have.
        batch: how many places there are.
    """

    seed: int
    step: int
    places: Tensor
    batch: int

    def times(self) -> Tensor:
        """[B] in [0, 1): place k draws from [k, k + 1) / batch, with one offset for all.

        Each number is uniform over the data's random order, and together they cover the range
        evenly, which takes variance out of the gradient (Kingma et al. 2021, appendix I.1).
        """
        offset = uniform(self.seed, torch.zeros_like(self.places), self.step, TIME)
        return ((self.places + offset) / self.batch).clamp(max=1 - 2**-24)

    def normal(self, x: Tensor) -> Tensor:
        """Standard normal noise of the shape and dtype of `x` [B, ...]."""
        return normal(self.seed, self.places, self.step, x.shape[1:], NOISE).to(x.dtype)

    def chosen(self, rate: float) -> Tensor:
        """bool [B]: each sample with probability `rate`."""
        return uniform(self.seed, self.places, self.step, HIDE) < rate
