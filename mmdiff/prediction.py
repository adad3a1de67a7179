"""What the network predicts: eps, x0, v or flow, each a line through x0 and eps.

With x_t = alpha x0 + sigma eps, an output is a x0 + b eps:

    eps   a = 0       b = 1        Ho et al. 2020
    x0    a = 1       b = 0
    v     a = -sigma  b = alpha    Salimans & Ho 2022
    flow  a = -1      b = 1        Lipman et al. 2023, Liu et al. 2023: d x_t / dt on `Linear`

With d = alpha b - sigma a both come back from an output:

    x0 = (b x_t - sigma out) / d,    eps = (alpha out - a x_t) / d,

and the squared error of an output is (d / sigma)^2 times that of x0. Nothing else in the library
knows one prediction from another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor

Prediction = Literal["eps", "x0", "v", "flow"]
Weighting = Literal["uniform", "min_snr", "v", "relative"]

PREDICTIONS: tuple[str, ...] = get_args(Prediction)
WEIGHTINGS: tuple[str, ...] = get_args(Weighting)

MIN_SNR_GAMMA = 5.0  # Hang et al. 2023, the value of the paper
_LEAST = 1e-30  # of sigma, to divide by
_FAINT = 0.05  # power of an x0 that counts as nearly nothing
_CLEANEST = 1e6  # alpha / sigma, at most: beyond it no float32 loss resolves an error
_CLEAN = 20.0  # the same, where errors of x0 count as those of v

# (alpha, sigma) -> (a, b); numbers or tensors.
LINES: dict[str, Callable[[Any, Any], tuple[Any, Any]]] = {
    "eps": lambda alpha, sigma: (0.0, 1.0),
    "x0": lambda alpha, sigma: (1.0, 0.0),
    "v": lambda alpha, sigma: (-sigma, alpha),
    "flow": lambda alpha, sigma: (-1.0, 1.0),
}


def from_x0_eps(
    prediction: Prediction, x0: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor
) -> Tensor:
    """a x0 + b eps: the network's output, and so its target; all tensors broadcast."""
    a, b = LINES[prediction](alpha, sigma)
    return a * x0 + b * eps


def to_x0(
    prediction: Prediction,
    output: Tensor,
    x_t: Tensor,
    alpha: Tensor | float,
    sigma: Tensor | float,
) -> Tensor:
    """x0 = (b x_t - sigma out) / d from a network's `output` at `x_t`; sigma above 0."""
    a, b = LINES[prediction](alpha, sigma)
    return (b * x_t - sigma * output) / (alpha * b - sigma * a)


def to_x0_eps(
    prediction: Prediction, output: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor
) -> tuple[Tensor, Tensor]:
    """(x0, eps) from a network's `output` at `x_t`; all tensors broadcast against each other.

    Where sigma is 0, x0 is still right, and eps is not defined from an x0 alone.
    """
    sigma = sigma.clamp(min=_LEAST)
    a, b = LINES[prediction](alpha, sigma)
    eps = (alpha * output - a * x_t) / (alpha * b - sigma * a)
    return to_x0(prediction, output, x_t, alpha, sigma), eps


def loss_weight(
    weighting: Weighting,
    prediction: Prediction,
    alpha: Tensor,
    sigma: Tensor,
    x0: Tensor,
) -> Tensor:
    """The weight of a sample's mean squared error, in the units of what the network predicts.

    alpha, sigma [B] and x0 [B, ...] -> [B].

    "uniform" weighs the network's own output evenly: DDPM's L_simple, when that is eps. "min_snr"
    weighs the error of x0 by min(SNR, 5), whatever is predicted (Hang et al. 2023). "v" weighs the
    error of v evenly, whatever is predicted: Li & He 2025 train so a transformer that predicts x0;
    like them, as if alpha / sigma were never above 20, for an error of x0 in v has no bound.
    "relative" weighs the output evenly, but by 1.05 / (mean x0^2 + 0.05): where samples differ much
    in level, as what is to be taken out of recordings does, the faint ones count like the loud.

    The error of x0 is (sigma / d)^2 times that of the output, with d / sigma = b alpha / sigma - a
    and SNR = (alpha / sigma)^2; that of v is its own (d / sigma)^2 times that of x0.
    """
    ratio = (alpha / sigma).clamp(max=_CLEAN if weighting == "v" else _CLEANEST)
    if weighting == "uniform":
        return ratio.new_ones(ratio.shape)
    if weighting == "relative":
        wide = x0.to(torch.promote_types(x0.dtype, torch.float32))
        power = wide.square().flatten(1).mean(1)
        return ratio.new_ones(ratio.shape) * ((1 + _FAINT) / (power + _FAINT))

    def of_x0(name: Prediction) -> Tensor:
        a, b = LINES[name](alpha, sigma)
        return (b * ratio - a) ** 2

    wanted = of_x0("v") if weighting == "v" else ratio.square().clamp(max=MIN_SNR_GAMMA)
    return wanted / of_x0(prediction)


def check(prediction: str, weighting: str = "uniform") -> None:
    """Raise ValueError for a name that does not exist."""
    if prediction not in PREDICTIONS:
        raise ValueError(f"unknown prediction {prediction!r}; known are {', '.join(PREDICTIONS)}.")
    if weighting not in WEIGHTINGS:
        raise ValueError(f"unknown weighting {weighting!r}; known are {', '.join(WEIGHTINGS)}.")
