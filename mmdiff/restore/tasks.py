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

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdiff import noise as keyed
from mmdiff.diffusion import Diffusion
from mmdiff.posterior import clipped
from mmdiff.restore.drawing import LOOSE, answers, around, device_of, fill_holes, onward, usual
from mmdiff.restore.physics import Filter, Mask, Room, gaussian, lowpass
from mmdiff.sampling import Sampling

SIGMA = 0.01  # the deviation of a measurement's noise, where it is only rounded
_MOST_STEPS = 1000  # from pure noise; denoising goes the end of that way alone
_TOP = 0.999  # of the highest peak; what lies above is as high
_BINS, _LOWEST_LEVEL = 100, 0.4  # that heights up to the highest are counted in; where they begin
_CROWDED = 2.5  # times as many as below
_STEEP = 16  # lobes of the filter whose band is widened: nothing is known beyond the band


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
    return answers(model, y, physics, sigma, **how)


def fill(model: Diffusion, y: Tensor, mask: Tensor, **how: Any) -> Tensor:
    """Draw anew where `mask` (bool, broadcasts to y) is true: holes, gaps, scratches."""
    return fill_holes(model, y, mask, around, **how)


def extend(model: Diffusion, y: Tensor, border: int, **how: Any) -> Tensor:
    """Draw `border` positions more, at both ends of each spatial axis."""
    if border < 1:
        raise ValueError(f"the border must be 1 position or more, not {border}.")
    inside = torch.zeros(y.shape[1:], dtype=torch.bool)
    sides = (border, border) * inside.ndim
    return fill(model, F.pad(y, sides), F.pad(inside, sides, value=True), **how)


def continue_to(model: Diffusion, y: Tensor, seconds: float, **how: Any) -> Tensor:
    """Go on after the end of a sound or a video, until all of it is so many seconds long."""
    longer = lengthened(model, y, seconds)
    return fill(model, longer, lengthened(model, torch.zeros_like(y), seconds, 1.0) > 0, **how)


def lengthened(model: Diffusion, y: Tensor, seconds: float, value: float = 0.0) -> Tensor:
    """`y` with `value` after its end, so many seconds long."""
    shape = model.info.modality.lasting(y.shape, seconds)
    if shape <= tuple(y.shape):
        raise ValueError(f"it lasts for {seconds:g} seconds already: ask for more.")
    ends = zip(reversed(y.shape), reversed(shape), strict=True)
    return F.pad(y, [margin for now, then in ends for margin in (0, then - now)], value=value)


def declip(model: Diffusion, y: Tensor, level: float | None = None, **how: Any) -> Tensor:
    """Draw the peaks that were cut off at +-`level`; from y itself, if None.

    Raises:
        ValueError: there are none, as far as `clip_level` can tell.
    """
    level = clip_level(y) if level is None else level
    y = y.to(device_of(model))
    top = y.abs() >= level
    x = fill_holes(model, y, top, lambda part, _: clipped(part, level, LOOSE, rounds=1), **how)
    return torch.where(top, y.sign() * torch.maximum(x * y.sign(), y.abs()), x)


def clip_level(y: Tensor) -> float:
    """The level that a sound `y` was clipped to.

    That is its highest peak, if it is flat. Lossy coding and dither spread flat peaks, and the
    level is the lower end of where they crowd.

    Raises:
        ValueError: no peak is flat, and they crowd nowhere.
    """
    height = y.abs()
    peak = float(height.max())
    top = height >= _TOP * peak
    if (top[..., 1:] & top[..., :-1]).any():
        return _TOP * peak
    count = torch.histc(height.float().cpu(), _BINS, 0, peak)
    count = F.avg_pool1d(count[None], 5, 1, 2, count_include_pad=False)[0]
    count[: int(_BINS * _LOWEST_LEVEL)] = torch.inf  # a sound has more and more of what is quiet
    fewest = count.cummin(0).values
    crowded = int((count / (fewest + 1)).nan_to_num(0).argmax())
    # A pure tone crowds at its peak, which is no clipping: beyond a level there is less again.
    if not count[crowded] > _CROWDED * max(float(fewest[crowded]) + 1, float(count[-1])):
        raise ValueError("nothing is clipped: no peak is flat, and no height is that of many.")
    rare = count < (count[crowded] + fewest[crowded]) / 2
    return peak * (int(rare[:crowded].nonzero().max()) + 1) / _BINS


def enlarge(model: Diffusion, y: Tensor, factor: int, **how: Any) -> Tensor:
    """`factor` times as many positions on each spatial axis."""
    if factor < 2:
        raise ValueError(f"the factor must be 2 or more, not {factor}.")
    shape = (len(y), *(side * factor for side in y.shape[1:]))
    taps = lowpass(1 / factor, even=factor % 2 == 0)
    return restore(model, y, Filter(shape, taps, factor), **how)


def widen(model: Diffusion, y: Tensor, band: float, **how: Any) -> Tensor:
    """Draw what lies above `band` Hz in a sound, of which nothing there is taken for known."""
    taps = lowpass((1 - 1 / _STEEP) * band / (model.info.modality.rate / 2), lobes=_STEEP)
    physics = Filter(tuple(y.shape), taps)
    return restore(model, physics.A(y[None])[0], physics, **how)


def deblur(model: Diffusion, y: Tensor, width: float, **how: Any) -> Tensor:
    """Undo a Gaussian blur with a deviation of `width` positions, of space alone.

    Raises:
        ValueError: a width that is not above 0; signals of time alone.
    """
    taps = gaussian(width)
    modality = model.info.modality if model.info else None
    time = modality.time if modality else None
    space = tuple(axis for axis in range(1, y.ndim) if axis != time)
    if not space:
        raise ValueError("there are no pixels here to be blurred: for a sound, use `widen`.")
    return restore(model, y, Filter(tuple(y.shape), taps, axes=space), **how)


def colour(model: Diffusion, y: Tensor, **how: Any) -> Tensor:
    """Colours [count, 3, H, W] for a grey picture `y` [1, H, W], as bright as it is (Rec. 601)."""
    from deepinv.physics import Decolorize  # slow to import

    if (model.info.shape[0], len(model.info.shape)) != (3, 3):
        raise ValueError(f"this model makes {list(model.info.shape)}: colours need three channels.")
    return restore(model, y, Decolorize(srf="rec601", device=device_of(model)), **how)


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
        identity = Mask(tuple(y.shape), torch.ones((), device=device_of(model)))
        return restore(model, y, identity, sigma, **how)
    t, alpha, how["sampling"] = noisy(model, sigma, how.pop("sampling", None) or usual(model))
    states = alpha * y.to(device_of(model)).expand(how.get("count", 1), *y.shape)
    return onward(model, states, t, **how)


def noisy(model: Diffusion, sigma: float, sampling: Sampling) -> tuple[float, float, Sampling]:
    """The time t where noise is `sigma` times the signal, alpha there, and `sampling` from there.

    That takes about as many steps from t as from pure noise.
    """
    log_snr = -2 * torch.tensor(sigma, dtype=torch.float64).log()
    t = model.schedule.time_of(log_snr)
    most = min(_MOST_STEPS, getattr(model.schedule, "timesteps", None) or _MOST_STEPS)
    steps = min(most, max(sampling.steps, round(sampling.steps / float(t))))
    return float(t), float(model.schedule(t)[0]), replace(sampling, steps=steps)


def vary(model: Diffusion, y: Tensor, strength: float, **how: Any) -> Tensor:
    """Variations: noised to the time `strength` in (0, 1], at which nothing is left (SDEdit)."""
    states = noised(model, y, how.get("count", 1), strength, how.get("seed", 0))
    return onward(model, states, strength, **how)


def noised(model: Diffusion, y: Tensor, count: int, t: float, seed: int) -> Tensor:
    """`count` states at the time `t` of `y` [C, *spatial], with the noise of samples of `seed`."""
    device = device_of(model)
    with torch.no_grad():
        code = model.encode(y[None].to(device)).expand(count, *[-1] * y.ndim)
        z = keyed.normal(seed, torch.arange(count, device=device), -1, code.shape[1:])
        return model.add_noise(code, torch.full((count,), t, device=device), z)
