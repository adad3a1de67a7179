from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mmdiff import prediction as pred
from mmdiff.prediction import Prediction, Weighting
from mmdiff.schedules import Linear, LinearBeta, Schedule, Trigonometric

NAMES: tuple[Prediction, ...] = ("eps", "x0", "v", "flow")
SCHEDULES = [LinearBeta(), Trigonometric(), Linear()]  # the last one does not preserve variance
each_prediction = pytest.mark.parametrize("name", NAMES)
each_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)


def level(schedule: Schedule, t: float) -> tuple[Tensor, Tensor]:
    return schedule(torch.tensor(t, dtype=torch.float64))


def test_all_are_here() -> None:
    assert pred.PREDICTIONS == NAMES


@each_schedule
@each_prediction
@given(t=st.floats(0.01, 0.99), seed=st.integers(0, 99))
def test_round_trip(name: Prediction, schedule: Schedule, t: float, seed: int) -> None:
    alpha, sigma = level(schedule, t)
    generator = torch.Generator().manual_seed(seed)
    x0, eps = torch.randn(2, 5, generator=generator, dtype=torch.float64)
    x_t = alpha * x0 + sigma * eps
    output = pred.from_x0_eps(name, x0, eps, alpha, sigma)
    found = pred.to_x0_eps(name, output, x_t, alpha, sigma)
    # What is divided by is as small as alpha (eps) or sigma (x0): so much larger is a rounding.
    torch.testing.assert_close(found[0], x0, rtol=0, atol=1e-14 / float(alpha) + 1e-13)
    torch.testing.assert_close(found[1], eps, rtol=0, atol=1e-14 / float(sigma) + 1e-13)
    assert torch.equal(pred.to_x0(name, output, x_t, alpha, sigma), found[0])


# Targets, and the way back from the network's output `o` at `x`, as each paper writes it (of v for
# schedules that preserve variance).
TEXTBOOK: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor], Callable[..., Tensor]]] = {
    "eps": (lambda x0, e, a, s: e, lambda x, o, a, s: (x - s * o) / a, lambda x, o, a, s: o),
    "x0": (lambda x0, e, a, s: x0, lambda x, o, a, s: o, lambda x, o, a, s: (x - a * o) / s),
    "v": (
        lambda x0, e, a, s: a * e - s * x0,
        lambda x, o, a, s: a * x - s * o,
        lambda x, o, a, s: s * x + a * o,
    ),
    "flow": (
        lambda x0, e, a, s: e - x0,
        lambda x, o, a, s: (x - s * o) / (a + s),
        lambda x, o, a, s: (x + a * o) / (a + s),
    ),
}


@each_schedule
@each_prediction
@pytest.mark.parametrize("t", [0.05, 0.4, 0.8])
def test_is_the_textbook_formula(name: Prediction, schedule: Schedule, t: float) -> None:
    alpha, sigma = level(schedule, t)
    x0, eps, output = torch.randn(3, 100, dtype=torch.float64)
    target, to_x0, to_eps = TEXTBOOK[name]
    x_t = alpha * x0 + sigma * eps
    found = pred.from_x0_eps(name, x0, eps, alpha, sigma)
    torch.testing.assert_close(found, target(x0, eps, alpha, sigma), rtol=0, atol=1e-15)
    if name == "v" and isinstance(schedule, Linear):
        return
    back = pred.to_x0_eps(name, output, x_t, alpha, sigma)
    torch.testing.assert_close(back[0], to_x0(x_t, output, alpha, sigma), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(back[1], to_eps(x_t, output, alpha, sigma), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "schedule", "speed"),
    [("v", Trigonometric(), torch.pi / 2), ("flow", Linear(), 1.0)],
)
def test_is_the_velocity_of_its_schedule(
    name: Prediction, schedule: Schedule, speed: float
) -> None:
    """v and flow are d x_t / dt, up to the angle's speed, on the path that each was made for."""
    x0, eps = torch.randn(2, 8, dtype=torch.float64)
    velocity = pred.from_x0_eps(name, x0, eps, *level(schedule, 0.3))
    step = 1e-5
    ahead, behind = (
        alpha * x0 + sigma * eps
        for alpha, sigma in (level(schedule, 0.3 + d) for d in (step, -step))
    )
    torch.testing.assert_close(velocity * speed, (ahead - behind) / (2 * step), rtol=0, atol=1e-9)


@each_schedule
@pytest.mark.parametrize("t", [0.05, 0.5, 0.8, 0.97])
def test_loss_identities(schedule: Schedule, t: float) -> None:
    """The squared error of each prediction for one and the same wrong estimate of x0."""
    alpha, sigma = level(schedule, t)
    snr = (alpha / sigma) ** 2
    x0, eps, wrong = torch.randn(3, 1000, dtype=torch.float64)
    wrong_eps = (alpha * x0 + sigma * eps - alpha * wrong) / sigma
    mse = {
        name: (
            pred.from_x0_eps(name, x0, eps, alpha, sigma)
            - pred.from_x0_eps(name, wrong, wrong_eps, alpha, sigma)
        )
        .square()
        .mean()
        for name in NAMES
    }
    torch.testing.assert_close(mse["eps"], snr * mse["x0"], rtol=1e-12, atol=0)
    torch.testing.assert_close(mse["flow"], (1 + snr.sqrt()) ** 2 * mse["x0"], rtol=1e-12, atol=0)
    if not isinstance(schedule, Linear):
        torch.testing.assert_close(mse["v"], (snr + 1) * mse["x0"], rtol=1e-12, atol=0)
    for name in NAMES:
        weighted = pred.loss_weight("min_snr", name, alpha, sigma, x0) * mse[name]
        torch.testing.assert_close(weighted, snr.clamp(max=5) * mse["x0"], rtol=1e-12, atol=0)
        weighted = pred.loss_weight("v", name, alpha, sigma, x0) * mse[name]
        torch.testing.assert_close(weighted, mse["v"], rtol=1e-12, atol=0)


@each_prediction
def test_an_error_of_x0_counts_as_that_of_v_up_to_a_bound(name: Prediction) -> None:
    """Where nearly all is signal, a network that names x0 would else learn nothing but that."""
    alpha, sigma = Trigonometric()(torch.tensor([0.0, 1e-4, 0.01, 0.03], dtype=torch.float64))
    weight = pred.loss_weight("v", name, alpha, sigma, torch.zeros(4, 3))
    bound = 20.1**2 if name == "x0" else 1.1
    assert (weight <= bound).all()
    assert (weight >= bound / 1.25).all()


def test_faint_signals_count_like_loud_ones() -> None:
    """Of an error in proportion to x0, loud or faint: the weighted square is nearly the same."""
    alpha, sigma = Linear()(torch.tensor([0.3, 0.3]))
    x0 = torch.tensor([10.0, 1.0])[:, None].expand(2, 7)
    weight = pred.loss_weight("relative", "v", alpha, sigma, x0)
    torch.testing.assert_close(weight * x0[:, 0].square(), torch.ones(2), atol=0.06, rtol=0)


@each_prediction
@pytest.mark.parametrize("weighting", ["uniform", "min_snr", "v", "relative"])
def test_weights_are_finite_at_both_ends(name: Prediction, weighting: Weighting) -> None:
    t = torch.tensor([0.0, 1e-30, 0.5, 1.0])
    weight = pred.loss_weight(weighting, name, *Linear()(t), torch.zeros(4, 3))
    if weighting in ("min_snr", "v") and name == "eps":
        weight = weight[:-1]  # where alpha is 0, eps is refused
    assert weight.isfinite().all()
    assert (weight >= 0).all()


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'noise'; known are eps, x0, v, flow\."):
        pred.check("noise")
    with pytest.raises(ValueError, match="unknown weighting 'snr'"):
        pred.check("eps", "snr")
