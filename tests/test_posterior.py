from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

import mmdiff
from mmdiff import Clip, Diffusion, DPMpp2MSDE, Guidance, Known, LinearBeta, Spin, Trigonometric
from mmdiff.diffusion import At, Estimate
from mmdiff.posterior import Posterior, clipped
from mmdiff.sampling import run
from mmdiff.solvers import Solver

N, SIZE, MU, NOISE = 2000, 16, 0.3, 0.05
D = torch.float64
PLACE = torch.arange(SIZE, dtype=D)
APART = (PLACE[:, None] - PLACE).abs()
UNIT = torch.eye(SIZE, dtype=D)

PRIORS = {
    "narrow": 0.15**2 * UNIT,
    "diagonal": torch.linspace(0.1, 1.0, SIZE, dtype=D).square().diag(),
    "ar1": 0.5**2 * 0.9**APART,
}
BLUR = torch.exp(-APART.square() / 2)
BLUR = BLUR / BLUR.sum(1, keepdim=True)
OPERATORS = {"mask": UNIT[: SIZE // 2], "blur": BLUR, "decimation": BLUR[::2]}


class Matrix:
    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix

    def A(self, x: Tensor) -> Tensor:  # noqa: N802
        return x @ self.matrix.T

    def A_adjoint(self, y: Tensor) -> Tensor:  # noqa: N802
        return y @ self.matrix


def ideal(covariance: Tensor) -> Estimate:
    """E[x0 | x_t] for x0 ~ N(MU, covariance)."""
    values, vectors = torch.linalg.eigh(covariance)

    def estimate(x: Tensor, at: At) -> Tensor:
        gain = at.alpha * values / (at.alpha**2 * values + at.sigma**2)
        return MU + ((x - at.alpha * MU) @ vectors * gain) @ vectors.T

    return estimate


def answer(prior: Tensor, matrix: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance of x0 given y, in closed form."""
    spread = matrix @ prior @ matrix.T + NOISE**2 * torch.eye(len(matrix), dtype=D)
    gain = prior @ matrix.T @ torch.linalg.inv(spread)
    return MU + gain @ (y - matrix.sum(1) * MU), prior - gain @ matrix @ prior


def measure(prior: Tensor, matrix: Tensor) -> Tensor:
    truth = MU + torch.linalg.cholesky(prior) @ torch.randn(SIZE, dtype=D)
    return matrix @ truth + NOISE * torch.randn(len(matrix), dtype=D)


def draw(solver: Solver, estimate: Estimate, schedule: mmdiff.Schedule | None = None) -> Tensor:
    x = torch.randn(N, 1, SIZE, dtype=D)
    return run(solver.plan(schedule or LinearBeta()), estimate, x, seed=1)[:, 0]


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize(("steps", "tolerance"), [(20, 0.1), (100, 0.05)])
def test_draws_from_the_exact_posterior(
    steps: int, tolerance: float, prior: str, operator: str
) -> None:
    covariance, matrix = PRIORS[prior], OPERATORS[operator]
    y = measure(covariance, matrix)
    steered = Posterior(y[None, None], Matrix(matrix), NOISE)(ideal(covariance))
    found = draw(DPMpp2MSDE(steps), steered)
    mean, wanted = answer(covariance, matrix, y)
    deviation = wanted.diagonal().sqrt()
    error = (found.mean(0) - mean) / (deviation / math.sqrt(N))
    assert error.abs().max() < 4
    known = deviation < 1.1 * NOISE
    for part, within in ((known, 0.1), (~known, tolerance)):
        if part.any():
            ratio = found.var(0)[part].mean() / deviation[part].square().mean()
            assert ratio.sqrt() == pytest.approx(1, abs=within)


@pytest.mark.parametrize("prior", ["narrow", "ar1"])
def test_without_gradients_the_measured_part_is_right(prior: str) -> None:
    covariance, matrix = PRIORS[prior], OPERATORS["mask"]
    y = measure(covariance, matrix)
    steered = Posterior(y[None, None], Matrix(matrix), NOISE, gradients=False)(ideal(covariance))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.autograd, "grad", lambda *_, **__: pytest.fail("asked for a gradient"))
        found = draw(DPMpp2MSDE(50), steered)[:, : SIZE // 2]
    mean, wanted = answer(covariance, matrix, y)
    deviation = wanted.diagonal().sqrt()[: SIZE // 2]
    assert ((found.mean(0) - mean[: SIZE // 2]) / deviation).abs().max() < 0.3
    assert (found.var(0) / deviation.square()).mean().sqrt() == pytest.approx(1, abs=0.1)


def test_without_noise_it_is_what_known_does() -> None:
    """Where nothing correlates, so that what is known tells nothing of the rest."""
    covariance = PRIORS["narrow"]
    mask = PLACE < SIZE // 2
    y = torch.where(mask, torch.linspace(0, 0.6, SIZE, dtype=D), 0.0)[None, None]
    steered = Posterior(y, Matrix(mask.to(D).diag()), 0.0)(ideal(covariance))
    torch.manual_seed(3)
    found = draw(DPMpp2MSDE(20), steered)
    torch.manual_seed(3)
    known = draw(DPMpp2MSDE(20), Known(y, mask)(ideal(covariance)))
    torch.testing.assert_close(found, known, rtol=0, atol=1e-10)


def test_without_noise_the_rest_follows_what_is_known() -> None:
    """Known alone leaves it to the network to see the known part; the posterior is exact."""
    covariance, matrix = PRIORS["ar1"], OPERATORS["mask"]
    y = measure(covariance, matrix)
    found = draw(DPMpp2MSDE(50), Posterior(y[None, None], Matrix(matrix), 1e-3)(ideal(covariance)))
    assert (found[:, : SIZE // 2] - y).abs().max() < 0.01
    gain = covariance @ matrix.T @ torch.linalg.inv(matrix @ covariance @ matrix.T)
    mean = MU + gain @ (y - MU)
    deviation = (covariance - gain @ matrix @ covariance).diagonal().clamp(min=0).sqrt()
    rest = slice(SIZE // 2, None)
    error = (found.mean(0) - mean)[rest] / deviation[rest]
    assert error.abs().max() < 4 / math.sqrt(N)
    assert (found.std(0)[rest] / deviation[rest] - 1).abs().max() < 0.1


def test_begins_where_there_is_no_signal_at_all() -> None:
    covariance, matrix = PRIORS["ar1"], OPERATORS["mask"]
    y = measure(covariance, matrix)
    steered = Posterior(y[None, None], Matrix(matrix), NOISE)(ideal(covariance))
    found = draw(DPMpp2MSDE(20), steered, Trigonometric())
    mean, wanted = answer(covariance, matrix, y)
    error = (found.mean(0) - mean) / (wanted.diagonal() / N).sqrt()
    assert error.abs().max() < 4


def test_a_linear_operator_needs_no_adjoint() -> None:
    covariance, matrix = PRIORS["ar1"], OPERATORS["blur"]
    x, y = torch.randn(3, 1, SIZE, dtype=D), torch.randn(1, 1, SIZE, dtype=D)
    at = At((0.3,), torch.full((3,), 0.3), 0.8, 0.6)
    physics = Matrix(matrix)
    given = Posterior(y, physics, NOISE)(ideal(covariance))(x, at)
    found = Posterior(y, physics.A, NOISE)(ideal(covariance))(x, at)
    torch.testing.assert_close(found, given, rtol=0, atol=1e-12)


def test_one_step_solves_the_equation() -> None:
    """Of the docstring, by a direct solver; enough rounds reach it."""
    covariance, matrix = PRIORS["diagonal"], OPERATORS["blur"]
    x, y = torch.randn(3, 1, SIZE, dtype=D), torch.randn(3, 1, SIZE, dtype=D)
    at = At((0.3,), torch.full((3,), 0.3), 0.8, 0.6)
    inverse = torch.linalg.inv(0.64 * covariance + 0.36 * UNIT)
    v = 0.36 * covariance @ inverse
    x0 = ideal(covariance)(x, at)
    system = NOISE**2 * UNIT + matrix @ v @ matrix.T
    wanted = x0 + (y - x0 @ matrix.T) @ torch.linalg.inv(system) @ matrix @ v
    found = Posterior(y, Matrix(matrix), NOISE, rounds=64)(ideal(covariance))(x, at)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-9)


def test_nothing_is_left_to_solve() -> None:
    """Conjugate gradients that are done divide by nothing, in float32 too."""
    x = torch.zeros(2, 1, SIZE)
    at = At((0.3,), torch.full((2,), 0.3), 0.8, 0.6)
    for sigma in (0.0, 1.0):
        steered = Posterior(x, Matrix(torch.eye(SIZE)), sigma, rounds=9)(lambda x, at: 0.5 * x)
        assert torch.equal(steered(x, at), x)


def truncated(mean: Tensor, deviation: Tensor, level: float) -> tuple[Tensor, Tensor]:
    """Mean and deviation of N(mean, deviation^2) beyond `level`."""
    short = (level - mean) / deviation
    hazard = math.sqrt(2 / math.pi) / torch.special.erfcx(short / math.sqrt(2))
    return mean + deviation * hazard, deviation * (1 - hazard * (hazard - short)).sqrt()


@pytest.mark.parametrize("steps", [50, 100])
def test_clipped_samples_are_truncated_normal(steps: int) -> None:
    level, deviation = 0.3, 0.5
    side = torch.tensor([0.0, 1.0, 0.0, -1.0], dtype=D).repeat(SIZE // 4)
    y = torch.where(side == 0, 0.1, side * level)[None, None]
    found = draw(DPMpp2MSDE(steps), clipped(y, level, 0.01)(ideal(deviation**2 * UNIT)))
    assert (found[:, side == 0] - 0.1).abs().max() < 0.06
    for sign in (1.0, -1.0):
        mean, spread = truncated(torch.tensor(sign * MU, dtype=D), torch.tensor(deviation), level)
        beyond = sign * found[:, side == sign]
        assert ((beyond.mean(0) - mean) / spread).abs().max() < 0.1
        torch.testing.assert_close(
            beyond.std(0) / spread, torch.ones_like(beyond[0]), rtol=0, atol=0.06
        )
    with pytest.raises(ValueError, match="level must be above 0"):
        clipped(y, 0.0, 0.1)


def test_a_clipped_peak_of_many_samples_that_correlate() -> None:
    """Beside a million draws from the prior, of which those are kept that agree."""
    covariance, level = PRIORS["ar1"], 0.5
    peak = (PLACE >= 6) & (PLACE < 10)
    given, prior = answer(covariance, UNIT[~peak], torch.full((SIZE - 4,), 0.45, dtype=D))
    z = torch.randn(1_000_000, 4, dtype=D)
    drawn = given[peak] + z @ torch.linalg.cholesky(prior[peak][:, peak]).T
    kept = drawn[(drawn > level).all(1)]
    y = torch.where(peak, level, 0.45)[None, None]
    found = draw(DPMpp2MSDE(50), clipped(y, level, NOISE)(ideal(covariance)))[:, peak]
    assert ((found.mean(0) - kept.mean(0)) / kept.std(0)).abs().max() < 0.35
    torch.testing.assert_close(
        found.std(0) / kept.std(0), torch.ones_like(kept[0]), rtol=0, atol=0.25
    )


def magnitude(x: Tensor) -> Tensor:
    window = torch.hann_window(8, dtype=x.dtype)
    return torch.stft(x[:, 0], 8, 2, window=window, return_complex=True).abs()


def mu_law(x: Tensor) -> Tensor:
    return x.sign() * torch.log1p(255 * x.abs()) / math.log(256)


@pytest.mark.parametrize("forward", [magnitude, mu_law])
def test_agrees_with_a_nonlinear_measurement(forward: Callable[[Tensor], Tensor]) -> None:
    covariance = PRIORS["ar1"]
    truth = MU + torch.linalg.cholesky(covariance) @ torch.randn(SIZE, dtype=D)
    y = forward(truth[None, None])
    error = []
    for estimate in (ideal(covariance), Posterior(y, forward, 0.02)(ideal(covariance))):
        torch.manual_seed(1)
        found = draw(DPMpp2MSDE(50), estimate)[:200, None]
        error.append(float((forward(found) - y).square().mean().sqrt()))
    assert error[1] < 0.15 * error[0]


class Small(nn.Module):
    """Takes any length, and computes in bfloat16 where autocast says so."""

    conditions: ClassVar = {"label": mmdiff.Class(3)}

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv1d(1, 8, 5, padding=2), nn.Conv1d(8, 1, 5, padding=2)
        self.table = nn.Embedding(4, 8)

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        hidden = self.first(x)
        if label is not None:
            hidden = hidden + self.table(label + 1)[:, :, None]
        return self.last(torch.tanh(hidden))


def small() -> tuple[Diffusion, Tensor, Matrix]:
    """A model, and the first half of its signal as measured."""
    model = Diffusion(Small(), LinearBeta(), "v").eval().requires_grad_(False)
    mask = torch.diag((PLACE < SIZE // 2).float())
    return model, torch.linspace(-0.5, 0.5, SIZE)[None, None] @ mask, Matrix(mask)


def test_composes_with_guidance_spin_and_clip() -> None:
    model, y, physics = small()
    steer = (Spin(4), Posterior(y, physics, 0.01), Clip(-1, 1))
    label = torch.tensor([0, 1, 2])
    found = mmdiff.sample(
        model, (3, 1, SIZE), DPMpp2MSDE(10), guidance=Guidance(2.0), steer=steer, label=label
    )
    assert (physics.A(found) - y).abs().max() < 0.06
    assert found.abs().max() <= 1


def test_bfloat16_stays_finite_and_agrees() -> None:
    model, y, physics = small()
    with torch.autocast("cpu", torch.bfloat16):
        found = mmdiff.sample(
            model, (3, 1, SIZE), DPMpp2MSDE(10), steer=(Posterior(y, physics, 0.01),)
        )
    assert found.isfinite().all()
    assert (physics.A(found) - y).abs().max() < 0.06


def test_says_what_does_not_fit() -> None:
    y = torch.zeros(1, 1, SIZE)
    with pytest.raises(ValueError, match="sigma must be finite and 0 or more, not -1"):
        Posterior(y, Matrix(UNIT), -1)
    with pytest.raises(ValueError, match="rounds must be 1 or more, not 0"):
        Posterior(y, Matrix(UNIT), 0.1, rounds=0)
    steered = Posterior(y, Matrix(torch.eye(SIZE)[:4]), 0.1)(lambda x, at: x)
    at = At((0.3,), torch.full((2,), 0.3), 0.8, 0.6)
    with pytest.raises(ValueError, match=r"y has shape \[1, 1, 16\], but .* \[2, 1, 4\]"):
        steered(torch.zeros(2, 1, SIZE), at)
    with pytest.raises(ValueError, match="one noise level at a time"):
        steered(torch.zeros(2, 1, SIZE), at._replace(alpha=torch.ones(2, 1, 1)))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("gradients", [True, False])
def test_the_host_never_waits_for_cuda(gradients: bool) -> None:
    model, y, physics = small()
    model, y, physics = model.cuda(), y.cuda(), Matrix(physics.matrix.cuda())
    steered = Posterior(y, physics, 0.1, gradients=gradients)(
        lambda x, at: model.x0(x, at, x.dtype)
    )
    plan, x = DPMpp2MSDE(5).plan(LinearBeta()), torch.randn(4, 1, SIZE, device="cuda")
    run(plan, steered, x)  # makes what is made once
    torch.cuda.set_sync_debug_mode("error")
    try:
        run(plan, steered, x)
    finally:
        torch.cuda.set_sync_debug_mode("default")
