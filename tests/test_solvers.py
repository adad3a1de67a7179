from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from mmdiff import prediction as pred
from mmdiff.diffusion import At
from mmdiff.sampling import run
from mmdiff.schedules import Cosine, Linear, LinearBeta, Schedule, Trigonometric
from mmdiff.solvers import (
    DDIM,
    DDPM,
    SOLVERS,
    SPACINGS,
    DPMpp2M,
    DPMpp2MSDE,
    Heun,
    Level,
    Plan,
    Solver,
    Spacing,
    grid,
)

SCHEDULES = [LinearBeta(), Cosine(), Trigonometric(), Linear()]
CONTINUOUS = (Trigonometric, Linear)
each_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
each_spacing = pytest.mark.parametrize("spacing", SPACINGS)
each_solver = pytest.mark.parametrize("solver", SOLVERS.values())

MU = 0.3


def levels_at(schedule: Schedule, t: Tensor) -> list[Level]:
    alpha, sigma = schedule(t)
    return [Level(*v) for v in zip(t.tolist(), alpha.tolist(), sigma.tolist(), strict=True)]


def ideal(x: Tensor, at: At, v: float | Tensor) -> Tensor:
    """x0 from x_t for data of mean MU and variance v per element."""
    gain = at.alpha * v / (at.alpha**2 * v + at.sigma**2)
    return MU + gain * (x - at.alpha * MU)


def ode(x: Tensor, start: Level, end: Level, v: float | Tensor) -> Tensor:
    """Where the probability-flow ODE takes `x`, exactly."""
    spread = (end.alpha**2 * v + end.sigma**2) / (start.alpha**2 * v + start.sigma**2)
    return end.alpha * MU + spread**0.5 * (x - start.alpha * MU)


@each_spacing
@each_schedule
def test_every_number_of_steps_has_its_grid(schedule: Schedule, spacing: Spacing) -> None:
    if spacing == "leading" and isinstance(schedule, CONTINUOUS):
        with pytest.raises(ValueError, match='no "leading" grid'):
            grid(schedule, 10, spacing)
        return
    for steps in range(1, 1001):
        t = grid(schedule, steps, spacing)
        assert t.shape == (steps + 1,)
        assert (t.diff() < 0).all(), steps
        assert t[-1] == 0
        assert t[0] <= 1 if spacing == "leading" else t[0] == 1


@each_spacing
@each_solver
@pytest.mark.parametrize(
    "schedule",
    [LinearBeta(40), Cosine(40), Trigonometric(), Linear()],
    ids=lambda s: type(s).__name__,
)
def test_every_plan(schedule: Schedule, solver: type[Solver], spacing: Spacing) -> None:
    if spacing == "leading" and isinstance(schedule, CONTINUOUS):
        return
    for steps in range(1, 41):
        plan = solver(steps, spacing=spacing).plan(schedule)
        assert len(plan) == steps == len(plan.times) - 1 == sum(row.ends for row in plan.rows)
        assert plan.calls == len(plan.rows) == (2 * steps - 1 if solver is Heun else steps)
        assert all(math.isfinite(value) for row in plan.rows for value in row[1:])
        assert plan.rows[-1].noise == 0
        assert plan.random == (solver in (DDPM, DPMpp2MSDE) and steps > 1)


@pytest.mark.parametrize("timesteps", [2, 7, 49, 1000])
def test_all_timesteps_are_hit_exactly(timesteps: int) -> None:
    wanted = [(i + 1) / timesteps for i in reversed(range(timesteps))] + [0.0]
    for spacing in ("trailing", "leading"):
        assert grid(LinearBeta(timesteps), timesteps, spacing).tolist() == wanted


def test_leading_is_every_kth_index_from_the_first() -> None:
    t = grid(LinearBeta(1000), 61, "leading")
    assert [round(value * 1000) for value in t.tolist()] == [*range(961, 0, -16), 0]


@each_schedule
def test_even_spacings_are_even(schedule: Schedule) -> None:
    inner = slice(1, -1)  # the ends are moved to 1 and 0
    log_snr = schedule.log_snr(grid(schedule, 20, "log_snr"))[inner]
    torch.testing.assert_close(log_snr.diff(), log_snr.diff().mean().expand(18), rtol=1e-6, atol=0)
    root = (-schedule.log_snr(grid(schedule, 20, "karras"))[inner] / 14).exp()
    torch.testing.assert_close(root.diff(), root.diff().mean().expand(18), rtol=1e-6, atol=0)


@each_spacing
@each_solver
@each_schedule
def test_rows_keep_signal_and_noise(
    schedule: Schedule, solver: type[Solver], spacing: Spacing
) -> None:
    """If the estimate never changes, each step goes from alpha x0 + sigma eps to the same at t'."""
    if spacing == "leading" and isinstance(schedule, CONTINUOUS):
        return
    made = DDPM(9, "posterior", spacing=spacing) if solver is DDPM else solver(9, spacing=spacing)
    for solver_ in (made, *([DDIM(9, eta, spacing=spacing) for eta in (0.3, 1.0)])):
        plan = solver_.plan(schedule)
        levels = levels_at(schedule, torch.tensor(plan.times, dtype=torch.float64))
        steps = [row for row in plan.rows if row.ends]
        for row, (now, then) in zip(steps, pairwise(levels), strict=True):
            signal = row.start * now.alpha + row.x0 + row.previous
            # DDPM draws from a posterior that knows x0; its noise is not preserved but given.
            variance = (row.start * now.sigma) ** 2 + row.noise**2
            assert signal == pytest.approx(then.alpha, abs=1e-12)
            assert variance == pytest.approx(then.sigma**2, abs=1e-12)


@each_schedule
@each_spacing
def test_ddim_of_eta_one_is_ddpm_of_the_posterior(schedule: Schedule, spacing: Spacing) -> None:
    """Row for row, whether the schedule preserves variance or not."""
    if spacing == "leading" and isinstance(schedule, CONTINUOUS):
        return
    ancestral = DDPM(13, "posterior", spacing=spacing).plan(schedule)
    implicit = DDIM(13, eta=1.0, spacing=spacing).plan(schedule)
    assert ancestral.times == implicit.times
    for one, two in zip(ancestral.rows, implicit.rows, strict=True):
        assert one.asked == two.asked
        assert one[1:] == pytest.approx(two[1:], rel=1e-9, abs=1e-12)


@each_schedule
def test_the_posterior_is_that_of_two_jointly_normal_states(schedule: Schedule) -> None:
    """q(x' | x_t, x0): of x' = alpha' x0 + sigma' e and x_t = a x' + sqrt(beta) e', by the formula
    for a conditional normal distribution; a follows from the means, beta from the variances."""
    plan = DDPM(11, "posterior").plan(schedule)
    levels = levels_at(schedule, torch.tensor(plan.times, dtype=torch.float64))
    for row, (now, then) in zip(plan.rows, pairwise(levels), strict=True):
        a = now.alpha / then.alpha
        covariance = torch.tensor(
            [[then.sigma**2, a * then.sigma**2], [a * then.sigma**2, now.sigma**2]],
            dtype=torch.float64,
        )
        gain = covariance[0, 1] / covariance[1, 1]
        variance = covariance[0, 0] - gain * covariance[0, 1]
        assert row.start == pytest.approx(float(gain), rel=1e-12)
        assert row.x0 == pytest.approx(float(then.alpha - gain * now.alpha), rel=1e-9)
        assert row.noise**2 == pytest.approx(float(variance), rel=1e-9, abs=1e-15)


def test_on_straight_paths_ddim_is_eulers_method() -> None:
    """x <- x - dt u, with u = eps - x0 from any network."""
    steps = 37
    x = torch.randn(5, 3, dtype=torch.float64)

    def velocity(x: Tensor, t: float) -> Tensor:
        return torch.tanh(x @ torch.ones(3, 3, dtype=torch.float64) / 3 + t) - 0.4 * x

    wanted = x
    for i in range(steps, 0, -1):
        wanted = wanted - velocity(wanted, i / steps) / steps

    def estimate(x: Tensor, at: At) -> Tensor:
        return pred.to_x0("flow", velocity(x, at.times[0]), x, at.alpha, at.sigma)

    found = run(DDIM(steps).plan(Linear()), estimate, x)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def interior(solver: type[Solver], schedule: Schedule, steps: int) -> tuple[Plan, list[Level]]:
    """From t = 0.9 to 0.1, evenly in log-SNR: away from the ends."""
    log_snr = schedule.log_snr(torch.tensor([0.9, 0.1], dtype=torch.float64))
    even = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    levels = levels_at(schedule, schedule.time_of(log_snr[0] + even * log_snr.diff()))
    return Plan(tuple(level.t for level in levels), tuple(solver(steps).rows(levels))), levels


@pytest.mark.parametrize(("solver", "order"), [(DDIM, 1), (Heun, 2), (DPMpp2M, 2)])
@each_schedule
def test_order_of_convergence(schedule: Schedule, solver: type[Solver], order: int) -> None:
    v = torch.tensor([0.04, 0.5, 1.0, 3.0], dtype=torch.float64)
    x = torch.tensor([[-1.7], [0.4], [2.0]], dtype=torch.float64).expand(3, 4)
    errors = []
    for steps in (128, 256):
        plan, levels = interior(solver, schedule, steps)
        found = run(plan, lambda x, at: ideal(x, at, v), x)
        error = found - ode(x, levels[0], levels[-1], v)
        errors.append(float(error.square().mean().sqrt()))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.2)


@pytest.mark.parametrize("solver", [DDIM, Heun, DPMpp2M])
@pytest.mark.parametrize("v", [0.04, 0.5, 1.0, 3.0])
@each_schedule
def test_the_default_grid_reaches_the_data(
    schedule: Schedule, v: float, solver: type[Solver]
) -> None:
    x = torch.tensor([[-1.7], [0.4], [2.0]], dtype=torch.float64)
    first, last = levels_at(schedule, torch.tensor([1.0, 0.0], dtype=torch.float64))
    found = run(solver(250).plan(schedule), lambda x, at: ideal(x, at, v), x)
    error = (found - ode(x, first, last, v)).abs().max()
    assert error < (0.05 if solver is DDIM else 0.01)


@pytest.mark.parametrize("variance", ["beta", "posterior"])
@pytest.mark.parametrize("v", [0.04, 0.5, 1.0, 3.0])
def test_variance_of_ddpm(v: float, variance: str) -> None:
    """Mean and variance of the chain, by the recursion that Ho et al. 2020 imply."""
    timesteps, draws = 50, 40000
    schedule = LinearBeta(timesteps, 1e-3, 0.3)
    beta = torch.linspace(1e-3, 0.3, timesteps, dtype=torch.float64)
    bar = (1 - beta).cumprod(0)
    mean, spread = 0.0, 1.0
    for i in reversed(range(timesteps)):
        b, a, before = float(beta[i]), float(bar[i]), float(bar[i - 1]) if i else 1.0
        # eps of the ideal denoiser is slope * (x - sqrt(a) MU).
        slope = math.sqrt(1 - a) / (a * v + 1 - a)
        shrink = b / math.sqrt(1 - a)
        mean = (mean - shrink * slope * (mean - math.sqrt(a) * MU)) / math.sqrt(1 - b)
        spread *= (1 - shrink * slope) ** 2 / (1 - b)
        if i:
            spread += b if variance == "beta" else b * (1 - before) / (1 - a)
    plan = DDPM(timesteps, variance).plan(schedule)  # type: ignore[arg-type]
    x = torch.randn(draws, 1, dtype=torch.float64)
    found = run(plan, lambda x, at: ideal(x, at, v), x)
    assert abs(float(found.mean()) - mean) < 4 * math.sqrt(spread / draws)
    assert abs(float(found.var()) - spread) < 4 * spread * math.sqrt(2 / draws)


@pytest.mark.parametrize(
    "solver",
    [
        DDPM(50),
        DDPM(50, "posterior"),
        DDIM(50),
        DDIM(50, 1.0),
        Heun(25),
        DPMpp2M(50),
        DPMpp2MSDE(50),
    ],
    ids=repr,
)
@each_schedule
def test_a_finite_data_set_is_reached(schedule: Schedule, solver: Solver) -> None:
    points = torch.randn(6, 2, 4, dtype=torch.float64)

    def denoise(x: Tensor, at: At) -> Tensor:
        away = (x[:, None] - at.alpha * points).square().flatten(2).sum(2)
        weight = torch.softmax(-away / (2 * at.sigma**2), dim=1)
        return torch.einsum("bn,ncl->bcl", weight, points)

    x = torch.randn(100, 2, 4, dtype=torch.float64)
    found = run(solver.plan(schedule), denoise, x)
    nearest = (found[:, None] - points).flatten(2).norm(dim=2).min(1)
    assert nearest.values.max() < 1e-3
    assert len(nearest.indices.unique()) == len(points)


@pytest.mark.parametrize("solver", [DDIM(600), Heun(50), DPMpp2M(50)], ids=repr)
def test_spectrum_of_autoregressive_waveforms(solver: Solver) -> None:
    """x_k = 0.9 x_{k-1} + noise, of variance 1. The sampler of a Gaussian is linear, so that the
    samples' exact spectrum is what it makes of each unit vector."""
    length, decay = 64, 0.9
    lag = torch.arange(length, dtype=torch.float64)
    covariance = decay ** (lag[:, None] - lag).abs()

    def denoise(x: Tensor, at: At) -> Tensor:
        noisy = at.alpha**2 * covariance + at.sigma**2 * torch.eye(length, dtype=torch.float64)
        return x @ torch.linalg.solve(noisy, at.alpha * covariance)

    unit = torch.eye(length, dtype=torch.float64)[:, None]
    found = run(solver.plan(LinearBeta()), denoise, unit)[:, 0]

    def decibels(covariance: Tensor) -> Tensor:
        spectrum = torch.fft.fft(torch.fft.fft(covariance, dim=0).conj(), dim=1).diagonal().real
        return 10 * spectrum.log10()

    assert decibels(covariance).max() - decibels(covariance).min() > 20
    torch.testing.assert_close(decibels(found.T @ found), decibels(covariance), rtol=0, atol=0.1)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: DDIM(0), "DDIM needs 1 step or more, not 0"),
        (lambda: Heun(2.0), "not 2.0"),  # type: ignore[arg-type]
        (lambda: DDIM("5"), "not '5'"),  # type: ignore[arg-type]
        (lambda: DDIM(5, eta=1.5), "eta must lie"),
        (lambda: DDPM(5, "large"), "variance must be"),  # type: ignore[arg-type]
        (lambda: DDPM(5, spacing="even"), "unknown spacing 'even'"),  # type: ignore[arg-type]
        (lambda: DDPM(1001).plan(LinearBeta()), "1001 steps are more than the 1000"),
        (lambda: DPMpp2M(51).plan(Cosine(50)), "51 steps are more than the 50"),
        (lambda: DDIM(5).plan(Cosine(50), start=0.0), r"start must lie in \(0, 1\]"),
        (lambda: DDIM(5).plan(Cosine(50), start=1.5), r"start must lie in \(0, 1\]"),
    ],
)
def test_wrong_arguments_are_refused(make: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()  # type: ignore[operator]


def test_a_continuous_schedule_takes_any_number_of_steps() -> None:
    assert len(DDIM(3000).plan(Trigonometric())) == 3000


@pytest.mark.parametrize("start", [1.0, 0.55, 0.5, 1e-3])
@each_solver
def test_a_plan_from_a_time_on(solver: type[Solver], start: float) -> None:
    whole, rest = solver(12).plan(Linear()), solver(12).plan(Linear(), start)
    assert rest.times == (start, *(t for t in whole.times if t < start))
    assert rest.rows[0].asked.t == start


def test_solvers_are_values() -> None:
    assert DDIM(np.int64(20)) == DDIM(20)
    assert type(DDIM(np.int64(20)).steps) is int
    assert DDIM(20) == DDIM(20) != DDIM(20, eta=1.0)
    assert DDIM(20).plan(LinearBeta()) == DDIM(20).plan(LinearBeta())
    names: Sequence[str] = tuple(SOLVERS)
    assert names == ("ddpm", "ddim", "heun", "dpmpp2m", "dpmpp2msde")
