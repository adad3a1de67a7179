"""Classifier-free guidance: push the estimate away from what the network says without a label."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mmdiff.diffusion import At

NO_LABEL = -1


@dataclass(frozen=True)
class Guidance:
    """x0 = x0(no label) + scale * (x0(label) - x0(no label)) (Ho & Salimans 2022).

    The same combination of eps or v is the same guidance: all three are affine in each other.

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

    def estimate(
        self, x0: Callable[..., Tensor], x: Tensor, at: At, label: Tensor, **cond: Tensor
    ) -> Tensor:
        """The guided x0 [B, ...] of `x`, from one call of `x0(x, at, label=..., **cond)`.

        That call's batch is doubled, with and then without the label, unless every scale is 1.
        """
        scales = [self.scale_at(t) for t in at.times]
        if all(scale == 1 for scale in scales):
            return x0(x, at, label=label, **cond)
        both = x0(
            torch.cat((x, x)),
            at.doubled(),
            label=torch.cat((label, torch.full_like(label, NO_LABEL))),
            **{name: torch.cat((value, value)) for name, value in cond.items()},
        )
        labelled, plain = both.chunk(2)
        if len(scales) == 1:
            guided = torch.lerp(plain, labelled, scales[0])
        else:
            weight = torch.tensor(scales, dtype=x.dtype, device=x.device)
            weight = weight.repeat_interleave(len(x) // len(scales))
            guided = torch.lerp(plain, labelled, weight.reshape(-1, *(1,) * (x.ndim - 1)))
        if self.rescale:
            wanted, found = (v.flatten(1).std(1, correction=0) for v in (labelled, guided))
            ratio = wanted / found.clamp(min=1e-12)
            factor = torch.lerp(torch.ones_like(ratio), ratio, self.rescale)
            guided = guided * factor.reshape(-1, *(1,) * (x.ndim - 1))
        return guided
