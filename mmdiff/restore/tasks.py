"""What people do with damaged signals: `sample`, steered by what is left of one.

All functions have one shape: `task(model, y, what it needs, **how)` gives answers
[count, C, *spatial] to one damaged signal `y` [C, *spatial], in the model's units and without a
batch axis. `how` is what all of them take:

    count: how many answers, 1.
    seed: any integer, 0.
    sampling: a `Sampling`; what `usual(model)` gives if None.
    on_step: called after each step, as by `sample`.
    conditions by name, one value for all answers.

A value that does not fit raises ValueError, as in `sample`. What the damage left alone comes back
as it is.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdiff import noise as keyed
from mmdiff.diffusion import Diffusion
from mmdiff.posterior import Posterior, clipped
from mmdiff.restore.physics import Filter, Mask, Room, gaussian, lowpass
from mmdiff.sampling import Sampling, sample
from mmdiff.steering import Clip, Known, Steering

SIGMA = 0.01  # the deviation of a measurement's noise, where it is only rounded
# For what is known around a hole or a peak, which `Known` makes exact: this and one round draw as
# well as less noise and more rounds do, and stay stable where a model never saw the like.
_LOOSE = 0.1
_MOST_STEPS = 1000  # from pure noise; denoising goes the end of that way alone
_STEEP = 16  # lobes of the filter whose band is widened: nothing is known beyond the band
_TOP = 0.999  # of the highest peak; what lies above was clipped


def usual(model: Diffusion) -> Sampling:
    """What the model recommends, but for what `Posterior` needs.

    That is `DPMpp2MSDE`; no guidance, whose estimate is no mean of x0; and a clip to the range of
    the data, which a sample that has little in common with the model's would leave.
    """
    if model.info is None:
        return Sampling()
    modality, recommended = model.info.modality, model.info.sampling
    clip = recommended.clip or (modality.data_range if modality else None)
    return replace(recommended, solver="dpmpp2msde", guidance=None, clip=clip)


def restore(model: Diffusion, y: Tensor, physics: Any, sigma: float = SIGMA, **how: Any) -> Tensor:
    """Answers to y = A x + sigma n, n standard normal, drawn by `Posterior`.

    Args:
        model: in eval mode, as `mmdiff.load` gives it.
        y: one measurement.
        physics: with methods `A` and `A_adjoint`, as those of `mmdiff.restore.physics` and
            deepinv's LinearPhysics.
        sigma: the deviation of the noise, in the units of y.
        how: see the head of this module.
    """
    y = y.to(_device(model))[None]
    shape = physics.A_adjoint(y).shape[1:]
    return _draw(model, shape, [Posterior(y, physics, sigma)], **how)


def fill(model: Diffusion, y: Tensor, mask: Tensor, **how: Any) -> Tensor:
    """Draw anew where `mask` (bool, broadcasts to y) is true: holes, gaps, scratches."""

    def posterior(part: Tensor, known: Tensor) -> Posterior:
        return Posterior(part * known, Mask(tuple(part.shape[1:]), known), _LOOSE, rounds=1)

    return _fill(model, y, mask, posterior, **how)


def extend(model: Diffusion, y: Tensor, border: int, **how: Any) -> Tensor:
    """Draw `border` positions more, at both ends of each spatial axis."""
    if border < 1:
        raise ValueError(f"the border must be 1 position or more, not {border}.")
    inside = torch.zeros(y.shape[1:], dtype=torch.bool)
    sides = (border, border) * inside.ndim
    return fill(model, F.pad(y, sides), F.pad(inside, sides, value=True), **how)


def continue_to(model: Diffusion, y: Tensor, seconds: float, **how: Any) -> Tensor:
    """Go on after the end of a sound, until all of it is so many seconds long."""
    now, length = y.shape[-1], model.info.modality.lasting(y.shape, seconds)[-1]
    if length <= now:
        raise ValueError(f"it lasts for {seconds:g} seconds already: ask for more.")
    return fill(model, F.pad(y, (0, length - now)), torch.arange(length) >= now, **how)


def declip(model: Diffusion, y: Tensor, level: float | None = None, **how: Any) -> Tensor:
    """Draw the peaks that were cut off at +-`level`; from y itself, if None.

    Raises:
        ValueError: there are none; also no two positions side by side at the highest peak.
    """
    if level is None:
        level = _TOP * float(y.abs().max())
        top = y.abs() >= level
        if not (top[..., 1:] & top[..., :-1]).any():
            raise ValueError("nothing is clipped: its highest peak is no two samples wide.")
    y = y.to(_device(model))
    top = y.abs() >= level
    x = _fill(model, y, top, lambda part, _: clipped(part, level, _LOOSE, rounds=1), **how)
    return torch.where(top, y.sign() * torch.maximum(x * y.sign(), y.abs()), x)


def enlarge(model: Diffusion, y: Tensor, factor: int, **how: Any) -> Tensor:
    """`factor` times as many positions on each spatial axis."""
    if factor < 2:
        raise ValueError(f"the factor must be 2 or more, not {factor}.")
    shape = (len(y), *(side * factor for side in y.shape[1:]))
    taps = lowpass(1 / factor, even=factor % 2 == 0)
    return restore(model, y, Filter(shape, taps, factor), **how)


def widen(model: Diffusion, y: Tensor, band: float, **how: Any) -> Tensor:
    """Draw what lies above `band` Hz in a sound, of which nothing there is taken for known."""
    rate = model.info.modality.lasting(y.shape, 1.0)[-1]
    taps = lowpass((1 - 1 / _STEEP) * band / (rate / 2), lobes=_STEEP)
    physics = Filter(tuple(y.shape), taps)
    return restore(model, physics.A(y[None])[0], physics, **how)


def deblur(model: Diffusion, y: Tensor, width: float, **how: Any) -> Tensor:
    """Undo a Gaussian blur with a deviation of `width` positions."""
    return restore(model, y, Filter(tuple(y.shape), gaussian(width)), **how)


def colour(model: Diffusion, y: Tensor, **how: Any) -> Tensor:
    """Colours [count, 3, H, W] for a grey picture `y` [1, H, W], as bright as it is (Rec. 601)."""
    from deepinv.physics import Decolorize  # slow to import

    if (model.info.shape[0], len(model.info.shape)) != (3, 3):
        raise ValueError(f"this model makes {list(model.info.shape)}: colours need three channels.")
    return restore(model, y, Decolorize(srf="rec601", device=_device(model)), **how)


def unroom(model: Diffusion, y: Tensor, response: Tensor, **how: Any) -> Tensor:
    """Undo a convolution with the impulse `response` [K] of a room."""
    return restore(model, y, Room(tuple(y.shape), response), **how)


def denoise(model: Diffusion, y: Tensor, sigma: float, **how: Any) -> Tensor:
    """Remove normal noise of the deviation `sigma`, in the units of y.

    With noise alpha_t sigma = sigma_t, alpha_t y is a state at t: sampling goes on from there, as
    exact as from pure noise, in as many steps.
    """
    if not 0 < sigma < float("inf"):
        raise ValueError(f"the deviation of the noise must be above 0, not {sigma}.")
    if model.codec is not None:
        identity = Mask(tuple(y.shape), torch.ones((), device=_device(model)))
        return restore(model, y, identity, sigma, **how)
    log_snr = -2 * torch.tensor(sigma, dtype=torch.float64).log()
    t = float(model.schedule.time_of(log_snr))
    alpha = float(model.schedule(torch.tensor(t, dtype=torch.float64))[0])
    sampling = how.pop("sampling", None) or usual(model)
    most = min(_MOST_STEPS, getattr(model.schedule, "timesteps", None) or _MOST_STEPS)
    sampling = replace(sampling, steps=min(most, max(sampling.steps, round(sampling.steps / t))))
    state = alpha * y.to(_device(model)).expand(how.get("count", 1), *y.shape)
    return _draw(model, y.shape, start=t, noise=state, sampling=sampling, **how)


def vary(model: Diffusion, y: Tensor, strength: float, **how: Any) -> Tensor:
    """Variations: noised to the time `strength` in (0, 1], at which nothing is left (SDEdit)."""
    state = noised(model, y, how.get("count", 1), strength, how.get("seed", 0))
    return _draw(model, y.shape, start=strength, noise=state, **how)


def noised(model: Diffusion, y: Tensor, count: int, t: float, seed: int) -> Tensor:
    """`count` states at the time `t` of `y` [C, *spatial], with the noise of samples of `seed`."""
    device = _device(model)
    with torch.no_grad():
        code = model.encode(y[None].to(device)).expand(count, *[-1] * y.ndim)
        z = keyed.normal(seed, torch.arange(count, device=device), -1, code.shape[1:])
        return model.add_noise(code, torch.full((count,), t, device=device), z)


def _fill(
    model: Diffusion,
    y: Tensor,
    mask: Tensor,
    posterior: Callable[[Tensor, Tensor], Posterior],
    *,
    count: int = 1,
    **how: Any,
) -> Tensor:
    """Draw where `mask` is true by `posterior(part [count, ...], known)`.

    Along a last axis that is longer than the model's, one hole after another is filled in a window
    of the model's length, in which all else and all that was drawn before is known: the network's
    memory does not grow with y.
    """
    y = y.to(_device(model))
    mask = mask.to(y.device).expand(y.shape).clone()
    x = y.repeat(count, *[1] * y.ndim)
    length = y.shape[-1]
    window = min(length, length if model.info is None else model.info.shape[-1])
    for turn in itertools.count():
        unknown = mask.flatten(0, -2).any(0).nonzero()[:, 0]
        if not len(unknown):
            break
        first = int(unknown[0])
        hole = int((unknown - torch.arange(len(unknown), device=y.device) == first).sum())
        middle = first + (hole // 2 if hole < window else 0)
        begin = min(max(0, middle - window // 2), length - window)
        part, known = (v[..., begin : begin + window] for v in (x, ~mask))
        steer: list[Steering] = [posterior(part, known)]
        if model.codec is None:
            steer.append(Known(part, known))
        drawn = _draw(model, part.shape[1:], steer, count=count, first=turn * count, **how)
        part.copy_(torch.where(known, part, drawn))
        mask[..., begin : begin + window] = False
    return x


def _draw(
    model: Diffusion,
    shape: Sequence[int],
    steer: Sequence[Steering] = (),
    *,
    count: int = 1,
    seed: int = 0,
    sampling: Sampling | None = None,
    **rest: Any,
) -> Tensor:
    """What `sample` gives; clipping comes last, for nothing steers what it has cut."""
    settings = (sampling or usual(model)).arguments(seed)
    clip, spin = settings.pop("clip"), settings.pop("steer")
    steer = [_of_code(model, shape, s) if isinstance(s, Posterior) else s for s in steer]
    settings["steer"] = (*spin, *steer, *([Clip(*clip)] if clip and model.codec is None else []))
    return sample(model, (count, *shape), **settings, **rest)


def _of_code(model: Diffusion, shape: Sequence[int], posterior: Posterior) -> Posterior:
    """The same for a model that works on a code, of signals of `shape`."""
    if model.codec is None:
        return posterior
    measure: Any = getattr(posterior.physics, "A", posterior.physics)
    return replace(posterior, physics=lambda z: measure(model.decode(z, shape[1:])))


def _device(model: Diffusion) -> torch.device:
    return next(model.parameters(), torch.empty(0)).device
