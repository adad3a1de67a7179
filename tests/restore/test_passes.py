"""Passes are the same process, gone over again."""

from __future__ import annotations

import itertools

import pytest
import torch

from mmdiff import DPMpp2MSDE, LinearBeta, Schedule, Trigonometric
from mmdiff.restore.passes import Passes
from mmdiff.sampling import run

SCHEDULES = [LinearBeta(), Trigonometric()]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize(("steps", "passes"), [(8, 1), (25, 3), (50, 6)])
def test_costs_no_more_calls(schedule: Schedule, steps: int, passes: int) -> None:
    plan = Passes(steps).plan(schedule)
    assert (plan.calls, len(plan)) == (steps, steps)
    assert (plan.times[0], plan.times[-1]) == (1.0, 0.0)
    assert sum(a < b for a, b in itertools.pairwise(plan.times)) == passes - 1
    asked = [row.asked.t for row in plan.rows]
    assert asked == pytest.approx(list(plan.times[:-1]), abs=1e-9)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("begins", [1.0, 2.0])
def test_draws_normal_data_as_they_are(schedule: Schedule, begins: float) -> None:
    mean, deviation = 0.4, 0.7
    found = run(
        Passes(50, begins).plan(schedule),
        lambda x, at: (
            mean
            + (x - at.alpha * mean)
            * (at.alpha * deviation**2 / (at.alpha**2 * deviation**2 + at.sigma**2))
        ),
        torch.randn(20_000, 1, 1, dtype=torch.float64),
    )
    assert float(found.mean()) == pytest.approx(mean, abs=4 * deviation / 20_000**0.5)
    assert float(found.std()) == pytest.approx(deviation, rel=0.05)


def test_from_a_state_that_has_signal_it_is_the_plain_solver() -> None:
    assert Passes(25).plan(LinearBeta(), 0.4) == DPMpp2MSDE(25).plan(LinearBeta(), 0.4)
