"""A diffusion model: a backbone, a schedule and what the backbone predicts."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmdiff import prediction as pred
from mmdiff.prediction import Prediction, Weighting
from mmdiff.schedules import Schedule


class Denoised(NamedTuple):
    """What a denoiser makes of x_t: estimates of the clean signal and of the noise in it."""

    x0: Tensor
    eps: Tensor


class At(NamedTuple):
    """Where a network is asked, as the host and the device need it.

    `times` has one entry for the whole batch, or one for each of its equal consecutive parts.
    """

    times: tuple[float, ...]
    t: Tensor  # [B]
    alpha: Tensor  # alpha and sigma: scalars, or [B, 1, ...]
    sigma: Tensor

    def doubled(self) -> At:
        """For a batch that is repeated once."""
        if self.alpha.ndim == 0:
            return self._replace(t=torch.cat((self.t, self.t)))
        return At(self.times * 2, *(torch.cat((v, v)) for v in self[1:]))


def expand(value: Tensor, like: Tensor) -> Tensor:
    """[B] -> [B, 1, ...]: one value per sample, ready to multiply `like`."""
    return value.reshape(-1, *(1,) * (like.ndim - 1))


class Diffusion(nn.Module):
    """Trains and denoises with any backbone `forward(x [B, C, *spatial], t [B] in [0, 1], **cond)`.

    Args:
        backbone: returns a tensor of the shape of `x`.
        schedule: x_t = alpha(t) x0 + sigma(t) eps.
        prediction: what the backbone's output means, "eps", "v" or "x0".
        weighting: "uniform" or "min_snr", see `prediction.loss_weight`.

    Raises:
        ValueError: an unknown name, or eps on a schedule whose alpha reaches 0.
    """

    def __init__(
        self,
        backbone: nn.Module,
        schedule: Schedule,
        prediction: Prediction,
        weighting: Weighting = "uniform",
    ) -> None:
        super().__init__()
        pred.check(prediction, weighting)
        if prediction == "eps" and schedule.alpha_at_one == 0:
            raise ValueError(
                f"{type(schedule).__name__} has alpha = 0 at t = 1, where x0 cannot be recovered "
                'from eps: use prediction="v", or a schedule such as LinearBeta().'
            )
        self.backbone = backbone
        self.schedule = schedule
        self.prediction: Prediction = prediction
        self.weighting: Weighting = weighting

    def add_noise(self, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """x_t of `x0` [B, ...] at `t` [B]."""
        alpha, sigma = self.schedule(t)
        return expand(alpha, x0) * x0 + expand(sigma, x0) * noise

    def loss(
        self,
        x: Tensor,
        t: Tensor | None = None,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
        **cond: Tensor,
    ) -> Tensor:
        """The weighted mean squared error at random times: a scalar, float32 or wider.

        Args:
            x: clean data [B, C, *spatial].
            t: times [B] in [0, 1]; drawn uniformly over the schedule's training times if None.
            noise: the shape of `x`; drawn if None.
            generator: where `t` and `noise` are drawn from; torch's default if None.
        """
        if t is None:
            u = torch.rand(len(x), generator=generator, device=x.device)
            t = self.schedule.training_time(u)
        if noise is None:
            noise = torch.empty_like(x).normal_(generator=generator)
        alpha, sigma = (expand(value, x) for value in self.schedule(t))
        target = pred.from_x0_eps(self.prediction, x, noise, alpha, sigma)
        output = self.backbone((alpha * x + sigma * noise).to(x.dtype), t, **cond)
        wide = torch.promote_types(torch.promote_types(output.dtype, target.dtype), torch.float32)
        error = (output.to(wide) - target.to(wide)).square().flatten(1).mean(1)
        if self.weighting == "uniform":
            return error.mean()
        snr = self.schedule.log_snr(t).exp()
        return (pred.loss_weight(self.weighting, self.prediction, snr).to(wide) * error).mean()

    # What a wrapper that distributes or compiles a module calls.
    forward = loss

    def denoise(self, x_t: Tensor, t: Tensor, **cond: Tensor) -> Denoised:
        """Estimates of x0 and eps from `x_t` [B, C, *spatial] at `t` [B], in the dtype of `x_t`.

        Converted in float32 or wider whatever the backbone computes in.
        """
        wide = torch.promote_types(x_t.dtype, torch.float32)
        output = self.backbone(x_t, t.to(wide), **cond).to(wide)
        alpha, sigma = (expand(value, x_t) for value in self.schedule(t.to(wide)))
        x0, eps = pred.to_x0_eps(self.prediction, output, x_t.to(wide), alpha, sigma)
        return Denoised(x0.to(x_t.dtype), eps.to(x_t.dtype))

    def x0(self, x_t: Tensor, at: At, dtype: torch.dtype, /, **cond: Tensor) -> Tensor:
        """The estimate of x0 alone, for a sampler that knows the noise level already.

        The backbone is given `x_t` rounded to `dtype`; the conversion is done in that of `x_t`.
        """
        output: Tensor = self.backbone(x_t.to(dtype), at.t, **cond)
        output = output.to(x_t.dtype)
        return pred.to_x0(self.prediction, output, x_t, at.alpha, at.sigma)
