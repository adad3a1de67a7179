from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from mmdiff import prediction as pred
from mmdiff.diffusion import At, Diffusion, expand
from mmdiff.prediction import Prediction, Weighting
from mmdiff.schedules import Cosine, LinearBeta, Schedule, Trigonometric

PREDICTIONS: tuple[Prediction, ...] = ("eps", "v", "x0")


class Ideal(nn.Module):
    """The best possible network for data of mean `mu` and variance `v` per element."""

    def __init__(self, schedule: Schedule, prediction: Prediction, mu: float, v: float) -> None:
        super().__init__()
        self.schedule, self.prediction, self.mu, self.v = schedule, prediction, mu, v

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = (expand(value, x) for value in self.schedule(t))
        gain = alpha * self.v / (alpha**2 * self.v + sigma**2)
        x0 = self.mu + gain * (x - alpha * self.mu)
        return pred.from_x0_eps(self.prediction, x0, (x - alpha * x0) / sigma, alpha, sigma)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 2, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.conv(x) * (1 + t.to(x.dtype))[:, None, None]


@pytest.mark.parametrize("t", [0.05, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("v", [0.04, 0.5, 1.0, 3.0])
def test_the_ideal_eps_error_is_the_closed_form(v: float, t: float) -> None:
    schedule = LinearBeta()
    model = Diffusion(Ideal(schedule, "eps", 0.3, v), schedule, "eps")
    x = 0.3 + math.sqrt(v) * torch.randn(100, 1000, dtype=torch.float64)
    alpha, sigma = (float(a) for a in schedule(torch.tensor(t, dtype=torch.float64)))
    wanted = alpha**2 * v / (alpha**2 * v + sigma**2)
    found = float(model.loss(x, t=torch.full((100,), t, dtype=torch.float64)))
    # A mean of squares of 100000 normal numbers.
    assert abs(found - wanted) < 4 * wanted * math.sqrt(2 / x.numel())


@pytest.mark.parametrize("weighting", ["uniform", "min_snr"])
@pytest.mark.parametrize("schedule", [LinearBeta(), Cosine()], ids=repr)
def test_losses_of_equal_networks(schedule: Schedule, weighting: Weighting) -> None:
    x, noise = torch.randn(2, 64, 3, 8, dtype=torch.float64)
    t = torch.rand(64, dtype=torch.float64)
    snr = schedule.log_snr(t).exp()
    found = {}
    for name in PREDICTIONS:
        # Ideal for other data than these, so that the error is not small.
        model = Diffusion(Ideal(schedule, name, -0.7, 0.2), schedule, name, weighting)
        found[name] = torch.stack(
            [model.loss(x[i : i + 1], t[i : i + 1], noise[i : i + 1]) for i in range(len(x))]
        )
        torch.testing.assert_close(model.loss(x, t, noise), found[name].mean(), rtol=1e-12, atol=0)
    factor = {"eps": snr, "v": snr + 1, "x0": torch.ones_like(snr)}
    for name in PREDICTIONS:
        wanted = found["x0"] * (factor[name] if weighting == "uniform" else 1)
        torch.testing.assert_close(found[name], wanted, rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", PREDICTIONS)
@pytest.mark.parametrize("shape", [(3, 2), (3, 2, 5), (3, 1, 4, 6), (3, 1, 2, 3, 4)], ids=str)
def test_denoise_inverts_add_noise(name: Prediction, shape: tuple[int, ...]) -> None:
    schedule = LinearBeta()
    x0, noise = torch.randn(2, *shape, dtype=torch.float64)
    t = torch.tensor([0.001, 0.4, 1.0], dtype=torch.float64)
    alpha, sigma = (expand(value, x0) for value in schedule(t))

    class Oracle(nn.Module):
        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            return pred.from_x0_eps(name, x0, noise, alpha, sigma)

    model = Diffusion(Oracle(), schedule, name)
    x_t = model.add_noise(x0, t, noise)
    torch.testing.assert_close(x_t, alpha * x0 + sigma * noise, rtol=0, atol=1e-15)
    found = model.denoise(x_t, t)
    torch.testing.assert_close(found.x0, x0, rtol=0, atol=1e-11)
    torch.testing.assert_close(found.eps, noise, rtol=0, atol=1e-11)
    assert torch.equal(model.x0(x_t, At((), t, alpha, sigma), x_t.dtype), found.x0)


def test_random_times_and_noise_come_from_the_generator() -> None:
    model = Diffusion(Small(), LinearBeta(), "eps")
    x = torch.randn(16, 2, 8)
    losses = [
        model.loss(x, generator=torch.Generator().manual_seed(seed)).item() for seed in (1, 1, 2)
    ]
    assert losses[0] == losses[1] != losses[2]


def test_training_asks_only_at_timesteps() -> None:
    asked = []

    class Spy(nn.Module):
        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            asked.append(t)
            return x

    Diffusion(Spy(), LinearBeta(20), "eps").loss(torch.randn(5000, 1))
    visited = torch.cat(asked).unique()
    torch.testing.assert_close(visited, torch.arange(1, 21) / 20)


def test_bfloat16_converts_in_float32() -> None:
    model = Diffusion(Small(), LinearBeta(), "eps").bfloat16()
    x = torch.randn(4, 2, 8).bfloat16()
    t = torch.full((4,), 0.37)
    assert model.loss(x, t).dtype == torch.float32
    found = model.denoise(x, t)
    assert found.x0.dtype == found.eps.dtype == torch.bfloat16
    alpha, sigma = model.schedule(torch.tensor(0.37))
    wanted = (x.float() - sigma * model.backbone(x, t).float()) / alpha
    torch.testing.assert_close(found.x0, wanted.bfloat16())


def test_is_an_ordinary_module() -> None:
    model = Diffusion(Small(), Cosine(), "v")
    model.loss(torch.randn(4, 2, 8)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for p in twin.parameters():
            p.zero_()
    x, t = torch.randn(4, 2, 8), torch.rand(4)
    assert twin.backbone(x, t).abs().max() == 0
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin.denoise(x, t).x0, model.denoise(x, t).x0)


def test_eps_where_alpha_is_zero_is_refused() -> None:
    with pytest.raises(ValueError, match='use prediction="v"'):
        Diffusion(Small(), Trigonometric(), "eps")
    Diffusion(Small(), Trigonometric(), "v")
    with pytest.raises(ValueError, match="unknown prediction"):
        Diffusion(Small(), LinearBeta(), "epsilon")  # type: ignore[arg-type]
