"""Steering: what changes an estimate of x0 on its way to the sampler, Estimate -> Estimate.

A sampler follows any function `x0 = estimate(x_t, at)`. Each steering here takes one and gives
another, so that they compose, from the inside out: guidance, clipping, and whatever else is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdiff import noise
from mmdiff.diffusion import At, Estimate, expand

Steering = Callable[[Estimate], Estimate]


@dataclass(frozen=True)
class Guidance:
    """x0 = x0(nothing) + scale (x0(told) - x0(nothing)) (Ho & Salimans 2022).

    "Nothing" hides all conditions together, as training does. The same combination of eps or v is
    the same guidance: all are affine in each other.

    Args:
        scale: 1 is the plain conditional model, 0 the unconditional one.
        rescale: how far, in [0, 1], the standard deviation of each sample's estimate is brought
            back to that of the conditional estimate (Lin et al. 2024).
        interval: the times at which guidance acts, others cost one evaluation instead of two
            (Kynkaanniemi et al. 2024).

    Raises:
        ValueError: a value out of range.
    """

    scale: float
    rescale: float = 0.0
    interval: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        if not 0 <= self.scale < float("inf"):
            raise ValueError(f"the guidance scale must be finite and 0 or more, not {self.scale}.")
        if not 0 <= self.rescale <= 1:
            raise ValueError(f"the guidance rescale must lie in [0, 1], not {self.rescale}.")
        if not 0 <= self.interval[0] <= self.interval[1] <= 1:
            raise ValueError(f"the guidance interval must rise within [0, 1], not {self.interval}.")

    def __call__(self, estimate: Estimate) -> Estimate:
        def guided(x: Tensor, at: At) -> Tensor:
            scales = [self._scale_at(t) for t in at.times]
            if all(scale == 1 for scale in scales):
                return estimate(x, at)
            told, untold = estimate(torch.cat((x, x)), at.and_untold()).chunk(2)
            if len(scales) == 1:
                x0 = torch.lerp(untold, told, scales[0])
            else:
                weight = torch.tensor(scales, dtype=x.dtype, device=x.device)
                weight = weight.repeat_interleave(len(x) // len(scales))
                x0 = torch.lerp(untold, told, expand(weight, x))
            return self._rescaled(x0, told) if self.rescale else x0

        return guided

    def _scale_at(self, t: float) -> float:
        return self.scale if self.interval[0] <= t <= self.interval[1] else 1.0

    def _rescaled(self, x0: Tensor, told: Tensor) -> Tensor:
        wanted, found = (v.flatten(1).std(1, correction=0) for v in (told, x0))
        ratio = wanted / found.clamp(min=1e-12)
        return x0 * expand(torch.lerp(torch.ones_like(ratio), ratio, self.rescale), x0)


@dataclass(frozen=True)
class Clip:
    """x0 = clamp(x0, low, high): within the range of the data, as in the program of Ho et al. 2020.

    Near t = 1 an eps divided by alpha errs most; there this keeps the estimate in bounds.

    Raises:
        ValueError: a range that does not rise.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"clip must be a range (low, high), not ({self.low}, {self.high}).")

    def __call__(self, estimate: Estimate) -> Estimate:
        return lambda x, at: estimate(x, at).clamp(self.low, self.high)


@dataclass(frozen=True)
class Spin:
    """x0(x_t) = S_-s x0(S_s x_t), s drawn from 0 .. period - 1 at each call.

    Cycle spinning (Coifman & Donoho 1995): what a network does at fixed places of a grid of
    `period` positions is spread over all of them. The positions that a shift needs before the first
    one are the first ones mirrored: they have the noise level of the state, which zeros would not,
    and wrapping would join the end to the start. Signals that the model is told are shifted along.

    Args:
        period: in positions, on every axis.
        seed: of the shifts.
    """

    period: int
    seed: int = 0

    def __call__(self, estimate: Estimate) -> Estimate:
        calls = count()

        def spun(x: Tensor, at: At) -> Tensor:
            if not 0 < self.period <= min(x.shape[2:], default=0):
                raise ValueError(
                    f"the period of Spin must lie in 1 .. {min(x.shape[2:], default=0)} for a "
                    f"signal of shape {list(x.shape)}, not {self.period}."
                )
            call = torch.tensor([next(calls)], device="cpu")
            shift = int(noise.uniform(self.seed, call, stream=noise.SPIN) * self.period)
            mirrored = F.pad(x, (shift, 0) * (x.ndim - 2), mode="reflect")
            x0 = estimate(mirrored, at._replace(told=at.told.shifted(shift)))
            for dim in range(2, x.ndim):
                x0 = x0.narrow(dim, shift, x.shape[dim])
            return x0

        return spun


@dataclass(frozen=True)
class Known:
    """x0 = value where mask, else x0(x_t): parts that are known stay, the others are drawn anew.

    A state is linear in its estimates, and a solver exact for a constant one. So the known part
    goes from noise to `value` with the right noise at every step, and ends there exactly.

    Args:
        value: [B, ...] or what broadcasts to it.
        mask: bool, true where `value` is known; broadcasts likewise.
    """

    value: Tensor
    mask: Tensor

    def __call__(self, estimate: Estimate) -> Estimate:
        return lambda x, at: torch.where(self.mask, self.value.to(x.dtype), estimate(x, at))
