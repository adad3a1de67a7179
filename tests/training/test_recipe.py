"""What a recipe may say, how long a run of it is, and its learning rates."""

from __future__ import annotations

import math
from typing import Any

import pytest
from torch import nn
from train_tiny import recipe

from mmdiff import Recipe, Sampling
from mmdiff.training.optimizers import learning_rate


def plain(**settings: Any) -> Recipe:
    return Recipe(nn.Linear(1, 1), **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps must be at least 1, not 0"),
        ({"batch": 0}, "batch must be at least 1"),
        ({"accumulate": 0}, "accumulate must be at least 1"),
        ({"samples": -1}, "samples must be 0 or more, not -1"),
        ({"lr": 0.0}, "lr must be above 0"),
        ({"lr": math.nan}, "lr must be above 0"),
        ({"epochs": math.inf}, "epochs must be above 0 and finite, not inf"),
        ({"optimizer": "sgd"}, "unknown optimizer 'sgd'; known are adam, adamw, muon"),
        ({"decay": "linear"}, "unknown decay 'linear'; known are constant, cosine"),
        ({"precision": "fp16"}, "unknown precision 'fp16'; known are auto, bf16, no"),
        ({"sampling": Sampling(guidance=2)}, "told nothing cannot be guided"),
        ({"preview": Sampling(guidance=2)}, "told nothing cannot be guided"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plain(**settings)


def test_a_model_that_is_told_something_may_be_guided() -> None:
    assert recipe(sampling=Sampling(guidance=2)).sampling.guidance == 2
    assert plain(sampling=Sampling(guidance=1)).sampling.guidance == 1


@pytest.mark.parametrize(
    ("items", "options", "steps"),
    [
        (100, {"epochs": 3}, 36),
        (100, {"epochs": 3, "steps": 5}, 5),
        (5, {"epochs": 3}, 3),
        (8, {}, 1),
        (100, {"epochs": 0.01}, 1),
    ],
)
def test_the_length_of_a_run(items: int, options: dict[str, Any], steps: int) -> None:
    assert plain(batch=8, **options).length(items) == steps


def test_learning_rates() -> None:
    cosine = plain(lr=2.0, warmup=10)
    rates = [learning_rate(cosine, step, 110) for step in range(111)]
    assert rates[:10] == pytest.approx([2.0 * (step + 1) / 10 for step in range(10)])
    falling = [2.0 * math.cos(math.pi / 2 * step / 100) ** 2 for step in range(101)]
    assert rates[10:] == pytest.approx(falling)
    constant = plain(lr=2.0, warmup=4, decay="constant")
    rates = [learning_rate(constant, step, 110) for step in range(110)]
    assert rates == [0.5, 1.0, 1.5] + [2.0] * 107


@pytest.mark.parametrize(("steps", "warm"), [(10_000, 500), (400, 40), (5, 0)])
def test_a_warm_up_is_a_tenth_of_the_run_at_most(steps: int, warm: int) -> None:
    made = plain(lr=1.0, warmup=500, decay="constant")
    rates = [learning_rate(made, step, steps) for step in range(steps)]
    assert sum(rate < 1 for rate in rates) == max(0, warm - 1)
