"""How answers are drawn: `sample`, steered by what is known; long signals in windows.

A signal that is longer than the model's, along one axis, is drawn a window of the model's length
at a time. In each, what was drawn before is known, so that windows go together, and the
network's memory does not grow with the signal.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from einops import repeat
from torch import Tensor

from mmdiff.diffusion import Diffusion
from mmdiff.posterior import Posterior
from mmdiff.restore.passes import Passes
from mmdiff.restore.physics import Following, Mask
from mmdiff.sampling import Sampling, sample
from mmdiff.solvers import DPMpp2MSDE
from mmdiff.steering import Clip, Known, Steering

# For what is known around a hole or a peak, which `Known` makes exact: this and one round draw as
# well as less noise and more rounds do, and stay stable where a model never saw the like.
LOOSE = 0.1
HOLES = 2.0  # where `Passes` begin that draw what is missing
_OVERLAP = 4  # one part in so many of a window is known from the one before


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


def around(y: Tensor, known: Tensor) -> Posterior:
    """The posterior of what is unknown, where `known` [..., *spatial] says what of `y` is not."""
    return Posterior(y * known, Mask(tuple(y.shape[1:]), known), LOOSE, rounds=1)


def draw(
    model: Diffusion,
    shape: Sequence[int],
    steer: Sequence[Steering] = (),
    *,
    count: int = 1,
    seed: int = 0,
    sampling: Sampling | None = None,
    begins: float = Passes.begins,
    **rest: Any,
) -> Tensor:
    """`count` signals of `shape` by `sample`, in `Passes` that begin there where that is steered.

    Clipping comes last, for nothing steers what it has cut.
    Steerings may differ from sample to sample, as may conditions.
    """
    settings = (sampling or usual(model)).arguments(seed)
    clip, spin = settings.pop("clip"), settings.pop("steer")
    steer = [_of_code(model, shape, s) if isinstance(s, Posterior) else s for s in steer]
    if steer and isinstance(settings["solver"], DPMpp2MSDE):
        settings["solver"] = Passes(settings["solver"].steps, begins)
    settings["steer"] = (*spin, *steer, *([Clip(*clip)] if clip and model.codec is None else []))
    return sample(model, (count, *shape), **settings, **rest)


def fill_holes(
    model: Diffusion,
    y: Tensor,
    mask: Tensor,
    posterior: Callable[[Tensor, Tensor], Posterior],
    *,
    count: int = 1,
    **how: Any,
) -> Tensor:
    """Draw where `mask` is true, hole after hole, by `posterior(part [count, ...], known)`.

    In windows along the one axis that is longer than the model's.
    """
    y = y.to(device_of(model))
    mask = mask.to(y.device).expand(y.shape).clone()
    x = repeat(y, "... -> n ...", n=count).clone()
    sides = y.shape if model.info is None else model.info.shape
    axis = next((k for k in reversed(range(1, y.ndim)) if y.shape[k] > sides[k]), y.ndim - 1)
    length, window = y.shape[axis], min(y.shape[axis], sides[axis])
    for turn in itertools.count():
        places = mask.movedim(axis, -1).flatten(0, -2).any(0).nonzero()[:, 0]
        if not len(places):
            break
        first = int(places[0])
        hole = int((places - torch.arange(len(places), device=y.device) == first).sum())
        middle = first + (hole // 2 if hole < window else 0)
        begin = min(max(0, middle - window // 2), length - window)
        part, unknown = x.narrow(axis + 1, begin, window), mask.narrow(axis, begin, window)
        known = ~unknown
        steer: list[Steering] = [posterior(part, known)]
        if model.codec is None:
            steer.append(Known(part, known))
        where: dict[str, Any] = {"count": count, "first": turn * count, "begins": HOLES}
        drawn = draw(model, part.shape[1:], steer, **where, **how)
        part.copy_(torch.where(known, part, drawn))
        unknown.fill_(False)
    return x


def answers(model: Diffusion, y: Tensor, physics: Any, sigma: float, **how: Any) -> Tensor:
    """Answers to `y` = A x + sigma n; in windows if `physics` says how far it reaches."""
    y = y.to(device_of(model))[None]
    shape = physics.A_adjoint(y).shape[1:]
    reach = getattr(physics, "reach", None)
    if reach is None or model.codec is not None or _window(model, shape) == shape[-1]:
        return draw(model, shape, [Posterior(y, physics, sigma)], **how)
    before, after = reach

    def window_of(x: Tensor, begin: int, end: int, known: int, **how: Any) -> Tensor:
        past, now = x[..., max(0, begin - before) : begin], x[..., begin:end]
        heard = end - begin - (after if end < shape[-1] else 0)
        part = Following(tuple(now.shape[1:]), physics, past.shape[-1], known - begin, heard)
        left = y[..., begin : begin + heard] - part.of_past(past)
        wanted = torch.cat((now[..., : known - begin], left), -1)
        steer: list[Steering] = [Posterior(wanted, part, sigma), *_tie(now, known - begin)]
        return draw(model, now.shape[1:], steer, **how)

    return _sweep(model, shape, window_of, after, **how)


def onward(model: Diffusion, states: Tensor, t: float, **how: Any) -> Tensor:
    """Answers that `states` [count, ...] lead to from the time `t`."""
    shape = states.shape[1:]
    if model.codec is not None:
        return draw(model, shape, start=t, noise=states, **how)

    def window_of(x: Tensor, begin: int, end: int, known: int, **how: Any) -> Tensor:
        now, tie = x[..., begin:end], _tie(x[..., begin:end], known - begin)
        steer: list[Steering] = [*(around(one.value, one.mask) for one in tie), *tie]
        return draw(model, now.shape[1:], steer, start=t, noise=states[..., begin:end], **how)

    return _sweep(model, shape, window_of, **how)


def _sweep(
    model: Diffusion,
    shape: Sequence[int],
    window_of: Callable[..., Tensor],
    beyond: int = 0,
    *,
    count: int = 1,
    **how: Any,
) -> Tensor:
    """Answers [count, *shape] that are all new, window after window.

    `window_of(x, begin, end, known, count=, first=, **how)` draws x[..., begin:end], of which what
    lies before `known` is drawn already. The last `beyond` positions are drawn again by the next.
    """
    length, window = shape[-1], _window(model, shape)
    x = torch.zeros(count, *shape, device=device_of(model))
    known = 0
    for turn in itertools.count():
        begin = min(max(0, known - window // _OVERLAP), length - window)
        end = begin + window
        drawn = window_of(x, begin, end, known, count=count, first=turn * count, **how)
        x[..., known:end] = drawn[..., known - begin :]
        if end == length:
            break
        known = end - beyond
    return x


def _tie(x: Tensor, known: int) -> list[Known]:
    """What keeps the first `known` positions of `x`, if there are any."""
    return [Known(x, torch.arange(x.shape[-1], device=x.device) < known)] if known else []


def _window(model: Diffusion, shape: Sequence[int]) -> int:
    """Positions along the last axis of a signal of `shape` that are drawn at a time."""
    return shape[-1] if model.info is None else min(shape[-1], model.info.shape[-1])


def _of_code(model: Diffusion, shape: Sequence[int], posterior: Posterior) -> Posterior:
    """The same for a model that works on a code, of signals of `shape`."""
    if model.codec is None:
        return posterior
    measure: Any = getattr(posterior.physics, "A", posterior.physics)
    return replace(posterior, physics=lambda z: measure(model.decode(z, shape[1:])))


def device_of(model: Diffusion) -> torch.device:
    return next(model.parameters(), torch.empty(0)).device
