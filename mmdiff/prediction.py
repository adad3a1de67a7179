"""What the network predicts: eps, v or x0, and what its error weighs.

With x_t = alpha x0 + sigma eps and alpha^2 + sigma^2 = 1 (Salimans & Ho 2022):

    v = alpha eps - sigma x0,    x0 = alpha x_t - sigma v,    eps = sigma x_t + alpha v.

The functions here convert, in either direction; no other place in the library does.
"""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor, ones_like

Prediction = Literal["eps", "v", "x0"]
Weighting = Literal["uniform", "min_snr"]

PREDICTIONS: tuple[str, ...] = get_args(Prediction)
WEIGHTINGS: tuple[str, ...] = get_args(Weighting)

MIN_SNR_GAMMA = 5.0  # Hang et al. 2023, the value of the paper


def from_x0_eps(
    prediction: Prediction, x0: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor
) -> Tensor:
    """The network's output (and so its training target) that stands for `x0` and `eps`.

    All tensors broadcast against each other.
    """
    if prediction == "eps":
        return eps
    if prediction == "v":
        return alpha * eps - sigma * x0
    return x0


def to_x0(
    prediction: Prediction, output: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor
) -> Tensor:
    """x0 from a network's `output` at `x_t`; "eps" divides by alpha."""
    if prediction == "eps":
        return (x_t - sigma * output) / alpha
    if prediction == "v":
        return alpha * x_t - sigma * output
    return output


def to_x0_eps(
    prediction: Prediction, output: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor
) -> tuple[Tensor, Tensor]:
    """(x0, eps) from a network's `output` at `x_t`; all tensors broadcast against each other.

    "eps" divides by alpha, "x0" divides by sigma, "v" divides by nothing.
    """
    x0 = to_x0(prediction, output, x_t, alpha, sigma)
    if prediction == "eps":
        return x0, output
    if prediction == "v":
        return x0, sigma * x_t + alpha * output
    return x0, (x_t - alpha * output) / sigma


def error_factor(prediction: Prediction, snr: Tensor) -> Tensor:
    """How many times the squared error of this prediction is the squared error of x0.

    SNR for eps, SNR + 1 for v, 1 for x0 (variance-preserving schedules).
    """
    if prediction == "eps":
        return snr
    if prediction == "v":
        return snr + 1
    return ones_like(snr)


def loss_weight(weighting: Weighting, prediction: Prediction, snr: Tensor) -> Tensor:
    """The weight of a sample's mean squared error, in the units of what the network predicts.

    "uniform" weighs the network's own output evenly (DDPM's L_simple when that is eps).
    "min_snr" weighs the x0-error by min(SNR, 5), whatever is predicted (Hang et al. 2023).
    """
    if weighting == "uniform":
        return ones_like(snr)
    # The SNR is infinite at t = 0; 1e12 times the x0-error is past what any float32 loss resolves.
    snr = snr.clamp(max=1e12)
    return snr.clamp(max=MIN_SNR_GAMMA) / error_factor(prediction, snr)


def check(prediction: str, weighting: str = "uniform") -> None:
    """Raise ValueError for a name that does not exist."""
    if prediction not in PREDICTIONS:
        raise ValueError(f"unknown prediction {prediction!r}; known are {', '.join(PREDICTIONS)}.")
    if weighting not in WEIGHTINGS:
        raise ValueError(f"unknown weighting {weighting!r}; known are {', '.join(WEIGHTINGS)}.")
