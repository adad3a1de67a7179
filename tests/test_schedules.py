from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmdiff.schedules import Cosine, Linear, LinearBeta, Schedule, Trigonometric

SCHEDULES = [
    LinearBeta(),
    LinearBeta(7, 0.01, 0.3),
    Cosine(),
    Cosine(50, s=0.01, max_beta=0.9),
    Trigonometric(),
    Linear(),
]
each_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)


def thesis_alpha_bar(timesteps: int, first: float, last: float) -> list[float]:
    product, result = 1.0, []
    for i in range(timesteps):
        product *= 1 - (first + (last - first) * i / (timesteps - 1))
        result.append(product)
    return result


@pytest.mark.parametrize(
    ("timesteps", "first", "last"),
    [(1000, 1e-4, 0.02), (999, 1e-4, 0.02), (49, 0.003, 0.2), (2, 0.1, 0.5)],
)
def test_linear_beta_is_the_chain_at_every_index(timesteps: int, first: float, last: float) -> None:
    t = torch.tensor([(i + 1) / timesteps for i in range(timesteps)], dtype=torch.float64)
    alpha, sigma = LinearBeta(timesteps, first, last)(t)
    wanted = torch.tensor(thesis_alpha_bar(timesteps, first, last), dtype=torch.float64)
    torch.testing.assert_close(alpha**2, wanted, rtol=1e-11, atol=0)
    torch.testing.assert_close(sigma**2, 1 - wanted, rtol=1e-11, atol=0)


def test_cosine_is_the_papers_curve_below_its_cap() -> None:
    schedule = Cosine(1000, s=0.008)
    t = torch.arange(1, 990, dtype=torch.float64) / 1000

    def curve(u: torch.Tensor | float) -> torch.Tensor:
        return torch.cos(math.pi / 2 * (torch.as_tensor(u) + 0.008) / 1.008) ** 2

    torch.testing.assert_close(schedule(t)[0] ** 2, curve(t) / curve(0.0), rtol=1e-6, atol=0)
    last = torch.tensor([999 / 1000, 1.0], dtype=torch.float64)
    before, end = schedule(last)[0] ** 2
    assert float(1 - end / before) == pytest.approx(0.999, abs=1e-9)


def test_trigonometric_is_the_half_circle() -> None:
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    alpha, sigma = Trigonometric()(t)
    torch.testing.assert_close(alpha, torch.cos(math.pi / 2 * t), rtol=0, atol=1e-15)
    torch.testing.assert_close(sigma, torch.sin(math.pi / 2 * t), rtol=0, atol=1e-15)
    assert alpha[-1] == 0
    assert Trigonometric().alpha_at_one == 0


def test_linear_is_the_straight_path() -> None:
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    alpha, sigma = Linear()(t)
    torch.testing.assert_close(alpha + sigma, torch.ones_like(t), rtol=0, atol=1e-15)
    assert torch.equal(sigma, t)
    assert Linear().alpha_at_one == 0


@each_schedule
def test_falls_strictly_and_all_but_linear_preserve_variance(schedule: Schedule) -> None:
    t = torch.linspace(0, 1, 4001, dtype=torch.float64)
    alpha, sigma = schedule(t)
    if not isinstance(schedule, Linear):
        torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(t), rtol=0, atol=1e-14)
    log_snr = schedule.log_snr(t)
    assert (log_snr.diff() < 0).all()
    torch.testing.assert_close((alpha / sigma)[1:].log() * 2, log_snr[1:], rtol=1e-9, atol=1e-9)
    assert (alpha[0], sigma[0], log_snr[0]) == (1, 0, math.inf)


@given(t=st.floats(1e-6, 1.0), index=st.integers(0, len(SCHEDULES) - 1))
def test_time_of_inverts_log_snr(t: float, index: int) -> None:
    schedule = SCHEDULES[index]
    there = schedule.log_snr(torch.tensor(t, dtype=torch.float64))
    assert float(schedule.time_of(there)) == pytest.approx(t, rel=1e-7, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@each_schedule
def test_shape_and_dtype_are_those_of_t(schedule: Schedule, dtype: torch.dtype) -> None:
    t = torch.rand(2, 3).to(dtype)
    exact = schedule(t.double())
    for got, wanted in zip(schedule(t), exact, strict=True):
        assert got.dtype == dtype
        assert torch.equal(got, wanted.to(dtype))


def test_training_visits_each_timestep_alike() -> None:
    u = torch.arange(0, 1, 1e-5, dtype=torch.float64) + 5e-6
    visited, counts = LinearBeta(10).training_time(u).unique(return_counts=True)
    torch.testing.assert_close(visited, torch.arange(1, 11, dtype=torch.float64) / 10)
    assert (counts == 10000).all()
    assert LinearBeta(10).training_time(torch.tensor(1 - 2.0**-24)) == 1
    assert torch.equal(Trigonometric().training_time(u), u)


@each_schedule
def test_equal_settings_are_equal(schedule: Schedule) -> None:
    again = dataclasses.replace(schedule)
    assert again == schedule
    assert hash(again) == hash(schedule)
    assert sum(other == schedule for other in SCHEDULES) == 1


@pytest.mark.parametrize(
    ("times", "words"),
    [
        ([500], "not torch.int64: index i of T timesteps stands at"),
        ([True], "not torch.bool"),
        ([0.5, 1.0001], r"lie in \[0, 1\], not 0.5 to 1.0001"),
        ([-1e-6, 0.5], "lie in"),
        ([0.5, math.nan], "lie in"),
    ],
)
@each_schedule
def test_what_is_no_time_is_refused(schedule: Schedule, times: list[float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        schedule(torch.tensor(times))


@pytest.mark.parametrize("arguments", [(1,), (10, 0.0), (10, 0.02, 0.01), (10, 0.1, 1.0)])
def test_bad_betas_are_refused(arguments: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="LinearBeta needs"):
        LinearBeta(*arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("arguments", [{"timesteps": 1}, {"s": -1.0}, {"max_beta": 1.0}])
def test_a_bad_cosine_is_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="Cosine needs"):
        Cosine(**arguments)  # type: ignore[arg-type]
