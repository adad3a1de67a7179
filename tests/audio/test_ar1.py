"""Gaussian AR(1) waveforms: the ideal denoiser is known, so the spectrum of samples must be true.

All maps here are linear, so a unit batch of initial noise shows the exact covariance of what a
deterministic solver makes, without any chance.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mmdiff
from mmdiff.nn import MDCT, STFT, FrontEnd, LearnedConv, Patch, Raw
from mmdiff.schedules import Trigonometric

LENGTH, POLE = 192, 0.9
CODECS = {
    "raw": Raw,
    "patch": lambda: Patch(16),
    "patch that does not divide": lambda: Patch(13),
    "stft": lambda: STFT(32, 8),
    "mdct": lambda: MDCT(16),
    "learned": lambda: LearnedConv(32, 16, 16),
}


def covariance() -> Tensor:
    """Of x[n] = 0.9 x[n - 1] + e[n] with unit variance; [L, L] float64."""
    lag = torch.arange(LENGTH)[:, None] - torch.arange(LENGTH)
    return POLE ** lag.abs().double()


class Ideal(nn.Module):
    """The ideal v of AR(1) signals, as a network that sees and answers in a front end's code.

    `encode` [code, L] must have orthonormal columns.
    """

    def __init__(self, encode: Tensor) -> None:
        super().__init__()
        self.encode = nn.Parameter(encode)
        self.conditions: dict[str, Any] = {}
        values, self.vectors = torch.linalg.eigh(covariance())
        self.values = values

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = Trigonometric()(t[0].double())
        # v = (alpha x - x0) / sigma with x0 = alpha C (alpha^2 C + sigma^2)^-1 x.
        shares = alpha * (1 - self.values) * sigma / (alpha**2 * self.values + sigma**2)
        v = self.vectors * shares @ self.vectors.T
        return (x.flatten(1) @ self.encode @ v @ self.encode.T).reshape(x.shape)


def spectrum(matrix: Tensor) -> Tensor:
    """The expected Hann-windowed periodogram of signals with this covariance, in dB."""
    window = torch.hann_window(LENGTH, dtype=torch.float64)
    waves = torch.fft.rfft(torch.eye(LENGTH, dtype=torch.float64) * window)
    power = torch.einsum("nf,nm,mf->f", waves.conj(), matrix.to(waves.dtype), waves).real
    return 10 * torch.log10(power)


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("solver", [mmdiff.Heun(60), mmdiff.DPMpp2M(120)], ids=repr)
def test_samples_have_the_spectrum_of_the_data(name: str, solver: Any) -> None:
    codec = CODECS[name]().double()
    units = torch.eye(LENGTH, dtype=torch.float64)[:, None]
    network = Ideal(codec.encode(units).flatten(1).T.detach())
    model = mmdiff.Diffusion(FrontEnd(codec, network), Trigonometric(), "v")
    x = mmdiff.sample(model, (LENGTH, 1, LENGTH), solver, noise=units)[:, 0]
    error = spectrum(x.T @ x) - spectrum(covariance())
    assert error.abs().max() < 0.1
    # The truth spans more than 20 dB, so the agreement says something.
    assert spectrum(covariance()).max() - spectrum(covariance()).min() > 20
