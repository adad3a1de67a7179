"""deepinv both ways: our models as its denoisers, and its denoisers as our models.

A deepinv denoiser is given x = x0 + sigma eps, x0 in [0, 1]: variance exploding, in a unit of its
own. With s the noise-to-signal ratio in our units, ours is asked at the time where
sigma_t / alpha_t = s, and given alpha_t (x0 + s eps).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from deepinv import models
from torch import Tensor, nn

from mmdiff.checkpoints import Info
from mmdiff.diffusion import Diffusion, expand
from mmdiff.schedules import LinearBeta, Schedule


class Denoiser(models.Denoiser):  # type: ignore[misc]  # deepinv has no types
    """A model as a `deepinv.models.Denoiser`, for deepinv's samplers and optimisers.

    Signals are in [0, 1], which is the model's range of data moved there ([-1, 1] if its checkpoint
    does not say): pictures [B, C, H, W], sound [B, 1, T] likewise.

    Args:
        model: in eval mode, as `mmdiff.load` gives it.
        conditions: what it is told, by name, for all calls; see `mmdiff.conditions`.

    Raises:
        ValueError: a model that works on a code, of which a noisy signal is no part.
    """

    def __init__(self, model: Diffusion, **conditions: Any) -> None:
        super().__init__(next(model.parameters(), torch.empty(0)).device)
        if model.codec is not None:
            raise ValueError("this model denoises a code: deepinv needs one that denoises signals.")
        self.model = model
        self.conditions = conditions
        modality = getattr(model.info, "modality", None)
        span: tuple[float, float] = (-1.0, 1.0) if modality is None else modality.data_range
        self.low, self.high = span

    def forward(self, x: Tensor, sigma: float | Tensor, **conditions: Any) -> Tensor:
        """x0 [B, ...] in [0, 1] of `x` = x0 + `sigma` eps, `sigma` a number or [B].

        Noise beyond the schedule's range is brought to its end by shrinking x.
        """
        unit = self.high - self.low
        ratio = torch.as_tensor(sigma, device=x.device).to(x.dtype).reshape(-1) * unit
        ratio = ratio.expand(len(x))
        t = self.model.schedule.time_of(-2 * ratio.log()).to(x.dtype)
        alpha, _ = self.model.schedule(t)
        most = (self.model.schedule.log_snr(torch.ones_like(t)) / -2).exp().to(x.dtype)
        alpha = alpha * (most / ratio).clamp(max=1)
        x_t = expand(alpha, x) * (x * unit + self.low)
        return (self.model.denoise(x_t, t, **self.conditions, **conditions).x0 - self.low) / unit


class Denoising(nn.Module):
    """A deepinv denoiser as a backbone that predicts x0 in [-1, 1] on `schedule`."""

    def __init__(self, denoiser: nn.Module, schedule: Schedule) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.schedule = schedule

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """x_t [B, C, *spatial] at `t` [B] -> x0."""
        alpha, sigma = (expand(value.to(x.dtype), x) for value in self.schedule(t))
        ratio = (sigma / alpha).flatten()
        x0: Tensor = self.denoiser((x / alpha + 1) / 2, ratio / 2)
        return 2 * x0 - 1


def from_denoiser(
    denoiser: nn.Module, shape: Sequence[int] | None = None, schedule: Schedule | None = None
) -> Diffusion:
    """A model of a deepinv denoiser, in eval mode, for our solvers and steering.

    Args:
        denoiser: called as `denoiser(x, sigma)`, x in [0, 1] and sigma [B].
        shape: of what it makes, [C, *spatial]; None if it takes any.
        schedule: `LinearBeta()` if None, which asks it at sigma from 0.005 to 79.

    Raises:
        ValueError: a schedule whose alpha reaches 0, where there is no signal to divide by.
    """
    schedule = LinearBeta() if schedule is None else schedule
    if schedule.alpha_at_one == 0:
        raise ValueError(f"{type(schedule).__name__} has alpha = 0 at t = 1: use LinearBeta().")
    model = Diffusion(Denoising(denoiser, schedule), schedule, "x0")
    model.info = None if shape is None else Info(tuple(shape))
    return model.eval().requires_grad_(False)
