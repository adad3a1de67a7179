"""Picard: a runner that solves a Plan in parallel over its steps (Shih et al. 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mmdiff.diffusion import At, Diffusion
from mmdiff.sampling import prepare, steered
from mmdiff.solvers import Plan, Solver
from mmdiff.steering import Guidance


@torch.no_grad()
def picard(
    model: Diffusion,
    shape: Sequence[int],
    solver: Solver,
    seed: int = 0,
    noise: Tensor | None = None,
    guidance: Guidance | float | None = None,
    clip: tuple[float, float] | None = None,
    tolerance: float = 1e-5,
    first: int = 0,
    **conditions: Any,
) -> tuple[Tensor, int]:
    """What `sample` gives, by rounds of one batched network call over all steps at once.

    Given the estimates of x0, the states are linear in them and are found exactly; given the
    states, the estimates are refreshed together. This is repeated until no state changes by more
    than `tolerance`. It needs memory for B x calls samples and pays where the device is not filled
    by B. Other arguments are those of `sample`.

    Returns:
        The samples [B, C, *spatial] and the number of rounds, never more than `plan.calls`.

    Raises:
        ValueError: as `sample`, and for a solver that adds noise.
    """
    plan = solver.plan(model.schedule)
    if plan.random:
        raise ValueError(f"picard needs a deterministic solver such as DDIM, not {solver}.")
    if not tolerance > 0:
        raise ValueError(f"tolerance must be above 0, not {tolerance}.")
    x, dtype, given = prepare(model, shape, seed, noise, first, conditions)
    told = given.encoded(model.codec)
    estimate = steered(model, dtype, told, guidance, clip)
    table = _recursion(plan).to(x)
    levels = torch.tensor([row.asked for row in plan.rows], dtype=x.dtype, device=x.device)

    def refresh(states: Tensor, skip: int) -> Tensor:
        """Estimates at `states` [R - skip, B, ...], the rows from `skip` on."""
        parts = len(states)
        t, alpha, sigma = levels[skip : skip + parts].repeat_interleave(len(x), 0).unbind(1)
        ones = (1,) * (x.ndim - 1)
        times = tuple(row.asked.t for row in plan.rows[skip : skip + parts])
        repeated = told.repeated(parts)
        at = At(times, t, alpha.reshape(-1, *ones), sigma.reshape(-1, *ones), repeated)
        return estimate(states.flatten(0, 1), at).reshape(states.shape)

    # After round k the first k estimates are exact, and are not asked for again.
    estimates = refresh(x[None], 0).expand(plan.calls, *x.shape)
    states = torch.tensordot(table, torch.cat((x[None], estimates)), 1)
    rounds, settled = 1, False
    while rounds < plan.calls and not settled:
        fresh = refresh(states[rounds:-1], rounds)
        estimates = torch.cat((estimates[:rounds], fresh))
        before, states = states, torch.tensordot(table, torch.cat((x[None], estimates)), 1)
        settled = bool((states - before).abs().max() <= tolerance)
        rounds += 1
    return model.decode(states[-1].to(dtype), tuple(shape)[2:], **given.values), rounds


def _recursion(plan: Plan) -> Tensor:
    """[R + 1, R + 1]: the state that each of R rows asks at, and the last one, as weights on the
    initial state and the R estimates."""
    unit = torch.eye(plan.calls + 1, dtype=torch.float64)
    states, begin = [unit[0]], unit[0]
    for i, row in enumerate(plan.rows):
        state = row.start * begin + row.x0 * unit[i + 1] + row.previous * unit[i]
        states.append(state)
        begin = state if row.ends else begin
    return torch.stack(states)
