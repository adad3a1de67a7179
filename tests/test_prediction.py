from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mmdiff import prediction as pred
from mmdiff.prediction import Prediction, Weighting

NAMES: tuple[Prediction, ...] = ("eps", "v", "x0")
each_prediction = pytest.mark.parametrize("name", NAMES)


def pair(angle: float) -> tuple[Tensor, Tensor]:
    t = torch.tensor(angle, dtype=torch.float64)
    return t.cos(), t.sin()


@each_prediction
@given(angle=st.floats(0.02, 1.55), seed=st.integers(0, 99))
def test_round_trip(name: Prediction, angle: float, seed: int) -> None:
    alpha, sigma = pair(angle)
    generator = torch.Generator().manual_seed(seed)
    x0, eps = torch.randn(2, 5, generator=generator, dtype=torch.float64)
    x_t = alpha * x0 + sigma * eps
    output = pred.from_x0_eps(name, x0, eps, alpha, sigma)
    found = pred.to_x0_eps(name, output, x_t, alpha, sigma)
    torch.testing.assert_close(found[0], x0, rtol=0, atol=1e-12)
    torch.testing.assert_close(found[1], eps, rtol=0, atol=1e-12)
    assert torch.equal(pred.to_x0(name, output, x_t, alpha, sigma), found[0])


def test_v_is_the_papers() -> None:
    alpha, sigma = pair(0.3)
    x0, eps = torch.randn(2, 8, dtype=torch.float64)
    v = pred.from_x0_eps("v", x0, eps, alpha, sigma)
    # v is the derivative of x_t = cos(angle) x0 + sin(angle) eps with respect to the angle.
    step = 1e-5
    ahead, behind = ((x0 * a + eps * s) for a, s in (pair(0.3 + step), pair(0.3 - step)))
    torch.testing.assert_close(v, (ahead - behind) / (2 * step), rtol=0, atol=1e-9)


def errors(angle: float) -> dict[Prediction, Tensor]:
    """The squared error of each prediction for one and the same wrong estimate of x0."""
    alpha, sigma = pair(angle)
    x0, eps, wrong = torch.randn(3, 1000, dtype=torch.float64)
    wrong_eps = (alpha * x0 + sigma * eps - alpha * wrong) / sigma
    return {
        name: (
            pred.from_x0_eps(name, x0, eps, alpha, sigma)
            - pred.from_x0_eps(name, wrong, wrong_eps, alpha, sigma)
        )
        .square()
        .mean()
        for name in NAMES
    }


@pytest.mark.parametrize("angle", [0.1, 0.7, 1.2, 1.5])
def test_loss_identities(angle: float) -> None:
    alpha, sigma = pair(angle)
    snr = (alpha / sigma) ** 2
    mse = errors(angle)
    torch.testing.assert_close(mse["eps"], snr * mse["x0"], rtol=1e-12, atol=0)
    torch.testing.assert_close(mse["v"], (snr + 1) * mse["x0"], rtol=1e-12, atol=0)
    weighted = [pred.loss_weight("min_snr", name, snr) * mse[name] for name in NAMES]
    wanted = snr.clamp(max=5) * mse["x0"]
    for value in weighted:
        torch.testing.assert_close(value, wanted, rtol=1e-12, atol=0)


@each_prediction
@pytest.mark.parametrize("weighting", ["uniform", "min_snr"])
def test_weights_are_finite_at_both_ends(name: Prediction, weighting: Weighting) -> None:
    snr = torch.tensor([1e-30, 1.0, torch.inf])
    weight = pred.loss_weight(weighting, name, snr)
    assert weight.isfinite().all()
    assert (weight >= 0).all()


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown prediction 'noise'"):
        pred.check("noise")
    with pytest.raises(ValueError, match="unknown weighting 'snr'"):
        pred.check("eps", "snr")
