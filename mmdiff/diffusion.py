"""A diffusion model: a backbone, a schedule, what the backbone predicts, and perhaps a codec."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple, Protocol, get_args

import torch
from torch import Tensor, nn

from mmdiff import prediction as pred
from mmdiff.conditions import Condition
from mmdiff.noise import Draws
from mmdiff.objective import Objective
from mmdiff.prediction import Prediction, Weighting
from mmdiff.schedules import Schedule, exact
from mmdiff.told import NOTHING, Told, tell

NamedTimes = Literal["uniform", "logit_normal", "late"]
Times = NamedTimes | tuple[float, float]

LEVELS = tuple((i + 0.5) / 8 for i in range(8))  # times that validation looks at


class Codec(Protocol):
    """A code of a signal: shorter, with more channels. Any size goes in, and the same comes out.

    Inside a network (`mmdiff.nn.FrontEnd`) noise, loss and sampler stay with the signal; around a
    model (`Diffusion(codec=)`) they work on the code.

    Around a model, a codec may code x by what is known of it: `given` names the conditions that
    `encode(x, **given)` and `decode(z, spatial, **given)` take, and `inner` is the codec that
    signals among the conditions pass.
    """

    factor: int  # positions of x, on each axis, for one of the code

    def channels(self, channels: int) -> int:
        """Channels of the code of a signal with `channels` channels."""

    def encode(self, x: Tensor) -> Tensor:
        """[B, C, *spatial] -> [B, channels(C), *about spatial / factor]."""

    def decode(self, z: Tensor, spatial: Sequence[int]) -> Tensor:
        """The code of a signal of sides `spatial` -> [B, C, *spatial]."""


class Denoised(NamedTuple):
    """What a denoiser makes of x_t: estimates of the clean signal and of the noise in it."""

    x0: Tensor
    eps: Tensor


class At(NamedTuple):
    """Where a network is asked, and what it is told there.

    `times` has one entry for the whole batch, or one for each of its equal consecutive parts.
    """

    times: tuple[float, ...]
    t: Tensor  # [B]
    alpha: float | Tensor  # alpha and sigma: numbers, or [B, 1, ...]
    sigma: float | Tensor
    told: Told = NOTHING

    def and_untold(self) -> At:
        """For a batch that is repeated once, and told nothing the second time."""
        alpha, sigma = (
            torch.cat((v, v)) if isinstance(v, Tensor) else v for v in (self.alpha, self.sigma)
        )
        times = self.times if len(self.times) == 1 else self.times * 2
        told = self.told.with_(self.told.hidden())
        return At(times, torch.cat((self.t, self.t)), alpha, sigma, told)


Estimate = Callable[[Tensor, At], Tensor]  # x_t [B, ...] -> x0 [B, ...]


def check_times(times: Times) -> Times:
    """`times`, a pair as a tuple; or a ValueError, see `Diffusion`."""
    known = get_args(NamedTimes)
    if isinstance(times, str):
        if times not in known:
            raise ValueError(f"unknown times {times!r}; known are {', '.join(known)}.")
        return times
    mean, deviation = times
    if not deviation > 0:
        raise ValueError(f"times need a positive deviation, not {deviation}.")
    return mean, deviation


def expand(value: Tensor, like: Tensor) -> Tensor:
    """[B] -> [B, 1, ...]: one value per sample, ready to multiply `like`."""
    return value.reshape(-1, *(1,) * (like.ndim - 1))


class Diffusion(Objective):
    """Trains and denoises with any backbone `forward(x [B, C, *spatial], t [B], **conditions)`.

    Args:
        backbone: returns a tensor of the shape of `x`; what it can be told is its attribute
            `conditions`, see `mmdiff.conditions`.
        schedule: x_t = alpha(t) x0 + sigma(t) eps.
        prediction: what the backbone's output means, "eps", "x0", "v" or "flow".
        weighting: "uniform", "min_snr", "v" or "relative", see `prediction.loss_weight`.
        times: how training draws noise levels: at "uniform" times, or (mean, deviation) of the
            logit of the time on `Trigonometric`, "logit_normal" for (0, 1), which leaves out most
            that are almost clean or almost noise (Esser et al. 2024), or "late", where half lie
            beyond t = 15/16: of a signal that conditions tell nearly all of, the first steps make
            the most.
        hide: how often training tells a sample nothing, for classifier-free guidance.
        codec: the model works on the code of x, each channel of it at mean 0 and deviation 1.
        conditions: what the model is told, where the codec makes other things of it than the
            backbone's (`Condition.inside`).

    Raises:
        ValueError: an unknown name, a deviation that is not positive, or eps on a schedule whose
            alpha reaches 0.
    """

    info: Any = None  # what its checkpoint says of it, a `mmdiff.checkpoints.Info`
    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        schedule: Schedule,
        prediction: Prediction,
        weighting: Weighting = "uniform",
        *,
        times: Times = "uniform",
        hide: float = 0.1,
        codec: Any = None,
        conditions: Mapping[str, Condition] | None = None,
    ) -> None:
        super().__init__()
        pred.check(prediction, weighting)
        if not 0 <= hide <= 1:
            raise ValueError(f"hide must lie in [0, 1], not {hide}.")
        if prediction == "eps" and schedule.alpha_at_one == 0:
            raise ValueError(
                f"{type(schedule).__name__} has alpha = 0 at t = 1, where x0 cannot be recovered "
                'from eps: use prediction="v", or a schedule such as LinearBeta().'
            )
        self.backbone = backbone
        self.schedule = schedule
        self.prediction: Prediction = prediction
        self.weighting: Weighting = weighting
        self.times = check_times(times)
        self.hide = hide
        self.codec = codec
        inner: Mapping[str, Condition] = getattr(backbone, "conditions", {})
        self.conditions: Mapping[str, Condition] = dict(inner if conditions is None else conditions)
        if codec is not None:
            self.register_buffer("mean", torch.zeros(()))
            self.register_buffer("deviation", torch.ones(()))

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that it was made with."""
        return {
            "backbone": self.backbone,
            "schedule": self.schedule,
            "prediction": self.prediction,
            "weighting": self.weighting,
            "times": self.times,
            "hide": self.hide,
            "codec": self.codec,
            "conditions": self.conditions,
        }

    @property
    def guidable(self) -> bool:
        """Whether it can be told anything, which guidance then hides."""
        return bool(self.conditions)

    @property
    def usually_told(self) -> Mapping[str, Condition]:
        """What training tells it, and so what samples should be told: nothing if all is hidden."""
        return {} if self.hide == 1 else self.conditions

    def encode(self, x: Tensor, **told: Tensor) -> Tensor:
        """What the model works on: `x` [B, C, *spatial] itself, or its code.

        Of what the whole model is `told`, this uses what the codec is given.
        """
        return x if self.codec is None else (self._code(x, told) - self.mean) / self.deviation

    def decode(self, z: Tensor, spatial: Sequence[int], **told: Tensor) -> Tensor:
        """Back from `encode` to [B, C, *spatial]."""
        if self.codec is None:
            return z
        z = z * self.deviation + self.mean
        x: Tensor = self.codec.decode(z, spatial, **self._coded_by(told))
        return x

    @torch.no_grad()
    def state_shape(self, shape: Sequence[int], told: Mapping[str, Tensor]) -> tuple[int, ...]:
        """Of what the model works on for signals of `shape` [B, C, *spatial], told [B, ...]."""
        if self.codec is None:
            return tuple(shape)
        one = {name: value[:1] for name, value in told.items()}
        blank = torch.zeros(1, *shape[1:], device=self.mean.device)
        return shape[0], *self._code(blank, one).shape[1:]

    def _code(self, x: Tensor, told: Mapping[str, Tensor]) -> Tensor:
        code: Tensor = self.codec.encode(x, **self._coded_by(told))
        return code

    def _coded_by(self, told: Mapping[str, Tensor]) -> dict[str, Tensor]:
        given: Sequence[str] = getattr(self.codec, "given", ())
        for name in given:
            if name not in told:
                raise ValueError(f"this model works on what it is told: pass {name}=.")
        return {name: told[name] for name in given}

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        for name in ("mean", "deviation"):  # of as many channels as the code has
            if prefix + name in state:
                setattr(self, name, torch.empty_like(state[prefix + name]).to(self.mean))
        super()._load_from_state_dict(state, prefix, *rest)

    @torch.no_grad()
    def prepare(self, batches: Iterable[Mapping[str, Tensor]]) -> None:
        """Measure mean and deviation of each channel of the code, before training begins."""
        if self.codec is not None:
            codes = torch.cat([self._code(batch["x"], batch).float() for batch in batches])
            axes = [0, *range(2, codes.ndim)]
            self.mean = codes.mean(axes, keepdim=True)
            self.deviation = codes.std(axes, keepdim=True).clamp(min=1e-6)

    def tell(
        self,
        count: int,
        given: Mapping[str, Any],
        device: torch.device,
        sides: Sequence[int] | None = None,
    ) -> Told:
        """What the model is told of `count` samples, checked: `given`, values by name.

        Signals must go along with x of `sides`, if these are known. The backbone is told
        `encoded(model.codec)` of it.
        """
        return tell(self.conditions, count, given, sides).to(device)

    def add_noise(self, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """x_t = alpha x0 + sigma eps of `x0` [B, ...] at `t` [B]."""
        alpha, sigma = self.schedule(t)
        return expand(alpha, x0) * x0 + expand(sigma, x0) * noise

    def loss(self, batch: Mapping[str, Tensor], draws: Draws) -> Tensor:
        """The weighted mean squared error at random times: a scalar, float32 or wider.

        Args:
            batch: "x" [B, C, *spatial], and by name what the model is told of it.
            draws: all that is random.
        """
        x0, told = self._given(batch)
        t = self.training_times(draws.times())
        return self.loss_at(x0, t, draws.normal(x0), told.hidden(draws.chosen(self.hide)))

    def losses(self, batch: Mapping[str, Tensor], draws: Draws) -> dict[float, Tensor]:
        """{t: loss} at eight times, with nothing hidden and noise that no training step draws."""
        x0, told = self._given(batch)
        found = {}
        for level, t in enumerate(LEVELS):
            z = replace(draws, step=-1 - level).normal(x0)
            found[t] = self.loss_at(x0, torch.full((len(x0),), t, device=x0.device), z, told)
        return found

    def _given(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Told]:
        values = {name: batch[name] for name in self.conditions if name in batch}
        return self.encode(batch["x"], **values), Told(self.conditions, values).encoded(self.codec)

    def loss_at(self, x0: Tensor, t: Tensor, noise: Tensor, told: Told = NOTHING) -> Tensor:
        """The weighted mean squared error w |out - (a x0 + b eps)|^2 at `t` [B], a scalar."""
        output = self._ask(self.add_noise(x0, t, noise).to(x0.dtype), t, told)
        return self.errors(output, x0, t, noise).mean()

    def errors(self, output: Tensor, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """What `loss_at` is the mean of, [B]: the weighted errors of what the backbone said."""
        levels = self.schedule(t)
        alpha, sigma = (expand(value, x0) for value in levels)
        target = pred.from_x0_eps(self.prediction, x0, noise, alpha, sigma)
        wide = torch.promote_types(torch.promote_types(output.dtype, target.dtype), torch.float32)
        error = (output.to(wide) - target.to(wide)).square().flatten(1).mean(1)
        return pred.loss_weight(self.weighting, self.prediction, *levels, x0).to(wide) * error

    def denoise(self, x_t: Tensor, t: Tensor, **conditions: Any) -> Denoised:
        """Estimates of x0 and eps from `x_t` [B, C, *spatial] at `t` [B], in the dtype of `x_t`.

        Converted in float32 or wider whatever the backbone computes in.
        """
        wide = torch.promote_types(x_t.dtype, torch.float32)
        sides = x_t.shape[2:] if self.codec is None else None
        told = self.tell(len(x_t), conditions, x_t.device, sides).encoded(self.codec)
        output = self._ask(x_t, t.to(wide), told).to(wide)
        alpha, sigma = (expand(value, x_t) for value in self.schedule(t.to(wide)))
        x0, eps = pred.to_x0_eps(self.prediction, output, x_t.to(wide), alpha, sigma)
        return Denoised(x0.to(x_t.dtype), eps.to(x_t.dtype))

    def x0(self, x_t: Tensor, at: At, dtype: torch.dtype) -> Tensor:
        """The estimate of x0 alone, for a sampler that knows the noise level already.

        The backbone is given `x_t` rounded to `dtype`; the conversion is done in that of `x_t`.
        """
        output = self._ask(x_t.to(dtype), at.t, at.told).to(x_t.dtype)
        return pred.to_x0(self.prediction, output, x_t, at.alpha, at.sigma)

    def _ask(self, x_t: Tensor, t: Tensor, told: Told) -> Tensor:
        output: Tensor = self.backbone(x_t, t, **told.values)
        return output

    def training_times(self, u: Tensor, times: Times | None = None) -> Tensor:
        """`u` [B], uniform in [0, 1) -> the times at which to train, or such `times`."""
        times = times or self.times
        if times == "uniform":
            return self.schedule.training_time(u)
        if times == "late":
            return self.schedule.training_time(1 - (1 - u) ** 4)
        # The sigmoid of a normal number on `Trigonometric`: the same log-SNRs on any schedule.
        mean, deviation = (0.0, 1.0) if times == "logit_normal" else times
        z = torch.special.ndtri(u.to(exact(u.device)).clamp(min=2**-24))
        t = (mean + deviation * z).sigmoid()
        log_snr = -2 * torch.tan(torch.pi / 2 * t).log()
        return self.schedule.time_of(log_snr).to(u.dtype)
