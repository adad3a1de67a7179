"""Sampling: the one loop that runs a Plan, and what is put together for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmdiff import noise as keyed
from mmdiff.diffusion import At, Diffusion, Estimate
from mmdiff.solvers import SOLVERS, Plan, Solver
from mmdiff.steering import Clip, Guidance, Spin, Steering
from mmdiff.told import NOTHING, Told, tell

OnStep = Callable[[int, float, Tensor, Tensor], None]

# Noise is drawn for as many steps at once as stay under this many numbers: for small signals a
# draw costs its launching.
NOISE_BLOCK = 1 << 14
MOST_STEPS = 100_000  # of a solver; the table of many more would fill the memory


@dataclass(frozen=True)
class Sampling:
    """How a model is best sampled from.

    Attributes:
        solver, steps: a key of `SOLVERS`, and its number of steps.
        guidance: the scale of classifier-free guidance, or None.
        clip: the range that estimates of x0 are clipped to, or None.
        spin: the period of cycle spinning; 0 is none.
        interval: the times at which guidance acts.

    Raises:
        ValueError: a solver that does not exist, or numbers that it cannot have.
    """

    solver: str = "dpmpp2msde"
    steps: int = 25
    guidance: float | None = None
    clip: tuple[float, float] | None = None
    spin: int = 0
    interval: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        if self.solver not in SOLVERS:
            raise ValueError(f"unknown solver {self.solver!r}; known are {', '.join(SOLVERS)}.")
        if not 1 <= self.steps <= MOST_STEPS:
            raise ValueError(f"steps must lie in 1 .. {MOST_STEPS:,}, not {self.steps!r}.")
        if self.clip is not None:
            object.__setattr__(self, "clip", tuple(self.clip))
            Clip(*self.clip)
        object.__setattr__(self, "interval", tuple(self.interval))
        Guidance(1.0 if self.guidance is None else self.guidance, interval=self.interval)
        if self.spin < 0:
            raise ValueError(f"spin must be 0 or more, not {self.spin}.")

    def method(self) -> Solver:
        """The solver itself."""
        return SOLVERS[self.solver](self.steps)

    def arguments(self, seed: int) -> dict[str, Any]:
        """All of this as arguments of `sample`, the seed too."""
        steer = (Spin(self.spin, seed),) if self.spin else ()
        guidance = None
        if self.guidance is not None and self.guidance != 1:
            guidance = Guidance(self.guidance, interval=self.interval)
        how = {"guidance": guidance, "clip": self.clip, "steer": steer}
        return {"solver": self.method(), "seed": seed, **how}


def sample(
    model: Diffusion,
    shape: Sequence[int],
    solver: Solver,
    seed: int = 0,
    noise: Tensor | None = None,
    guidance: Guidance | float | None = None,
    clip: tuple[float, float] | None = None,
    steer: Sequence[Steering] = (),
    on_step: OnStep | None = None,
    first: int = 0,
    start: float = 1.0,
    **conditions: Any,
) -> Tensor:
    """Samples [B, C, *spatial].

    Sample k of the batch depends on (seed, first + k) and its own conditions alone: any division
    of a batch into parts gives what the whole would.

    Args:
        model: in eval mode, as `mmdiff.load` gives it: in train mode dropout would take part.
        shape: all of [B, C, *spatial].
        solver: such as `DDPM(1000)` or `DPMpp2M(20)`.
        seed: any integer.
        noise: the initial state, of shape `shape` (of a model with a codec: of the code's); drawn
            from `seed` if None. The result has its dtype and device, or those of the model's first
            parameter. The state itself is kept in float32 or wider.
        guidance: classifier-free guidance, or its scale; needs conditions to guide by.
        clip: the range of the data, that every estimate of x0 is clipped to, see `Clip`.
        steer: what else changes the estimates, from the inside out, such as `Spin(8)`.
        on_step: called after each step as `on_step(i, t, x, x0)`: the step from 0, the time that it
            reached, the state there and the latest estimate of the clean signal.
        first: the index of the first sample.
        start: the time of the initial state. Below 1 it is no noise but a signal with some, as
            `model.add_noise` makes it, of which a variation comes: the more like it, the less it
            was noised (SDEdit; Meng et al. 2022).
        conditions: by name, a value for each sample or one for all, see `mmdiff.conditions`; None
            is as if left out.

    Raises:
        ValueError: an argument that does not fit the others.
    """
    if start < 1 and noise is None:
        raise ValueError(f"to start at {start}, pass the state there as noise=.")
    plan = solver.plan(model.schedule, start)
    x, dtype, given = prepare(model, shape, seed, noise, first, conditions)
    told = given.encoded(model.codec)
    estimate = steered(model, dtype, told, guidance, clip, steer)
    z = run(plan, estimate, x, seed, first, on_step, told).to(dtype)
    return model.decode(z, shape[2:], **given.values)


def in_parts(
    model: Diffusion, shape: Sequence[int], solver: Solver, seed: int = 0, *, batch: int, **how: Any
) -> Iterator[Tensor]:
    """What `sample` gives, `batch` samples at a time, so that many need no more memory than few."""
    count, *one = shape
    told = tell(model.conditions, count, {n: how.pop(n) for n in model.conditions if n in how})
    whole = {**told.values, **({"noise": how.pop("noise")} if "noise" in how else {})}
    for first in range(0, count, batch):
        some: Any = {name: value[first : first + batch] for name, value in whole.items()}
        size = min(batch, count - first)
        yield sample(model, (size, *one), solver, seed, first=first, **how, **some)


def drawn(
    model: Diffusion,
    shape: Sequence[int],
    sampling: Sampling,
    seed: int = 0,
    *,
    batch: int,
    on_step: OnStep | None = None,
    **told: Any,
) -> Iterator[Tensor]:
    """Signals of `shape` [B, C, *spatial] as a model is best drawn, `batch` at a time.

    Of a joint model that has turns these are `mmdiff.joint.in_turn`, of any other `in_parts`.
    """
    if getattr(model, "turns", ()):
        turns: Any = model
        yield from turns.in_turn(shape[0], sampling, seed, batch=batch, on_step=on_step, **told)
    else:
        how = sampling.arguments(seed)
        yield from in_parts(model, shape, batch=batch, on_step=on_step, **how, **told)


def steps_of(model: Diffusion, sampling: Sampling) -> int:
    """How often `drawn` calls `on_step` for one batch."""
    return len(sampling.method().plan(model.schedule)) * max(1, len(getattr(model, "turns", ())))


@torch.no_grad()
def run(
    plan: Plan,
    estimate: Estimate,
    x: Tensor,
    seed: int = 0,
    first: int = 0,
    on_step: OnStep | None = None,
    told: Told = NOTHING,
) -> Tensor:
    """Follow `plan` from the state `x` [B, ...]; `sample` describes the other arguments.

    `estimate(x_t, at)` returns x0; a function of x_t and t is `lambda x, at: f(x, at.t)`.
    The host only launches: it never waits for the device.
    """
    step, begin, previous = 0, x, x
    draws = _draws(plan, seed, first, x)
    # Scalars are converted here, once; a number costs twice what a tensor of no dimension costs.
    starts = torch.tensor([row.start for row in plan.rows], dtype=x.dtype, device="cpu").unbind()
    for row, start, at in zip(plan.rows, starts, _asked(plan, x, told), strict=True):
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


def prepare(
    model: Diffusion,
    shape: Sequence[int],
    seed: int,
    noise: Tensor | None,
    first: int,
    conditions: dict[str, Any],
) -> tuple[Tensor, torch.dtype, Told]:
    """The initial state in float32 or wider, the dtype asked for, what the model is told."""
    shape = tuple(shape)
    if len(shape) < 2 or min(shape) < 1:
        raise ValueError(f"shape must be all of [batch, channels, *spatial], not {list(shape)}.")
    made = model.info.shape if model.info is not None else shape[1:]
    if (len(made), made[0]) != (len(shape) - 1, shape[1]):
        raise ValueError(
            f"this model makes signals of shape {list(made)}: ask for [batch, {made[0]}, "
            f"*{len(made) - 1} side{'s'[: len(made) > 2]}], not {list(shape)}."
        )
    sides = shape[2:]
    home = next(model.parameters(), torch.empty(0) if noise is None else noise)
    with torch.no_grad():
        told = model.tell(shape[0], conditions, home.device, sides)
    shape = model.state_shape(shape, told.values)
    if noise is None:
        dtype = home.dtype
        ids = torch.arange(first, first + shape[0], device=home.device)
        noise = keyed.normal(seed, ids, -1, shape[1:])
    else:
        dtype = noise.dtype
        if noise.shape != shape:
            raise ValueError(f"noise has shape {list(noise.shape)}, not {list(shape)} as asked.")
        if noise.device != home.device:
            raise ValueError(f"noise is on {noise.device}, and the model on {home.device}.")
    return noise.to(torch.promote_types(dtype, torch.float32)), dtype, told


def steered(
    model: Diffusion,
    dtype: torch.dtype,
    told: Told,
    guidance: Guidance | float | None,
    clip: tuple[float, float] | None,
    steer: Sequence[Steering] = (),
) -> Estimate:
    """The model's estimate of x0, steered from the inside out."""
    steps: list[Steering] = []
    if guidance is not None:
        if not told.values:
            raise ValueError("guidance needs something to guide by: pass label=, for example.")
        steps.append(guidance if isinstance(guidance, Guidance) else Guidance(guidance))
    if clip is not None:
        steps.append(Clip(*clip))

    def plain(x: Tensor, at: At) -> Tensor:
        return model.x0(x, at, dtype)

    estimate: Estimate = plain
    for steering in (*steps, *steer):
        estimate = steering(estimate)
    return estimate


def _asked(plan: Plan, x: Tensor, told: Told) -> Iterator[At]:
    """Where each row asks; the times on the device all made at once."""
    times = torch.tensor([row.asked.t for row in plan.rows], dtype=x.dtype, device="cpu")
    batched = _move(times, x.device)[:, None].expand(-1, len(x)).contiguous().unbind()
    for row, t in zip(plan.rows, batched, strict=True):
        yield At((row.asked.t,), t, row.asked.alpha, row.asked.sigma, told)


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
