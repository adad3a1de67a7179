"""The runner in parallel over steps gives what the one after the other does."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

import mmdiff
from mmdiff import Guidance
from mmdiff.diffusion import Diffusion
from mmdiff.solvers import DDIM, DDPM, DPMpp2M, DPMpp2MSDE, Heun, Solver

SHAPE = (5, 2, 6, 4)
LABEL = torch.tensor([0, 1, 2, -1, 1])


class Mixing(nn.Module):
    """Depends on all of x, the time and the label."""

    conditions: ClassVar = {"label": mmdiff.Class(3)}

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.8, -0.4]))

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        shift = t.to(x.dtype) if label is None else t.to(x.dtype) + label
        mixed = self.weight[0] * x + self.weight[1] * x.roll(1, dims=-1)
        return torch.tanh(mixed + shift[:, None, None, None])


@pytest.fixture
def model() -> Diffusion:
    return Diffusion(Mixing(), mmdiff.Trigonometric(), "v").eval()


@pytest.mark.parametrize("solver", [DDIM(24), Heun(12), DPMpp2M(24)], ids=repr)
def test_is_the_sequential_runner(model: Diffusion, solver: Solver) -> None:
    rounds: list[int] = []
    model.backbone.register_forward_pre_hook(lambda _, args: rounds.append(len(args[0])))
    found, count = mmdiff.picard(model, SHAPE, solver, seed=5, tolerance=1e-6, label=LABEL)
    calls = solver.plan(model.schedule).calls
    assert count == len(rounds) < calls
    assert rounds == [5, *(5 * (calls - i) for i in range(1, count))]
    wanted = mmdiff.sample(model, SHAPE, solver, seed=5, label=LABEL)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("solver", [DDIM(6), Heun(4), DPMpp2M(6), DDIM(1)], ids=repr)
def test_ends_exactly_after_as_many_rounds_as_calls(model: Diffusion, solver: Solver) -> None:
    wanted = mmdiff.sample(model.double(), SHAPE, solver)
    found, rounds = mmdiff.picard(model, SHAPE, solver, tolerance=1e-300)
    assert rounds == solver.plan(model.schedule).calls
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("solver", [DDPM(5), DDIM(5, 0.5), DPMpp2MSDE(5)], ids=repr)
def test_refuses_noise(model: Diffusion, solver: Solver) -> None:
    with pytest.raises(ValueError, match="deterministic"):
        mmdiff.picard(model, SHAPE, solver)


def test_refuses_a_tolerance_of_nothing(model: Diffusion) -> None:
    with pytest.raises(ValueError, match="tolerance"):
        mmdiff.picard(model, SHAPE, DDIM(3), tolerance=0.0)


@pytest.mark.parametrize("schedule", [mmdiff.LinearBeta(), mmdiff.Linear()], ids=repr)
def test_guides_where_the_interval_says(schedule: mmdiff.Schedule) -> None:
    model = Diffusion(Mixing(), schedule, "v").double()
    guidance = Guidance(2.0, rescale=0.5, interval=(0.3, 0.8))
    how = {"guidance": guidance, "clip": (-1.0, 1.0), "label": LABEL}
    wanted = mmdiff.sample(model, SHAPE, DDIM(15), **how)  # type: ignore[arg-type]
    found, _ = mmdiff.picard(model, SHAPE, DDIM(15), tolerance=1e-9, **how)  # type: ignore[arg-type]
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-8)


def test_any_part_of_a_batch(model: Diffusion) -> None:
    whole, _ = mmdiff.picard(model, SHAPE, DDIM(9), seed=2, label=LABEL)
    part, _ = mmdiff.picard(model, (2, *SHAPE[1:]), DDIM(9), seed=2, first=3, label=LABEL[3:])
    torch.testing.assert_close(part, whole[3:], rtol=0, atol=1e-4)
