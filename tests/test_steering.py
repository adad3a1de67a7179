"""Clip, Spin and Known: what they do to an estimate, and that they compose."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mmdiff
from mmdiff import Clip, Known, Signal, Spin
from mmdiff.diffusion import At, Diffusion
from mmdiff.nn import MDCT, FrontEnd, Patch, Raw
from mmdiff.sampling import run
from mmdiff.solvers import DDIM, DDPM, DPMpp2M, DPMpp2MSDE, Heun, Solver
from mmdiff.told import Told

SOLVERS: list[Solver] = [DDPM(12), DDIM(12), DDIM(12, 1.0), Heun(7), DPMpp2M(12), DPMpp2MSDE(12)]
each_solver = pytest.mark.parametrize("solver", SOLVERS, ids=repr)
SHAPE = (5, 2, 6, 4)


class Pointwise(nn.Module):
    """A network without a grid: what it says of a place depends on that place alone."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return torch.tanh(self.weight * x)


@pytest.fixture
def model() -> Diffusion:
    return Diffusion(Pointwise(), mmdiff.Trigonometric(), "v").eval()


@each_solver
def test_estimates_are_clipped_where_asked(solver: Solver, model: Diffusion) -> None:
    seen: list[Tensor] = []
    wide = mmdiff.sample(model, SHAPE, solver, clip=(-1e9, 1e9))
    assert torch.equal(wide, mmdiff.sample(model, SHAPE, solver))
    low, high = -0.02, 0.03
    assert wide.min() < low
    assert wide.max() > high
    x = mmdiff.sample(
        model, SHAPE, solver, clip=(low, high), on_step=lambda i, t, x, x0: seen.append(x0)
    )
    assert all(low <= x0.min() and x0.max() <= high for x0 in seen)
    torch.testing.assert_close(x, seen[-1], rtol=0, atol=1e-6)  # the last step goes to x0
    assert torch.equal(mmdiff.sample(model, SHAPE, solver, steer=(Clip(low, high),)), x)


@pytest.mark.parametrize(("low", "high"), [(1.0, -1.0), (0.0, 0.0), (float("nan"), 1.0)])
def test_a_range_rises(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="clip must be a range"):
        Clip(low, high)


class Comb(nn.Module):
    """An estimate of 0 but for a spur on each `period`-th place, whatever it is given."""

    def __init__(self, period: int) -> None:
        super().__init__()
        self.period = period
        self.weight = nn.Parameter(torch.zeros(()))
        self.shapes: list[torch.Size] = []

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        self.shapes.append(x.shape)
        spur = torch.zeros_like(x)
        spur[(..., *[slice(None, None, self.period)] * (x.ndim - 2))] = 1
        return spur


@pytest.mark.parametrize("sides", [(60,), (24, 30)])
def test_spinning_spreads_what_a_network_does_on_a_grid(sides: tuple[int, ...]) -> None:
    period, steps = 5, 400
    comb = Comb(period)
    model = Diffusion(comb, mmdiff.Trigonometric(), "x0")
    seen: list[Tensor] = []
    mmdiff.sample(
        model, (2, 1, *sides), DDIM(steps), steer=(Spin(period),),
        on_step=lambda i, t, x, x0: seen.append(x0[0, 0]),
    )  # fmt: skip
    mean = torch.stack(seen).mean(0)
    # One place in five (or 25) holds the spur at each call; all shifts are equally common.
    expected = 1 / period  # all dimensions are shifted alike: the spurs stay on a diagonal
    shares = torch.stack([mean[(slice(k, None, period),) * len(sides)].mean() for k in range(5)])
    torch.testing.assert_close(shares, torch.full((5,), expected), rtol=0, atol=0.08)
    assert shares.sum() == pytest.approx(1)
    assert {shape[-1] - sides[-1] for shape in comb.shapes} == set(range(period))


@pytest.mark.parametrize("shape", [(3, 2, 40), (3, 1, 12, 9), (2, 1, 9, 10, 8)], ids=str)
@each_solver
def test_spinning_changes_nothing_for_a_network_without_a_grid(
    model: Diffusion, shape: tuple[int, ...], solver: Solver
) -> None:
    plain = mmdiff.sample(model, shape, solver, seed=2)
    assert torch.equal(mmdiff.sample(model, shape, solver, seed=2, steer=(Spin(8, 2),)), plain)


def test_before_the_first_position_is_its_mirror_image() -> None:
    given: list[Tensor] = []

    def estimate(x: Tensor, at: At) -> Tensor:
        given.append(x)
        return x

    x = torch.arange(10.0).reshape(1, 1, 10)
    spun = Spin(6)(estimate)
    for _ in range(40):
        assert torch.equal(spun(x, At((0.5,), torch.full((1,), 0.5), 0.7, 0.7)), x)
    shifts = {each.shape[2] - 10 for each in given}
    assert shifts == set(range(6))
    for each in given:
        shift = each.shape[2] - 10
        assert torch.equal(each[0, 0], (torch.arange(10.0 + shift) - shift).abs())


def test_shifts_are_keyed_by_the_seed_alone() -> None:
    model = Diffusion(Comb(5), mmdiff.Trigonometric(), "x0")

    def draw(count: int, spin: int, first: int = 0) -> Tensor:
        steer = (Spin(5, spin),)
        return mmdiff.sample(model, (count, 1, 50), DDIM(6), seed=3, first=first, steer=steer)

    assert torch.equal(draw(2, 3, first=2), draw(4, 3)[2:])
    assert any(not torch.equal(draw(4, other), draw(4, 3)) for other in (4, 5, 6))


@pytest.mark.parametrize(
    ("shape", "period", "most"), [((4, 1, 4), -1, 4), ((4, 1, 2), 3, 2), ((4, 3), 1, 0)]
)
def test_a_period_fits_the_signal(
    model: Diffusion, shape: tuple[int, ...], period: int, most: int
) -> None:
    with pytest.raises(ValueError, match=rf"must lie in 1 \.\. {most} for a signal of shape"):
        mmdiff.sample(model, shape, DDIM(2), steer=(Spin(period),))


class Echo(nn.Module):
    """Its estimate of x0 is the signal that it is told, aligned with x."""

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.conditions = {"signal": kind}

    def forward(self, x: Tensor, t: Tensor, signal: Tensor) -> Tensor:
        aligned = self.conditions["signal"].align(signal, x.shape[2:])
        return aligned[:, : x.shape[1]].to(x)


WAYS = ("front end", "around")
CODECS = {"raw": Raw, "patch": lambda: Patch(4), "mdct": lambda: MDCT(8)}


def echoing(way: str, codec: Any, kind: Signal) -> Diffusion:
    """A model that returns its signal, behind a front end or with the codec around it."""
    inner, kinds = Echo(kind.inside(codec)), {"signal": kind}
    if way == "around":
        return Diffusion(inner, mmdiff.Linear(), "x0", codec=codec, conditions=kinds)
    return Diffusion(FrontEnd(codec, inner, kinds), mmdiff.Linear(), "x0")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("length", [64, 67])
def test_a_told_signal_is_coded_and_shifted_with_x(way: str, codec: str, length: int) -> None:
    """As an estimate, it comes back as it was, spun or not."""
    model = echoing(way, CODECS[codec](), Signal(2))
    signal = torch.randn(3, 2, length)
    for steer in ((), (Spin(5),)):
        x = mmdiff.sample(model, (3, 2, length), DDIM(9), steer=steer, signal=signal)
        torch.testing.assert_close(x, signal, rtol=0, atol=1e-5)


@pytest.mark.parametrize("codec", ["raw", "patch"])
@pytest.mark.parametrize("factor", [4, 6, 16])
def test_told_frames_are_aligned_and_shifted_with_x(codec: str, factor: int) -> None:
    """Frames of a ramp, interpolated, are the ramp again, but within a frame of the ends. Behind
    patches the estimate is a ramp of steps: each patch has the value at its centre."""
    length, count = 120, -(-120 // factor)
    made = CODECS[codec]()
    ramp = torch.arange(length, dtype=torch.float64)
    frames = ((torch.arange(count, dtype=torch.float64) + 0.5) * factor - 0.5)[None, None]

    class Repeat(Echo):
        def forward(self, x: Tensor, t: Tensor, signal: Tensor) -> Tensor:
            return super().forward(x[:, :1], t, signal).expand_as(x)

    inner = Repeat(Signal(1, factor).inside(made))
    front = FrontEnd(made, inner, {"signal": Signal(1, factor)})
    model = Diffusion(front, mmdiff.Linear(), "x0")
    noise = torch.randn(1, 1, length, dtype=torch.float64)
    inside = slice(2 * factor, length - 2 * factor)
    for steer in ((), (Spin(5),)):
        x = mmdiff.sample(model, noise.shape, DDIM(9), noise=noise, steer=steer, signal=frames)
        error = (x[0, 0] - ramp)[inside].abs().max()
        assert error <= (1e-5 if codec == "raw" else 1.5 + 1e-5)


def test_only_whole_frames_are_shifted_unchanged() -> None:
    kind = Signal(2, 3)
    frames = torch.randn(1, 2, 7)
    assert torch.equal(kind.shift(frames, 6)[..., 2:], frames)
    assert torch.equal(Signal(2).shift(frames, 3), nn.functional.pad(frames, (3, 0), "reflect"))
    picture = torch.randn(1, 2, 7, 5)
    shifted = nn.functional.pad(picture, (3, 0, 3, 0), "reflect")
    assert torch.equal(Signal(2).shift(picture, 3), shifted)
    hidden = torch.full((1, 2, 7), torch.nan)
    assert Told({"mel": kind}, {"mel": hidden}).shifted(4).values["mel"].isnan().all()


@pytest.mark.parametrize("schedule", [mmdiff.LinearBeta(), mmdiff.Linear()], ids=repr)
@pytest.mark.parametrize("solver", [DDPM(12, "posterior"), *SOLVERS[1:]], ids=repr)
def test_a_known_part_stays_with_the_right_noise_on_the_way(
    schedule: mmdiff.Schedule, solver: Solver
) -> None:
    def estimate(x: Tensor, at: At) -> Tensor:
        return torch.tanh(x + x.roll(1, -1))

    value = torch.randn(2, 8, dtype=torch.float64)
    mask = torch.arange(8) < 5
    x = torch.randn(4000, 2, 8, dtype=torch.float64)
    states: list[tuple[float, Tensor]] = []
    plan = solver.plan(schedule)
    found = run(
        plan, Known(value, mask)(estimate), x, on_step=lambda i, t, x, x0: states.append((t, x))
    )
    known = found[..., :5]
    torch.testing.assert_close(known, value[:, :5].expand_as(known), rtol=0, atol=1e-12)
    assert found[..., 5:].std() > 0.1
    first = plan.rows[0].asked
    start = x[..., :5] - first.alpha * value[:, :5]  # sigma eps
    for t, state in states[:-1]:
        alpha, sigma = schedule(torch.tensor(t, dtype=torch.float64))
        noise = (state[..., :5] - alpha * value[:, :5]) / sigma
        if not plan.random:
            torch.testing.assert_close(noise, start / first.sigma, rtol=0, atol=1e-9)
        else:
            assert noise.std() == pytest.approx(1, abs=0.02)
            assert abs(float(noise.mean())) < 0.02


def test_a_part_can_be_known_of_a_model_with_guidance_and_a_codec() -> None:
    """Inside out: what is known is put in after all else."""
    model = echoing("front end", Patch(4), Signal(1))
    signal, value = torch.rand(2, 2, 1, 40) - 0.5
    mask = torch.arange(40) >= 30
    x = mmdiff.sample(
        model, (2, 1, 40), DDIM(8), guidance=2.0, clip=(-1, 1), signal=signal,
        steer=(Spin(4), Known(value, mask)),
    )  # fmt: skip
    torch.testing.assert_close(x[..., 30:], value[..., 30:], rtol=0, atol=1e-6)
    # The untold half of guidance is told 0.
    wanted = (2 * signal).clamp(-1, 1)
    torch.testing.assert_close(x[..., :30], wanted[..., :30], rtol=0, atol=1e-5)
