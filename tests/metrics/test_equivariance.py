"""Denoisers that are linear and periodically time-varying, whose images are known exactly."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmdiff.conditions import Class
from mmdiff.diffusion import Diffusion
from mmdiff.metrics.equivariance import FREQUENCIES, LIMIT, DenoiserReport, denoiser_artefacts
from mmdiff.nn import FrontEnd, Patch, UNet
from mmdiff.schedules import Trigonometric

PERIOD = 6
TIMES = (0.3, 1.0)


class Linear(nn.Module):
    """A 1x1 convolution: behind a front end of frames, one matrix for each of them."""

    conditions: ClassVar[dict[str, Class]] = {}

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.matrix = nn.Parameter(matrix)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.matrix @ x


class Echo(nn.Module):
    """Shift-invariant: a delay of three samples, and a filter."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return 0.5 * x - F.pad(x, (3, -3))


def clips(count: int, length: int, channels: int = 1) -> Tensor:
    return torch.randn(count, channels, length, dtype=torch.float64)


def measure(
    backbone: nn.Module, x: Tensor, shifts: int = 5, frequencies: Sequence[float] = (0.3, 1.5)
) -> DenoiserReport:
    model = Diffusion(backbone, Trigonometric(), "x0")
    return denoiser_artefacts(model, x, PERIOD, TIMES, frequencies, shifts, batch=3)


def mixer() -> Tensor:
    return torch.eye(PERIOD, dtype=torch.float64) + 0.1 * torch.randn(PERIOD, PERIOD).double()


def test_image_rejection_of_a_periodic_network_is_exact() -> None:
    """y[l p + c] = sum_m A[c, m] x[l p + m]: h_c(w) = sum_m A[c, m] exp(i w (m - c))."""
    matrix = mixer()
    network = FrontEnd(Patch(PERIOD), Linear(matrix))
    report = measure(network, clips(2, 400), frequencies=FREQUENCIES)
    places = torch.arange(PERIOD, dtype=torch.float64)
    for i, w in enumerate(FREQUENCIES):
        turn = torch.polar(torch.ones(PERIOD, PERIOD).double(), w * (places - places[:, None]))
        spectrum = torch.fft.fft((matrix * turn).sum(1)).abs().square()
        wanted = 10 * math.log10(spectrum[0] / spectrum[1:].sum())
        for row in report.times:
            found = row.rejection[PERIOD][i]
            assert found == pytest.approx((wanted, wanted, wanted), abs=1e-6)
            assert all(row.rejection[q][i].value > 60 for q in (PERIOD - 1, PERIOD + 1))


def test_shift_error_of_a_linear_network_in_white_noise_is_twice_its_images() -> None:
    """All of x_t is white at t = 1. H_k as filters: at lag r, (1/p) sum_c A[c, c - r] e^{..}."""
    matrix = mixer()
    x = clips(12, 4000)
    for shifts in (PERIOD - 1, 50):
        report = measure(FrontEnd(Patch(PERIOD), Linear(matrix)), x, shifts)
        assert report.shifts == tuple(range(1, PERIOD))
        straight = sum(
            matrix.diagonal(lag).mean().item() ** 2 * (1 - abs(lag) / PERIOD) ** 2
            for lag in range(1 - PERIOD, PERIOD)
        )
        images = 1 - straight / (matrix.square().sum().item() / PERIOD)
        noise = report.times[1]
        assert noise.shift_error.value == pytest.approx(2 * images, rel=0.03)
        assert noise.shift_error.low < noise.shift_error.value < noise.shift_error.high
        assert sum(noise.shift_errors) / PERIOD == pytest.approx(noise.shift_error.value)
        assert noise.whole_period < 1e-20
    few = measure(FrontEnd(Patch(PERIOD), Linear(matrix)), x, 2)
    assert len(few.shifts) == len(few.times[1].shift_errors) == 2


@pytest.mark.parametrize("channels", [1, 2])
def test_a_network_that_treats_all_samples_alike_has_nothing(channels: int) -> None:
    report = measure(Echo(), clips(3, 101, channels))
    for row in report.times:
        for estimates in row.rejection.values():
            assert all(e == (LIMIT, LIMIT, LIMIT) for e in estimates)
        assert row.shift_error.high == 0
        assert row.whole_period == 0


class Gate(nn.Module):
    """Treats all samples alike, but not all contents: images of a kind, with no phase in common."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return x * torch.sigmoid(F.avg_pool1d(x.abs(), 5, 1, 2))


def test_what_follows_the_content_is_no_image() -> None:
    report = measure(Gate(), clips(40, 400))
    for row in report.times:
        for estimates in row.rejection.values():
            assert sum(e.high < LIMIT for e in estimates) <= 2
            assert all(e.value > 35 for e in estimates)
        assert row.shift_error.value < 1e-25


def test_a_u_net_with_attention_and_conditions() -> None:
    """It begins as x0 = alpha x_t in v-prediction, which has no images; shaken, it has a grid."""
    half, kinds = PERIOD // 2, {"label": Class(3)}
    net = UNet(1, half, half, (8, 8), 1, (False, True), conditions=kinds)
    model = Diffusion(FrontEnd(Patch(half), net), Trigonometric(), "v")
    x = clips(6, 120).float()
    label = torch.tensor([0, 1, 2, -1, 0, 1])

    def at_a_half(batch: int = 4) -> DenoiserReport:
        return denoiser_artefacts(model, x, PERIOD, [0.5], [1.0], 3, batch=batch, label=label)

    report = at_a_half()
    assert report.times[0].rejection[PERIOD][0].low > 100
    assert report.times[0].shift_error.high < 1e-10
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    report = at_a_half()
    assert report.times[0].rejection[PERIOD][0].value < 60
    assert report.times[0].shift_error.value > 1e-4
    again = at_a_half(6).times[0]
    assert again.shift_errors == pytest.approx(report.times[0].shift_errors, rel=1e-3)


def test_reports_are_json_and_text() -> None:
    report = measure(FrontEnd(Patch(PERIOD), Linear(mixer())), clips(3, 100), shifts=2)
    stored = json.loads(json.dumps(report.as_dict()))
    first = report.times[0]
    assert stored["times"][0]["rejection"]["5"][1] == list(first.rejection[5][1])
    assert len(stored["shifts"]) == 2
    text = report.as_text()
    assert text.count("control, period 5") == text.count("control, period 7") == len(TIMES)
    assert f"{first.rejection[PERIOD][0].value:6.1f}" in text


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(ValueError, match="at least two clips"):
        measure(Echo(), clips(1, 100))
    with pytest.raises(ValueError, match="needs clips of at least 56 samples"):
        measure(Echo(), clips(2, 50))
    with pytest.raises(ValueError, match="nothing to measure"):
        denoiser_artefacts(Diffusion(Echo(), Trigonometric(), "x0"), clips(2, 99), 1, TIMES)
    with pytest.raises(ValueError, match="does not answer"):
        measure(FrontEnd(Patch(PERIOD), Linear(torch.zeros(PERIOD, PERIOD).double())), clips(2, 99))
