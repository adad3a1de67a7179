"""The same network, the same noise: what other libraries compute, computed here."""

from __future__ import annotations

import importlib.util
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import audio_diffusion_pytorch as adp
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler
from torch import Tensor, nn

import mmdiff
from mmdiff import noise as keyed
from mmdiff.diffusion import At
from mmdiff.sampling import run
from mmdiff.solvers import DDIM, DDPM, DPMpp2M, Heun, Level, Plan, Solver

SHAPE = (2, 3, 8)


class Net(nn.Module):
    """A small network that depends on x and t in earnest."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv1d(3, 16, 3, padding=1)
        self.outer = nn.Conv1d(16, 3, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        hidden = torch.tanh(self.inner(x) + torch.cos(3 * t)[:, None, None])
        # Mostly what an ideal network for unit-variance data would say.
        return torch.sin(math.pi / 2 * t)[:, None, None] * x + 0.1 * self.outer(hidden)


@pytest.fixture
def net() -> Net:
    torch.manual_seed(1)
    return Net().eval().requires_grad_(False)


def initial() -> Tensor:
    return keyed.normal(7, torch.arange(SHAPE[0]), -1, SHAPE[1:])


def step_noise(row: int) -> Tensor:
    return keyed.normal(7, torch.arange(SHAPE[0]), row, SHAPE[1:])


def ours(net: Net, solver: Solver) -> Tensor:
    return mmdiff.sample(mmdiff.Diffusion(net, mmdiff.LinearBeta(), "eps"), SHAPE, solver, seed=7)


def test_the_thesis_loop(net: Net) -> None:
    beta = torch.linspace(1e-4, 0.02, 1000)
    bar = torch.cumprod(1 - beta, dim=0)
    x = initial()
    for i in reversed(range(1000)):
        eps = net(x, torch.full((2,), (i + 1) / 1000))
        x = (x - beta[i] / (1 - bar[i]).sqrt() * eps) / (1 - beta[i]).sqrt()
        if i > 0:
            x = x + beta[i].sqrt() * step_noise(999 - i)
    torch.testing.assert_close(ours(net, DDPM(1000)), x, rtol=0, atol=5e-5)


def follow(scheduler: Any, net: Net, steps: int, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """A scheduler of diffusers, given our noise whenever it draws."""
    scheduler.set_timesteps(steps)
    x, row = initial(), 0
    module = __import__(type(scheduler).__module__, fromlist=["randn_tensor"])
    monkeypatch.setattr(module, "randn_tensor", lambda *_, **__: step_noise(row), raising=False)
    for row, timestep in enumerate(scheduler.timesteps):  # noqa: B007  (read by the lambda)
        eps = net(x, ((timestep + 1) / 1000).expand(2))
        arguments = {"eta": scheduler.eta} if hasattr(scheduler, "eta") else {}
        x = scheduler.step(eps, timestep, x, **arguments).prev_sample
    return x


BETAS = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
TABLE: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 1e-4,
    "beta_end": 0.02,
    "beta_schedule": "linear",
}


@pytest.mark.parametrize(("steps", "atol"), [(10, 1e-5), (50, 1e-5), (1000, 2e-5)])
def test_diffusers_ddpm(net: Net, steps: int, atol: float, monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = DDPMScheduler(
        **TABLE, variance_type="fixed_small", clip_sample=False, timestep_spacing="leading"
    )
    # Its own table is a float32 product of 1000 factors, 2e-5 off at the end of 50 steps.
    scheduler.alphas_cumprod = (1 - BETAS).cumprod(0)
    wanted = follow(scheduler, net, steps, monkeypatch)
    found = ours(net, DDPM(steps, "posterior", spacing="leading"))
    torch.testing.assert_close(found, wanted, rtol=0, atol=atol)


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize(
    ("spacing", "steps"), [("leading", 50), ("leading", 61), ("trailing", 10), ("trailing", 50)]
)
def test_diffusers_ddim(
    net: Net, spacing: Any, steps: int, eta: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = DDIMScheduler(
        **TABLE, timestep_spacing=spacing, set_alpha_to_one=True, clip_sample=False
    )
    scheduler.eta = eta
    wanted = follow(scheduler, net, steps, monkeypatch)
    found = ours(net, DDIM(steps, eta, spacing=spacing))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("steps", [10, 50])
def test_diffusers_dpm_solver(net: Net, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = DPMSolverMultistepScheduler(
        **TABLE,
        algorithm_type="dpmsolver++",
        solver_order=2,
        solver_type="midpoint",
        final_sigmas_type="zero",
        lower_order_final=False,
        timestep_spacing="trailing",
    )
    wanted = follow(scheduler, net, steps, monkeypatch)
    found = ours(net, DPMpp2M(steps, spacing="trailing"))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def k_diffusion() -> Any:
    path = Path(__file__).parents[1] / "benchmarks" / "peers.py"
    spec = importlib.util.spec_from_file_location("peers", path)
    assert spec is not None
    assert spec.loader is not None
    peers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(peers)
    try:
        return peers.k_diffusion_sampling()
    except ImportError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(("name", "solver"), [("sample_heun", Heun), ("sample_dpmpp_2m", DPMpp2M)])
@pytest.mark.parametrize("steps", [5, 20])
def test_k_diffusion(net: Net, steps: int, name: str, solver: type[Solver]) -> None:
    """In its coordinates, y = x / alpha at noise level sigma / alpha."""
    net = net.double()
    schedule = mmdiff.LinearBeta()
    sampling = k_diffusion()
    ratios = sampling.get_sigmas_karras(steps, 0.01, 80.0).double()
    alpha = (1 + ratios**2).rsqrt()

    def denoise(x: Tensor, level: Tensor) -> Tensor:
        """x0 of an eps-network, from x = alpha x0 + sigma eps."""
        t = schedule.time_of(-2 * (level).log())
        a = (1 + level**2).rsqrt()[:, None, None]
        return (x - a * level[:, None, None] * net(x, t)) / a

    def theirs(y: Tensor, level: Tensor) -> Tensor:
        return denoise(y * (1 + level**2).rsqrt()[:, None, None], level)

    y = initial().double() * 80
    wanted = getattr(sampling, name)(theirs, y, ratios, disable=True)

    t = torch.cat((schedule.time_of(-2 * ratios[:-1].log()), torch.zeros(1)))
    levels = [
        Level(*v) for v in zip(t.tolist(), alpha.tolist(), (ratios * alpha).tolist(), strict=True)
    ]
    plan = Plan(tuple(level.t for level in levels), tuple(solver(steps).rows(levels)))

    def estimate(x: Tensor, at: At) -> Tensor:
        return denoise(x, torch.full((len(x),), at.sigma / at.alpha, dtype=x.dtype))

    found = run(plan, estimate, y * alpha[0])
    assert wanted.abs().max() > 0.1
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def test_audio_diffusion_pytorch_sampler(net: Net) -> None:
    model = mmdiff.Diffusion(net, mmdiff.Trigonometric(), "v")
    for steps in (1, 7, 50):
        wanted = adp.VSampler(net)(initial(), num_steps=steps)
        found = mmdiff.sample(model, SHAPE, DDIM(steps), noise=initial())
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)


def test_audio_diffusion_pytorch_loss(net: Net) -> None:
    x = torch.randn(64, 3, 8)
    torch.manual_seed(3)
    wanted = adp.VDiffusion(net)(x)
    torch.manual_seed(3)
    t, noise = torch.rand(64), torch.randn_like(x)
    found = mmdiff.Diffusion(net, mmdiff.Trigonometric(), "v").loss_at(x, t, noise)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=0)


def test_the_net_matters(net: Net) -> None:
    """Or else the agreements above would say nothing."""
    t = torch.tensor([0.2, 0.9])
    outputs = [net(initial(), t), net(initial() + 0.1, t), net(initial(), t - 0.1)]
    for one, two in pairwise(outputs):
        assert (one - two).abs().max() > 1e-2
