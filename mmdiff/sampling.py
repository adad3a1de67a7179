"""The one loop that runs a Plan, and a runner that solves a Plan in parallel over its steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdiff import noise as keyed
from mmdiff.diffusion import At, Diffusion
from mmdiff.guidance import Guidance
from mmdiff.solvers import Plan, Solver

Estimate = Callable[[Tensor, At], Tensor]  # x_t [B, ...] -> x0 [B, ...]
OnStep = Callable[[int, float, Tensor, Tensor], None]

# Noise is drawn for as many steps at once as stay under this many numbers: for small signals a
# draw costs its launching.
NOISE_BLOCK = 1 << 14

_SPIN = 6  # the stream that shifts are drawn from


def sample(
    model: Diffusion,
    shape: Sequence[int],
    solver: Solver,
    seed: int = 0,
    noise: Tensor | None = None,
    guidance: Guidance | float | None = None,
    on_step: OnStep | None = None,
    first: int = 0,
    clip: tuple[float, float] | None = None,
    spin: int = 0,
    start: float = 1.0,
    **cond: Tensor | None,
) -> Tensor:
    """Samples [B, C, *spatial].

    Sample k of the batch depends on (seed, first + k) and its own conditions alone: any division
    of a batch into parts gives what the whole would.

    Args:
        model: in eval mode, as `mmdiff.load` gives it: in train mode dropout would take part.
        shape: all of [B, C, *spatial].
        solver: such as `DDPM(1000)` or `DPMpp2M(20)`.
        seed: any integer.
        noise: the initial state, of shape `shape`; drawn from `seed` if None. The result has its
            dtype and device, or those of the model's first parameter. The state itself is kept in
            float32 or wider.
        start: the time of the initial state. Below 1 it is no noise but a signal with some, as
            `model.add_noise` makes it, of which a variation comes: the more like it, the less it
            was noised (SDEdit; Meng et al. 2022).
        guidance: classifier-free guidance, or its scale; needs conditions to guide by.
        on_step: called after each step as `on_step(i, t, x, x0)`: the step from 0, the time that it
            reached, the state there and the latest estimate of the clean signal.
        first: the index of the first sample.
        clip: the range of the data, that every estimate of x0 is clipped to, as in the program of
            Ho et al. 2020; where the network errs most, near t = 1, this keeps it in bounds.
        spin: cycle spinning (Coifman & Donoho 1995): before each network call the state is shifted
            by a number drawn from 0 .. spin - 1, and its estimate shifted back, so that what a
            network does at fixed places of a grid of `spin` positions is spread over all of them.
            0 is none.
        cond: conditions by name, each [B, ...], such as `label` (int64 [B], -1 = none); None is
            as if left out.

    Raises:
        ValueError: an argument that does not fit the others.
    """
    x, dtype, given = _prepare(model, shape, seed, noise, first, cond)
    if start < 1 and noise is None:
        raise ValueError(f"to start at {start}, pass the state there as noise=.")
    plan = solver.plan(model.schedule, start)
    estimate = _estimate(model, dtype, guidance, clip, given)
    if spin:
        most = min(x.shape[2:], default=0)
        if not 0 < spin <= most:
            raise ValueError(
                f"spin must be in 0 .. {most} for a signal of shape {list(x.shape)}, not {spin}."
            )
        estimate = _spun(estimate, spin, plan.calls, seed)
    return run(plan, estimate, x, seed, first, on_step).to(dtype)


def in_parts(
    model: Diffusion,
    shape: Sequence[int],
    solver: Solver,
    seed: int = 0,
    *,
    batch: int,
    guidance: Guidance | float | None = None,
    on_step: OnStep | None = None,
    clip: tuple[float, float] | None = None,
    spin: int = 0,
    **cond: Tensor,
) -> Iterator[Tensor]:
    """What `sample` gives, `batch` samples at a time, so that many need no more memory than few."""
    count, *one = shape
    for first in range(0, count, batch):
        some: Any = {name: value[first : first + batch] for name, value in cond.items()}
        yield sample(
            model, (min(batch, count - first), *one), solver, seed, guidance=guidance,
            on_step=on_step, first=first, clip=clip, spin=spin, **some,
        )  # fmt: skip


@torch.no_grad()
def run(
    plan: Plan,
    estimate: Estimate,
    x: Tensor,
    seed: int = 0,
    first: int = 0,
    on_step: OnStep | None = None,
) -> Tensor:
    """Follow `plan` from the state `x` [B, ...]; `sample` describes the other arguments.

    `estimate(x_t, at)` returns x0; a function of x_t and t is `lambda x, at: f(x, at.t)`.
    The host only launches: it never waits for the device.
    """
    step, begin, previous = 0, x, x
    draws = _draws(plan, seed, first, x)
    # Scalars are converted here, once; a number costs twice what a tensor of no dimension costs.
    starts = torch.tensor([row.start for row in plan.rows], dtype=x.dtype, device="cpu").unbind()
    for row, start, at in zip(plan.rows, starts, _asked(plan, x), strict=True):
        x0 = estimate(x, at)
        x = begin.mul(start).add_(x0, alpha=row.x0)
        if row.previous:
            x.add_(previous, alpha=row.previous)
        if row.noise:
            x.add_(next(draws), alpha=row.noise)
        previous = x0
        if row.ends:
            begin = x
            if on_step is not None:
                on_step(step, plan.times[step + 1], x, x0)
            step += 1
    return x


@torch.no_grad()
def picard(
    model: Diffusion,
    shape: Sequence[int],
    solver: Solver,
    seed: int = 0,
    noise: Tensor | None = None,
    guidance: Guidance | float | None = None,
    tolerance: float = 1e-5,
    first: int = 0,
    clip: tuple[float, float] | None = None,
    **cond: Tensor | None,
) -> tuple[Tensor, int]:
    """What `sample` gives, by rounds of one batched network call over all steps at once.

    Given the estimates of x0, the states are linear in them and are found exactly; given the
    states, the estimates are refreshed together. This is repeated until no state changes by more
    than `tolerance` (Picard iteration; Shih et al. 2023). It needs memory for B x calls samples
    and pays where the device is not filled by B. Other arguments are those of `sample`.

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
    x, dtype, given = _prepare(model, shape, seed, noise, first, cond)
    table = _recursion(plan).to(x)
    levels = torch.tensor([row.asked for row in plan.rows], dtype=x.dtype, device=x.device)

    def refresh(states: Tensor, skip: int) -> Tensor:
        """Estimates at `states` [R - skip, B, ...], the rows from `skip` on."""
        parts = len(states)
        t, alpha, sigma = levels[skip : skip + parts].repeat_interleave(len(x), 0).unbind(1)
        ones = (1,) * (x.ndim - 1)
        times = tuple(row.asked.t for row in plan.rows[skip : skip + parts])
        at = At(times, t, alpha.reshape(-1, *ones), sigma.reshape(-1, *ones))
        repeated = {
            name: value.repeat(parts, *(1,) * (value.ndim - 1)) for name, value in given.items()
        }
        estimate = _estimate(model, dtype, guidance, clip, repeated)
        return estimate(states.flatten(0, 1), at).reshape(states.shape)

    # After round k the first k estimates are exact, and are not asked for again.
    estimates = refresh(x[None], 0).expand(plan.calls, *x.shape)
    states = torch.tensordot(table, torch.cat((x[None], estimates)), 1)
    for rounds in range(1, plan.calls):
        fresh = refresh(states[rounds:-1], rounds)
        estimates = torch.cat((estimates[:rounds], fresh))
        before, states = states, torch.tensordot(table, torch.cat((x[None], estimates)), 1)
        if (states - before).abs().max() <= tolerance:
            return states[-1].to(dtype), rounds + 1
    return states[-1].to(dtype), plan.calls


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


def _asked(plan: Plan, x: Tensor) -> Iterator[At]:
    """Where each row asks, all made at once."""
    t, alpha, sigma = (
        torch.tensor(column, dtype=x.dtype, device="cpu")
        for column in zip(*(row.asked for row in plan.rows), strict=True)
    )
    batched = _move(t, x.device)[:, None].expand(-1, len(x)).contiguous()
    times = ((row.asked.t,) for row in plan.rows)
    return map(At, times, batched.unbind(), alpha.unbind(), sigma.unbind())


def _draws(plan: Plan, seed: int, first: int, x: Tensor) -> Iterator[Tensor]:
    """Noise [B, ...] for each row that adds any, in their order."""
    noisy = [i for i, row in enumerate(plan.rows) if row.noise]
    rows = torch.tensor(noisy, dtype=torch.int64, device="cpu")
    ids = torch.arange(first, first + len(x), device=x.device)
    for part in torch.split(rows, max(1, NOISE_BLOCK // x.numel())):
        steps = _move(part, x.device).repeat_interleave(len(x))
        z = keyed.normal(seed, ids.repeat(len(part)), steps, x.shape[1:]).to(x.dtype)
        yield from z.reshape(len(part), *x.shape).unbind()


def _move(value: Tensor, device: torch.device) -> Tensor:
    """Copied without making the host wait, which a copy from ordinary memory to a GPU does."""
    if device.type == "cuda":
        value = value.pin_memory()
    return value.to(device, non_blocking=True)


def _estimate(
    model: Diffusion,
    dtype: torch.dtype,
    guidance: Guidance | float | None,
    clip: tuple[float, float] | None,
    cond: dict[str, Tensor],
) -> Estimate:
    def x0(x: Tensor, at: At, **cond: Tensor) -> Tensor:
        return model.x0(x, at, dtype, **cond)

    def guided(x: Tensor, at: At) -> Tensor:
        return x0(x, at, **cond) if scale is None else scale.estimate(x0, x, at, **cond)

    if guidance is not None and all(value.is_floating_point() for value in cond.values()):
        raise ValueError("guidance needs classes to guide by: pass label=, or another condition.")
    if clip is not None and not clip[0] < clip[1]:
        raise ValueError(f"clip must be a range (low, high), not {clip}.")
    scale = Guidance(guidance) if isinstance(guidance, int | float) else guidance
    return guided if clip is None else lambda x, at: guided(x, at).clamp(*clip)


def _prepare(
    model: Diffusion,
    shape: Sequence[int],
    seed: int,
    noise: Tensor | None,
    first: int,
    cond: dict[str, Tensor | None],
) -> tuple[Tensor, torch.dtype, dict[str, Tensor]]:
    """The initial state in float32 or wider, the dtype asked for, the conditions on its device."""
    shape = tuple(shape)
    if len(shape) < 2 or min(shape) < 1:
        raise ValueError(f"shape must be all of [batch, channels, *spatial], not {list(shape)}.")
    if noise is None:
        home = next(model.parameters(), torch.empty(0))
        dtype = home.dtype
        ids = torch.arange(first, first + shape[0], device=home.device)
        noise = keyed.normal(seed, ids, -1, shape[1:])
    else:
        dtype = noise.dtype
        if noise.shape != shape:
            raise ValueError(f"noise has shape {list(noise.shape)}, not {list(shape)} as asked.")
        home = next(model.parameters(), noise)
        if noise.device != home.device:
            raise ValueError(f"noise is on {noise.device}, and the model on {home.device}.")
    given = {name: value for name, value in cond.items() if value is not None}
    for name, value in given.items():
        if value.ndim == 0 or len(value) != shape[0]:
            raise ValueError(
                f"{name} must have one entry for each of {shape[0]} samples, "
                f"but its shape is {list(value.shape)}."
            )
    _check_classes(model, given)
    x = noise.to(torch.promote_types(dtype, torch.float32))
    return x, dtype, {name: value.to(x.device) for name, value in given.items()}


def _check_classes(model: Diffusion, given: dict[str, Tensor]) -> None:
    known: dict[str, int] | None = getattr(model.backbone, "conditions", None)
    if known is None:
        return
    for name, value in given.items():
        if name not in known:
            if value.is_floating_point():
                continue  # no class: the network's own business
            raise ValueError(
                f"this model knows no condition {name!r}: leave it out "
                f"(it knows {', '.join(known) or 'none'})."
            )
        if value.ndim != 1 or value.is_floating_point():
            raise ValueError(
                f"{name} must be int64 [batch], not {value.dtype} {list(value.shape)}."
            )
        if not -1 <= int(value.min()) <= int(value.max()) < known[name]:
            raise ValueError(
                f"every {name} must lie in 0 .. {known[name] - 1}, or be -1 for none, "
                f"but they span {int(value.min())} .. {int(value.max())}."
            )


def _spun(estimate: Estimate, spin: int, calls: int, seed: int) -> Estimate:
    """`estimate` at a state that is shifted before it and back after it, by one draw a call.

    The samples that a shift needs before the first one are the first ones mirrored: they have the
    noise level of the state, which zeros would not, and wrapping would join the end to the start.
    """
    u = keyed.uniform(seed, torch.arange(calls), stream=_SPIN)
    shifts = iter((u * spin).long().tolist())

    def shifted(x: Tensor, at: At) -> Tensor:
        shift = next(shifts)
        mirrored = F.pad(x, (shift, 0) * (x.ndim - 2), mode="reflect")
        x0 = estimate(mirrored, at)
        for dim in range(2, x.ndim):
            x0 = x0.narrow(dim, shift, x.shape[dim])
        return x0

    return shifted
