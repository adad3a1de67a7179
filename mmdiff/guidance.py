"""Classifier-free guidance: push the estimate away from what the network says unconditioned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mmdiff.diffusion import At

NONE = -1


@dataclass(frozen=True)
class Guidance:
    """x0 = x0(none) + scale * (x0(classes) - x0(none)) (Ho & Salimans 2022).

    "None" hides all class conditions (label, speaker, ...) together, as training does. The same
    combination of eps or v is the same guidance: all three are affine in each other.

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

    def scale_at(self, t: float) -> float:
        """The scale at time `t`: 1 outside of the interval."""
        return self.scale if self.interval[0] <= t <= self.interval[1] else 1.0

    def estimate(self, x0: Callable[..., Tensor], x: Tensor, at: At, **cond: Tensor) -> Tensor:
        """The guided x0 [B, ...] of `x`, from one call of `x0(x, at, **cond)`.

        That call's batch is doubled, with and then without its classes (the conditions of an
        integer dtype), unless every scale is 1.
        """
        scales = [self.scale_at(t) for t in at.times]
        if all(scale == 1 for scale in scales):
            return x0(x, at, **cond)
        both = x0(
            torch.cat((x, x)),
            at.doubled(),
            **{name: torch.cat((value, _hidden(value))) for name, value in cond.items()},
        )
        conditioned, plain = both.chunk(2)
        if len(scales) == 1:
            guided = torch.lerp(plain, conditioned, scales[0])
        else:
            weight = torch.tensor(scales, dtype=x.dtype, device=x.device)
            weight = weight.repeat_interleave(len(x) // len(scales))
            guided = torch.lerp(plain, conditioned, weight.reshape(-1, *(1,) * (x.ndim - 1)))
        if self.rescale:
            wanted, found = (v.flatten(1).std(1, correction=0) for v in (conditioned, guided))
            ratio = wanted / found.clamp(min=1e-12)
            factor = torch.lerp(torch.ones_like(ratio), ratio, self.rescale)
            guided = guided * factor.reshape(-1, *(1,) * (x.ndim - 1))
        return guided


def _hidden(condition: Tensor) -> Tensor:
    if condition.is_floating_point():
        return condition
    return torch.full_like(condition, NONE)
