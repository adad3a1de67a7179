"""The way from noise to an answer, gone in passes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from mmdiff.schedules import Schedule
from mmdiff.solvers import LOG_SNR_RANGE, DPMpp2MSDE, Level, Plan

_ENDS = 0.2  # sigma / alpha at the end of a pass that others follow
_STEPS = 8  # of a pass


@dataclass(frozen=True)
class Passes(DPMpp2MSDE):
    """`DPMpp2MSDE` in passes of eight steps: what one has drawn is noised, and drawn again.

    Where noise is strong, the normal distribution of `Posterior` is a poor account of x0, and what
    is drawn there may not go with what was measured. From a state that has both in it, noised
    again, better is drawn (RePaint: Lugmayr et al. 2022; restarts: Xu et al. 2023). Noising is
    exact and costs no call: the last row of a pass does both, and times rise there.

    Attributes:
        begins: sigma / alpha where all passes but the first begin. At 1, of data of unit variance,
            what shows in the large stays, which suits what is measured everywhere; where something
            is missing, that is to be drawn again too.
    """

    begins: float = 1.0

    def plan(self, schedule: Schedule, start: float = 1.0) -> Plan:
        count = self.steps // _STEPS if start == 1 else 1
        if count < 2:
            return super().plan(schedule, start)
        timesteps = getattr(schedule, "timesteps", math.inf)
        ends = torch.tensor([1.0, 1 / timesteps], dtype=torch.float64)
        high, low = schedule.log_snr(ends).clamp(*LOG_SNR_RANGE).div(-2).exp().tolist()
        rows, times = [], [1.0]
        for index in range(count):
            begins = self.begins if index else high
            steps = _STEPS if index else self.steps - _STEPS * (count - 1)
            last = index == count - 1
            levels = _levels(schedule, begins, low if last else _ENDS, steps - last)
            if not index:
                levels[0] = _at(schedule, torch.ones(1, dtype=torch.float64))[0]
            if last:
                levels += _at(schedule, torch.zeros(1, dtype=torch.float64))
            drawn = list(self.rows(levels))
            times += [level.t for level in levels[1:]]
            if not last:
                (again,) = _levels(schedule, self.begins, self.begins, 0)
                decay = again.alpha / levels[-1].alpha
                variance = again.sigma**2 - (decay * levels[-1].sigma) ** 2
                row = drawn[-1]
                drawn[-1] = row._replace(
                    start=decay * row.start,
                    x0=decay * row.x0,
                    previous=decay * row.previous,
                    noise=math.hypot(decay * row.noise, math.sqrt(variance)),
                )
                times[-1] = again.t
            rows += drawn
        return Plan(tuple(times), tuple(rows))


def _levels(schedule: Schedule, begins: float, ends: float, steps: int) -> list[Level]:
    """`steps` + 1 levels, even in the logarithm of sigma / alpha."""
    ratio = torch.linspace(math.log(begins), math.log(ends), steps + 1, dtype=torch.float64)
    return _at(schedule, schedule.time_of(-2 * ratio))


def _at(schedule: Schedule, t: torch.Tensor) -> list[Level]:
    alpha, sigma = schedule(t)
    return [Level(*v) for v in zip(t.tolist(), alpha.tolist(), sigma.tolist(), strict=True)]
