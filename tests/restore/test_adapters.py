"""deepinv's samplers and optimisers with our models, and our sampler with deepinv's denoisers."""

from __future__ import annotations

from typing import Any

import deepinv
import numpy as np
import pytest
import torch
from deepinv import optim, physics, sampling
from torch import Tensor, nn

import mmdiff
from mmdiff import Cosine, Diffusion, DPMpp2MSDE, Info, Linear, LinearBeta, Schedule, Trigonometric
from mmdiff.audio.modality import Sound
from mmdiff.diffusion import expand
from mmdiff.nn import Patch, UNet
from mmdiff.posterior import Posterior
from mmdiff.restore import Denoiser, from_denoiser

SCHEDULES = [LinearBeta(), Cosine(), Trigonometric(), Linear()]
PICTURE, SOUND = (2, 1, 16, 16), (2, 1, 64)
MEAN, DEVIATION = 0.5, 0.15  # of analytic data, in [0, 1]


class Normal(nn.Module):
    """The ideal network for data that is N(MEAN, DEVIATION^2) in [0, 1], in [-1, 1] for us."""

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self.schedule = schedule

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = (expand(value, x) for value in self.schedule(t))
        mean, variance = 2 * MEAN - 1, (2 * DEVIATION) ** 2
        return mean + alpha * variance / (alpha**2 * variance + sigma**2) * (x - alpha * mean)


class NormalDenoiser(deepinv.models.Denoiser):  # type: ignore[misc]
    """The same as deepinv would have it."""

    def forward(self, x: Tensor, sigma: float | Tensor, **_: Any) -> Tensor:
        sigma = expand(torch.as_tensor(sigma).to(x), x)
        return MEAN + DEVIATION**2 / (DEVIATION**2 + sigma**2) * (x - MEAN)


def normal(schedule: Schedule | None = None) -> Diffusion:
    schedule = LinearBeta() if schedule is None else schedule
    return Diffusion(Normal(schedule), schedule, "x0")


def tiny(shape: tuple[int, ...]) -> Diffusion:
    """Random weights, told a label."""
    torch.manual_seed(0)
    network = UNet(
        dims=len(shape) - 2,
        in_channels=1,
        out_channels=1,
        channels=(8, 8),
        blocks=1,
        attention=(False, False),
        conditions={"label": mmdiff.Class(3)},
    )
    for weight in network.parameters():  # some start at 0
        nn.init.normal_(weight, std=0.1)
    model = Diffusion(network, LinearBeta(), "v").eval().requires_grad_(False)
    if len(shape) == 3:
        model.info = Info(shape[1:], Sound(8000, scale=2.0))
    return model


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_our_model_is_the_same_denoiser(schedule: Schedule) -> None:
    x = torch.rand(3, 1, 8, 8)
    found, wanted = Denoiser(normal(schedule)), NormalDenoiser()
    for sigma in (1e-3, 0.05, 0.4, torch.tensor([0.01, 0.3, 2.0]), torch.tensor(0.2), 20.0):
        torch.testing.assert_close(found(x, sigma), wanted(x, sigma), rtol=0, atol=2e-4)
    torch.testing.assert_close(found(x, 0.0), x, rtol=0, atol=1e-6)


def test_units_are_those_of_the_modality() -> None:
    """Data of twice the scale, asked in [0, 1], is denoised as any other is."""
    model = normal()
    loud = Diffusion(_Louder(model.backbone), model.schedule, "x0")
    loud.info = Info((1, 8), Sound(8000, scale=2.0))
    x = torch.rand(3, 1, 8)
    torch.testing.assert_close(Denoiser(loud)(x, 0.1), NormalDenoiser()(x, 0.1), atol=1e-5, rtol=0)


class _Louder(nn.Module):
    """`model` for data at twice the scale: its noise, to it, is half as strong."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        schedule = LinearBeta()
        alpha, sigma = (expand(value, x) for value in schedule(t))
        half = schedule.time_of(2 * (alpha / sigma * 2).log()).flatten().to(x.dtype)
        alpha_half = expand(schedule(half)[0], x)
        return 2 * self.model(x / alpha / 2 * alpha_half, half)


def test_noise_beyond_the_schedule_is_as_its_end() -> None:
    model = normal(LinearBeta(20))
    x = torch.randn(3, 1, 8, 8) * 1e3
    found = Denoiser(model)(x, 1e3)
    assert (found - MEAN).abs().max() < 0.5


def test_tells_its_conditions_and_gives_gradients() -> None:
    model = tiny(PICTURE)
    x = torch.rand(PICTURE, requires_grad=True)
    plain, told = Denoiser(model)(x, 0.3), Denoiser(model, label=1)(x, 0.3)
    assert not torch.equal(plain, told)
    torch.testing.assert_close(Denoiser(model)(x, 0.3, label=1), told)
    (gradient,) = torch.autograd.grad(told.sum(), x)
    assert gradient.abs().max() > 0


def test_refuses_a_code() -> None:
    model = Diffusion(Normal(LinearBeta()), LinearBeta(), "x0", codec=Patch(2))
    with pytest.raises(ValueError, match="denoises a code"):
        Denoiser(model)


def vp() -> Any:
    return sampling.VariancePreservingDiffusion(alpha=1.0)


def posterior(fidelity: Any) -> Any:
    solver = sampling.EulerSolver(torch.linspace(1, 1e-3, 4, dtype=torch.float64))
    return lambda denoiser: sampling.PosteriorDiffusion(
        data_fidelity=fidelity, denoiser=denoiser, sde=vp(), solver=solver
    )


PNP = {"stepsize": 0.5, "sigma_denoiser": 0.1, "max_iter": 3}
METHODS = {
    "PosteriorDiffusion DPS": posterior(sampling.DPSDataFidelity()),
    "PosteriorDiffusion PiGDM": posterior(sampling.PiGDMDataFidelity()),
    "PosteriorDiffusion moments": posterior(sampling.MomentMatchingDataFidelity()),
    "DPS": lambda denoiser: sampling.DPS(denoiser, num_steps=4),
    "DiffPIR": lambda denoiser: sampling.DiffPIR(denoiser, optim.L2(), max_iter=4),
    "DDRM": lambda denoiser: sampling.DDRM(denoiser, sigmas=np.linspace(1, 0, 4)),
    "PGD": lambda denoiser: optim.PGD(optim.L2(), optim.PnP(denoiser), **PNP),
    "HQS": lambda denoiser: optim.HQS(optim.L2(), optim.PnP(denoiser), **PNP),
    "ADMM": lambda denoiser: optim.ADMM(optim.L2(), optim.PnP(denoiser), **PNP),
    "FISTA": lambda denoiser: optim.FISTA(optim.L2(), optim.PnP(denoiser), **PNP),
    "RED": lambda denoiser: optim.GD(optim.L2(), optim.RED(denoiser), **PNP),
    "DPIR": lambda denoiser: optim.DPIR(0.1, denoiser),
}


def inpainting(shape: tuple[int, ...], sigma: float = 0.05) -> Any:
    mask = (torch.arange(shape[-1]) % 2 == 0).float().expand(shape[1:])
    noise = physics.GaussianNoise(sigma)
    return physics.Inpainting(img_size=shape[1:], mask=mask, noise_model=noise)


@pytest.mark.parametrize("shape", [PICTURE, SOUND], ids=["picture", "sound"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_of_deepinv_runs(method: str, shape: tuple[int, ...]) -> None:
    operator = inpainting(shape)
    y = operator(torch.rand(shape))
    found = METHODS[method](Denoiser(tiny(shape), label=1))(y, operator)
    assert found.shape == shape
    assert found.isfinite().all()


@pytest.mark.parametrize(
    ("method", "error", "spread"), [("DiffPIR", 0.0071, 0.142), ("DDRM", 0.0027, 0.088)]
)
def test_deepinv_gets_from_us_what_it_gets_from_its_own(
    method: str, error: float, spread: float
) -> None:
    """100 calls on normal data: the error of the known half, the deviation of the other."""
    shape = (256, 1, 1, 64)
    operator = inpainting(shape)
    x = MEAN + DEVIATION * torch.randn(shape)
    y = operator(x)
    ours, theirs = [], []
    for denoiser, found in ((Denoiser(normal()), ours), (NormalDenoiser(), theirs)):
        make = {
            "DiffPIR": lambda d: sampling.DiffPIR(d, optim.L2(), max_iter=100),
            "DDRM": lambda d: sampling.DDRM(d, sigmas=np.linspace(1, 0, 100)),
        }[method]
        out = make(denoiser)(y, operator, seed=1)
        found += [out, float((out - x)[..., ::2].square().mean()), float(out[..., 1::2].std())]
    torch.testing.assert_close(ours[0], theirs[0], rtol=0, atol=2e-3)
    assert ours[1] == pytest.approx(error, rel=0.2)
    assert ours[2] == pytest.approx(spread, rel=0.1)


def test_their_denoiser_is_the_same_model() -> None:
    model, reference = from_denoiser(NormalDenoiser(), (1, 4, 4)), normal()
    x_t, t = torch.randn(3, 1, 4, 4), torch.tensor([0.05, 0.4, 1.0])
    torch.testing.assert_close(model.denoise(x_t, t).x0, reference.denoise(x_t, t).x0)
    back = Denoiser(model)
    x = torch.rand(3, 1, 4, 4)
    torch.testing.assert_close(back(x, 0.2), NormalDenoiser()(x, 0.2), atol=1e-5, rtol=0)


def drunet() -> nn.Module:
    return deepinv.models.DRUNet(1, 1, nc=[4, 4, 4, 4], nb=1, pretrained=None)


def diffunet() -> nn.Module:
    return deepinv.models.DiffUNet(1, 1, pretrained=None)


@pytest.mark.parametrize("make", [drunet, diffunet, NormalDenoiser])
def test_our_sampler_restores_with_their_denoisers(make: Any) -> None:
    shape = (2, 1, 32, 32)
    model = from_denoiser(make(), shape[1:])
    operator = inpainting(shape)
    y = operator.A(torch.full((1, *shape[1:]), 0.3))
    steer = (Posterior(y, operator, 0.05), mmdiff.Clip(-1, 1))
    noise = torch.randn(shape)
    found = mmdiff.sample(model, shape, DPMpp2MSDE(5), noise=noise, steer=steer)
    assert found.shape == shape
    assert found.abs().max() <= 1
    if make is NormalDenoiser:  # the others have random weights
        assert (operator.A(found) - y).square().mean().sqrt() < 0.1


def test_a_denoiser_needs_a_signal() -> None:
    with pytest.raises(ValueError, match="Trigonometric has alpha = 0"):
        from_denoiser(NormalDenoiser(), schedule=Trigonometric())
