"""Solvers as data: a solver and a schedule make a Plan, a table of coefficients.

Each step goes from (alpha, sigma) at time t to (alpha', sigma') at t' < t. A row of the plan is
one call of the network, which yields an estimate x0 of the clean signal, and a new state:

    state = start * (state at the start of the step) + x0 * (this estimate)
            + previous * (the estimate before it) + noise * z,    z standard normal.

Every solver below is this and nothing else, so that one loop runs them all. The coefficients are
products and ratios that stay finite where alpha = 0 (t = 1 on some schedules) and sigma = 0
(t = 0 on all).
"""

from __future__ import annotations

import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from mmdiff.schedules import Schedule

Spacing = Literal["trailing", "leading", "log_snr", "karras"]
SPACINGS: tuple[str, ...] = get_args(Spacing)

# Where the grids that are even in noise level begin and end, if the schedule goes further.
LOG_SNR_RANGE = (-8.0, 10.0)
KARRAS_RHO = 7.0  # Karras et al. 2022, section 3


class Level(NamedTuple):
    """A time and its noise level."""

    t: float
    alpha: float
    sigma: float

    @property
    def log_ratio(self) -> float:
        """log(alpha / sigma), half the log-SNR: lambda in the papers; both must be above 0."""
        return math.log(self.alpha / self.sigma)


class Row(NamedTuple):
    """One call of the network and the state that follows; see the head of this module."""

    asked: Level  # where the network is asked
    start: float
    x0: float
    previous: float = 0.0
    noise: float = 0.0
    ends: bool = True  # the new state ends the step: later rows start from it


@dataclass(frozen=True)
class Plan:
    """All that a sampler does, known before it begins.

    `times` [N + 1] fall strictly to 0; `len(plan)` is N, the steps; `calls` counts network calls.
    """

    times: tuple[float, ...]
    rows: tuple[Row, ...]

    def __len__(self) -> int:
        return len(self.times) - 1

    @property
    def calls(self) -> int:
        return len(self.rows)

    @property
    def random(self) -> bool:
        """Whether any row adds noise."""
        return any(row.noise for row in self.rows)


def grid(schedule: Schedule, steps: int, spacing: Spacing) -> Tensor:
    """[steps + 1] times in float64, strictly falling to 0; `Solver` describes the spacings.

    Raises:
        ValueError: more steps than the schedule has timesteps, or "leading" where it has none.
    """
    timesteps: int | None = getattr(schedule, "timesteps", None)
    if timesteps is not None and steps > timesteps:
        raise ValueError(
            f"{steps} steps are more than the {timesteps} timesteps of the schedule: ask for fewer."
        )
    falling = torch.arange(steps, -1, -1, dtype=torch.float64)
    if spacing == "trailing":
        return falling / steps
    if spacing == "leading":
        if timesteps is None:
            raise ValueError(
                f'{type(schedule).__name__} is continuous and has no "leading" grid: '
                'use spacing="trailing".'
            )
        return (((falling - 1) * (timesteps // steps) + 1) / timesteps).clamp(min=0)
    ends = torch.tensor([1.0, 0.0 if timesteps is None else 1 / timesteps], dtype=torch.float64)
    high, low = schedule.log_snr(ends).clamp(*LOG_SNR_RANGE).div(-2).exp()
    even = falling / steps
    if spacing == "log_snr":
        ratio = low * (high / low) ** even
    else:
        root = 1 / KARRAS_RHO
        ratio = (low**root + (high**root - low**root) * even) ** KARRAS_RHO
    t = schedule.time_of(-2 * ratio.log())
    t[0], t[-1] = 1.0, 0.0
    return t


@dataclass(frozen=True)
class Solver(ABC):
    """`steps` steps from t = 1 to t = 0, placed by `spacing`.

    trailing: evenly in t. leading: DDIM's own grid on a table of T betas, every (T // steps)-th
    index from the first, so that it begins below t = 1. log_snr: evenly in log-SNR. karras: evenly
    in (sigma / alpha)^(1 / 7) (Karras et al. 2022). The last two are even from t = 1 to 1 / T, or
    within `LOG_SNR_RANGE` where a schedule reaches beyond it; the last step goes on to 0.
    """

    steps: int
    spacing: Spacing = field(default="trailing", kw_only=True)

    def __post_init__(self) -> None:
        try:
            steps = operator.index(self.steps)
        except TypeError:
            steps = 0
        if steps < 1:
            raise ValueError(f"{type(self).__name__} needs 1 step or more, not {self.steps!r}.")
        object.__setattr__(self, "steps", steps)
        if self.spacing not in SPACINGS:
            raise ValueError(f"unknown spacing {self.spacing!r}; known are {', '.join(SPACINGS)}.")

    @abstractmethod
    def rows(self, levels: Sequence[Level]) -> Iterator[Row]:
        """The rows that lead through `levels`, the last of which has sigma = 0."""

    def plan(self, schedule: Schedule, start: float = 1.0) -> Plan:
        """The coefficients for `schedule`.

        Args:
            schedule: of the model.
            start: where it begins, in (0, 1]; below 1 only those steps are taken that would end
                later, the first of them from here.

        Raises:
            ValueError: more steps than the schedule has timesteps, a spacing it cannot have, or a
                `start` beyond its range.
        """
        if not 0 < start <= 1:
            raise ValueError(f"start must lie in (0, 1], not {start}.")
        t = grid(schedule, self.steps, self.spacing)
        if start < 1:
            t = torch.cat((t.new_tensor([start]), t[t < start]))
        alpha, sigma = schedule(t)
        levels = [Level(*v) for v in zip(t.tolist(), alpha.tolist(), sigma.tolist(), strict=True)]
        return Plan(tuple(level.t for level in levels), tuple(self.rows(levels)))


@dataclass(frozen=True)
class DDPM(Solver):
    """Ancestral sampling (Ho et al. 2020): draw from q(x' | x_t, x0) with x0 estimated.

    With a = alpha / alpha' and beta = sigma^2 - a^2 sigma'^2, whatever alpha^2 + sigma^2 is:

        x' = a (sigma' / sigma)^2 x_t + alpha' beta / sigma^2 x0 + sqrt(variance) z.

    `variance` is "beta", or "posterior", beta (sigma' / sigma)^2, that of q itself. The last step
    adds no noise.
    """

    variance: Literal["beta", "posterior"] = "beta"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.variance not in ("beta", "posterior"):
            raise ValueError(f'variance must be "beta" or "posterior", not {self.variance!r}.')

    def rows(self, levels: Sequence[Level]) -> Iterator[Row]:
        for now, then in pairwise(levels):
            decay, beta = _transition(now, then)
            shrink = (then.sigma / now.sigma) ** 2
            variance = beta if self.variance == "beta" and then.sigma > 0 else beta * shrink
            yield Row(
                now,
                start=decay * shrink,
                x0=then.alpha * beta / now.sigma**2,
                noise=math.sqrt(variance),
            )


@dataclass(frozen=True)
class DDIM(Solver):
    """Song et al. 2021, eq. 12: `eta` = 0 is deterministic, 1 adds DDPM's posterior variance.

    With r = sqrt(sigma'^2 - noise^2) / sigma:   x' = r x_t + (alpha' - alpha r) x0 + noise z.
    """

    eta: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta must lie in [0, 1], not {self.eta}.")

    def rows(self, levels: Sequence[Level]) -> Iterator[Row]:
        for now, then in pairwise(levels):
            _, beta = _transition(now, then)
            noise = self.eta * then.sigma / now.sigma * math.sqrt(beta)
            ratio = math.sqrt(max(then.sigma**2 - noise**2, 0.0)) / now.sigma
            yield Row(now, start=ratio, x0=then.alpha - now.alpha * ratio, noise=noise)


@dataclass(frozen=True)
class Heun(Solver):
    """Karras et al. 2022, algorithm 1: two calls a step, one in the last.

    With y = x / alpha, u = sigma / alpha and D(y, u) the estimate, dy/du = (y - D) / u, and

        y' = y + (u' - u) / 2 ((y - D(y, u)) / u + (e - D(e, u')) / u'),   e that of Euler's step.

    Heun's method for x / alpha as a function of sigma / alpha; where alpha is nearly 0, so that
    this is nearly infinite, for x / sigma as a function of alpha / sigma.
    """

    spacing: Spacing = field(default="karras", kw_only=True)

    def rows(self, levels: Sequence[Level]) -> Iterator[Row]:
        for now, then in pairwise(levels):
            ratio = then.sigma / now.sigma
            euler = then.alpha - now.alpha * ratio
            if then.sigma == 0:
                yield Row(now, start=ratio, x0=euler)
                continue
            yield Row(now, start=ratio, x0=euler, ends=False)
            # The mean of both slopes, as weights on both estimates.
            infinite = now.alpha < 1e-3 * now.sigma
            part = 0.5 if infinite else 0.5 * then.alpha / (now.alpha * ratio)
            yield Row(then, start=ratio, x0=euler * part, previous=euler * (1 - part))


@dataclass(frozen=True)
class DPMpp2M(Solver):
    """DPM-Solver++(2M), Lu et al. 2022, algorithm 2: first order in the first and last step.

    With h the step in log(alpha / sigma), r = h / h_before and D, D_before the last estimates:

        x' = sigma' / sigma x_t + (alpha' - alpha sigma' / sigma) ((1 + r / 2) D - r / 2 D_before).
    """

    spacing: Spacing = field(default="karras", kw_only=True)

    def rows(self, levels: Sequence[Level]) -> Iterator[Row]:
        before = None
        for now, then in pairwise(levels):
            ratio = then.sigma / now.sigma
            euler = then.alpha - now.alpha * ratio
            more = 0.5 * _step_ratio(before, now, then)
            yield Row(now, start=ratio, x0=euler * (1 + more), previous=-euler * more)
            before = now


@dataclass(frozen=True)
class DPMpp2MSDE(Solver):
    """SDE-DPM-Solver++(2M): Lu et al. 2022, appendix; the noisy sibling of `DPMpp2M`.

    x' = sigma' / sigma e^-h x_t + alpha' (1 - e^-2h) ((1 + r / 2) D - r / 2 D_before)
         + sigma' sqrt(1 - e^-2h) z.
    """

    spacing: Spacing = field(default="log_snr", kw_only=True)

    def rows(self, levels: Sequence[Level]) -> Iterator[Row]:
        before = None
        for now, then in pairwise(levels):
            ratio = then.sigma / now.sigma
            decay = ratio * now.alpha / then.alpha  # exp(-h)
            euler = then.alpha * (1 - decay**2)
            more = 0.5 * _step_ratio(before, now, then)
            yield Row(
                now,
                start=ratio * decay,
                x0=euler * (1 + more),
                previous=-euler * more,
                noise=then.sigma * math.sqrt(1 - decay**2),
            )
            before = now


def _transition(now: Level, then: Level) -> tuple[float, float]:
    """a and beta of q(x_t | x') = N(a x', beta): beta = sigma^2 - a^2 sigma'^2."""
    decay = now.alpha / then.alpha
    return decay, now.sigma**2 - (decay * then.sigma) ** 2


def _step_ratio(before: Level | None, now: Level, then: Level) -> float:
    """h / h_before in log(alpha / sigma); 0, which makes first order, where either is infinite."""
    if before is None or before.alpha == 0 or then.sigma == 0:
        return 0.0
    return (then.log_ratio - now.log_ratio) / (now.log_ratio - before.log_ratio)


SOLVERS: dict[str, type[Solver]] = {
    "ddpm": DDPM,
    "ddim": DDIM,
    "heun": Heun,
    "dpmpp2m": DPMpp2M,
    "dpmpp2msde": DPMpp2MSDE,
}
