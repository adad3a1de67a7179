from __future__ import annotations

import itertools
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter

import mmdiff
from mmdiff import noise as keyed
from mmdiff import sampling
from mmdiff.diffusion import Diffusion
from mmdiff.solvers import DDIM, DDPM, DPMpp2M, DPMpp2MSDE, Heun, Solver

SOLVERS: list[Solver] = [DDPM(12), DDIM(12), DDIM(12, 1.0), Heun(7), DPMpp2M(12), DPMpp2MSDE(12)]
each_solver = pytest.mark.parametrize("solver", SOLVERS, ids=repr)
SHAPE = (5, 2, 6, 4)


class Mixing(nn.Module):
    """Mixes within each sample, for any number of dimensions and any label."""

    conditions: ClassVar = {"label": 3}

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.8, -0.4]))

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        ones = (1,) * (x.ndim - 1)
        shift = t.to(x.dtype) if label is None else t.to(x.dtype) + label
        rolled = x.roll(1, dims=-1) + x.roll(2, dims=1)
        return torch.tanh(self.weight[0] * x + self.weight[1] * rolled + shift.reshape(-1, *ones))


@pytest.fixture
def model() -> Diffusion:
    return Diffusion(Mixing(), mmdiff.Trigonometric(), "v").eval()


@each_solver
def test_a_batch_is_its_samples(model: Diffusion, solver: Solver) -> None:
    label = torch.tensor([0, 1, 2, -1, 1])
    whole = mmdiff.sample(model, SHAPE, solver, seed=3, label=label)
    for sizes in ((1, 1, 1, 1, 1), (2, 3), (4, 1)):
        firsts = [0, *itertools.accumulate(sizes)]
        parts = [
            mmdiff.sample(
                model,
                (size, *SHAPE[1:]),
                solver,
                seed=3,
                first=first,
                label=label[first : first + size],
            )
            for first, size in zip(firsts, sizes, strict=False)
        ]
        torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-5)
    other = mmdiff.sample(model, SHAPE, solver, seed=4, label=label)
    assert (other - whole).abs().amax((1, 2, 3)).min() > 1e-2
    assert (whole[1] - whole[4]).abs().max() > 1e-2  # the same label, other noise


@pytest.mark.parametrize("solver", [DDIM(12), DDIM(12, spacing="log_snr"), Heun(7)], ids=repr)
def test_a_state_on_the_way_is_gone_on_from(model: Diffusion, solver: Solver) -> None:
    states: dict[float, Tensor] = {}
    whole = mmdiff.sample(
        model, SHAPE, solver, on_step=lambda i, t, x, x0: states.update({t: x.clone()})
    )
    for t, state in states.items():
        if t > 0:
            rest = mmdiff.sample(model, SHAPE, solver, noise=state, start=t)
            torch.testing.assert_close(rest, whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("start", [1.0, 0.55, 0.5, 1e-3])
@each_solver
def test_a_plan_from_a_time_on(solver: Solver, start: float) -> None:
    schedule = mmdiff.Trigonometric()
    whole, rest = solver.plan(schedule), solver.plan(schedule, start)
    assert rest.times == (start, *(t for t in whole.times if t < start))
    assert rest.rows[0].asked.t == start


@each_solver
def test_variations_of_a_signal_are_those_of_its_distribution(solver: Solver) -> None:
    """Of normal data, noised and denoised by the best estimate: as wide as before."""
    spread, start = 0.3, 0.6

    class Best(nn.Module):
        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            alpha, sigma = (v.reshape(-1, 1, 1) for v in model.schedule(t))
            return alpha * spread**2 / (alpha**2 * spread**2 + sigma**2) * x

    model = Diffusion(Best(), mmdiff.Trigonometric(), "x0")
    x = spread * torch.randn(1, 1, 40_000, generator=torch.Generator().manual_seed(0))
    z = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    noised = model.add_noise(x, torch.full((1,), start), z)
    fine = type(solver)(200)
    varied = mmdiff.sample(model, x.shape, fine, noise=noised, start=start)
    assert varied.std() == pytest.approx(spread, rel=0.03)
    likeness = torch.corrcoef(torch.stack((x.flatten(), varied.flatten())))[0, 1]
    assert 0.05 < likeness < 0.95


@pytest.mark.parametrize("batch", [1, 3, 5, 9])
def test_in_parts_it_is_the_same(model: Diffusion, batch: int) -> None:
    settings: Any = {"guidance": 2.0, "clip": (-1, 1), "spin": 3, "label": torch.arange(5) % 3}
    seen: list[int] = []
    whole = mmdiff.sample(model, SHAPE, DDIM(4), 3, **settings)
    parts = sampling.in_parts(
        model, SHAPE, DDIM(4), 3, batch=batch, on_step=lambda i, *_: seen.append(i), **settings
    )
    found = list(parts)
    assert [len(part) for part in found] == [min(batch, 5 - at) for at in range(0, 5, batch)]
    assert seen == [0, 1, 2, 3] * len(found)
    torch.testing.assert_close(torch.cat(found), whole, rtol=0, atol=1e-5)


def test_initial_noise_is_keyed_by_sample(model: Diffusion) -> None:
    x = keyed.normal(3, torch.arange(10, 15), -1, SHAPE[1:])
    given = mmdiff.sample(model, SHAPE, DDIM(4), noise=x)
    assert torch.equal(mmdiff.sample(model, SHAPE, DDIM(4), seed=3, first=10), given)


@pytest.mark.parametrize("block", [1, 100, 1 << 14])
@each_solver
def test_noise_is_drawn_where_it_is_used(
    model: Diffusion, solver: Solver, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And however many steps are drawn at once, the samples are the same bits."""
    wanted = mmdiff.sample(model, SHAPE, solver)
    drawn: list[int] = []
    original = keyed.normal

    def normal(seed: int, ids: Tensor, step: int | Tensor, shape: Any) -> Tensor:
        drawn.extend([step] if isinstance(step, int) else step.unique().tolist())
        return original(seed, ids, step, shape)

    monkeypatch.setattr(keyed, "normal", normal)
    monkeypatch.setattr(sampling, "NOISE_BLOCK", block)
    assert torch.equal(mmdiff.sample(model, SHAPE, solver), wanted)
    rows = solver.plan(model.schedule).rows
    assert drawn == [-1, *(i for i, row in enumerate(rows) if row.noise)]


@each_solver
def test_listeners_see_every_step(model: Diffusion, solver: Solver) -> None:
    seen: list[tuple[int, float, Tensor, Tensor]] = []
    x = mmdiff.sample(model, SHAPE, solver, on_step=lambda *args: seen.append(args))
    plan = solver.plan(model.schedule)
    assert [i for i, *_ in seen] == list(range(len(plan)))
    assert tuple(t for _, t, *_ in seen) == plan.times[1:]
    copies = [state.clone() for _, _, state, _ in seen]
    assert torch.equal(seen[-1][2], x)
    mmdiff.sample(model, SHAPE, solver)
    for (_, _, state, x0), copy in zip(seen, copies, strict=True):
        assert torch.equal(state, copy)
        assert x0.shape == SHAPE
    # The last step leads to the last estimate.
    torch.testing.assert_close(seen[-1][3], x, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 7), (3, 4, 5, 6), (3, 4, 2, 3, 4)], ids=str)
def test_any_number_of_dimensions(model: Diffusion, shape: tuple[int, ...]) -> None:
    for solver in SOLVERS:
        x = mmdiff.sample(model, shape, solver)
        assert x.shape == shape
        assert x.isfinite().all()
        assert not x.requires_grad


@each_solver
def test_dtypes(solver: Solver) -> None:
    model = Diffusion(Mixing(), mmdiff.LinearBeta(), "eps")
    found = {
        dtype: mmdiff.sample(model.to(dtype), SHAPE, solver)
        for dtype in (torch.float32, torch.float64, torch.bfloat16)
    }
    for dtype, x in found.items():
        assert x.dtype == dtype
    scale = found[torch.float64].std()
    assert (found[torch.float32] - found[torch.float64]).abs().max() < 1e-4 * scale
    assert (found[torch.bfloat16].double() - found[torch.float64]).std() < 0.05 * scale


def test_bfloat16_networks_keep_a_float32_state(model: Diffusion) -> None:
    states: list[Tensor] = []
    asked: list[torch.dtype] = []
    model.backbone.register_forward_pre_hook(lambda _, args: asked.append(args[0].dtype))
    mmdiff.sample(model.bfloat16(), SHAPE, DDIM(3), on_step=lambda i, t, x, x0: states.append(x))
    assert {x.dtype for x in states} == {torch.float32}
    assert set(asked) == {torch.bfloat16}


def test_a_bare_function(model: Diffusion) -> None:
    def denoise(x: Tensor, t: Tensor) -> Tensor:
        return model.denoise(x, t).x0

    x = torch.randn(SHAPE)
    plan = DPMpp2M(10).plan(model.schedule)
    found = sampling.run(plan, lambda x, at: denoise(x, at.t), x)
    torch.testing.assert_close(
        found, mmdiff.sample(model, SHAPE, DPMpp2M(10), noise=x), rtol=0, atol=1e-5
    )


def test_an_estimate_may_be_its_own_argument() -> None:
    """The loop works in place, but never on what it was given or gave away."""
    x = torch.randn(SHAPE)
    kept = x.clone()
    plan = DPMpp2M(10).plan(mmdiff.LinearBeta())
    aliased = sampling.run(plan, lambda x, at: x, x)
    assert torch.equal(aliased, sampling.run(plan, lambda x, at: x.clone(), x))
    assert torch.equal(x, kept)


@pytest.mark.parametrize("solver", [DDIM(24), Heun(12), DPMpp2M(24)], ids=repr)
def test_picard_is_the_sequential_runner(model: Diffusion, solver: Solver) -> None:
    label = torch.tensor([0, 1, 2, -1, 1])
    rounds: list[int] = []
    model.backbone.register_forward_pre_hook(lambda _, args: rounds.append(len(args[0])))
    found, count = mmdiff.picard(model, SHAPE, solver, seed=5, tolerance=1e-6, label=label)
    calls = solver.plan(model.schedule).calls
    assert count == len(rounds) < calls
    assert rounds == [5, *(5 * (calls - i) for i in range(1, count))]
    wanted = mmdiff.sample(model, SHAPE, solver, seed=5, label=label)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("solver", [DDIM(6), Heun(4), DPMpp2M(6), DDIM(1)], ids=repr)
def test_picard_ends_exactly_after_as_many_rounds_as_calls(
    model: Diffusion, solver: Solver
) -> None:
    wanted = mmdiff.sample(model.double(), SHAPE, solver)
    found, rounds = mmdiff.picard(model, SHAPE, solver, tolerance=1e-300)
    assert rounds == solver.plan(model.schedule).calls
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("solver", [DDPM(5), DDIM(5, 0.5), DPMpp2MSDE(5)], ids=repr)
def test_picard_refuses_noise(model: Diffusion, solver: Solver) -> None:
    with pytest.raises(ValueError, match="deterministic"):
        mmdiff.picard(model, SHAPE, solver)


def test_picard_refuses_a_tolerance_of_nothing(model: Diffusion) -> None:
    with pytest.raises(ValueError, match="tolerance"):
        mmdiff.picard(model, SHAPE, DDIM(3), tolerance=0.0)


def test_a_compiled_backbone_is_compiled_once(model: Diffusion) -> None:
    wanted = mmdiff.sample(model, SHAPE, DPMpp2M(6))
    counter = CompileCounter()
    model.backbone = torch.compile(model.backbone, backend=counter, fullgraph=True)  # type: ignore[assignment]
    torch.testing.assert_close(mmdiff.sample(model, SHAPE, DPMpp2M(6)), wanted, rtol=0, atol=1e-6)
    mmdiff.sample(model, SHAPE, DDPM(4), seed=1)
    assert counter.frame_count == 1


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@each_solver
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_host_never_waits_for_cuda(solver: Solver, dtype: torch.dtype) -> None:
    model = Diffusion(Mixing(), mmdiff.LinearBeta(), "eps").to("cuda", dtype)
    label = torch.tensor([0, 1, 2, -1, 1], device="cuda")
    noise = keyed.normal(0, torch.arange(5), -1, SHAPE[1:]).to("cuda", dtype)

    def watch(i: int, t: float, x: Tensor, x0: Tensor) -> None:
        torch.cuda.set_sync_debug_mode("error")

    try:
        x = mmdiff.sample(
            model, SHAPE, solver, noise=noise, guidance=2.0, on_step=watch, label=label
        )
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert x.device.type == "cuda"
    wanted = mmdiff.sample(model.cpu(), SHAPE, solver, noise=noise.cpu(), guidance=2.0, label=label)
    error = (1e-5 if dtype == torch.float32 else 0.02) * float(wanted.float().abs().max())
    torch.testing.assert_close(x.cpu(), wanted, rtol=0, atol=error)


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


class Comb(nn.Module):
    """v of an estimate x0 = 0 but for a spur on each `period`-th place, whatever it is given."""

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
        model, (2, 1, *sides), DDIM(steps), spin=period,
        on_step=lambda i, t, x, x0: seen.append(x0[0, 0]),
    )  # fmt: skip
    mean = torch.stack(seen).mean(0)
    # One place in five (or 25) holds the spur at each call; all shifts are equally common.
    expected = 1 / period  # all dimensions are shifted alike: the spurs stay on a diagonal
    shares = torch.stack([mean[(slice(k, None, period),) * len(sides)].mean() for k in range(5)])
    torch.testing.assert_close(shares, torch.full((5,), expected), rtol=0, atol=0.08)
    assert shares.sum() == pytest.approx(1)
    assert {shape[-1] - sides[-1] for shape in comb.shapes} == set(range(period))


@pytest.mark.parametrize("shape", [(3, 2, 40), (3, 1, 12, 9)])
@each_solver
def test_spinning_changes_nothing_for_a_network_without_a_grid(
    shape: tuple[int, ...], solver: Solver
) -> None:
    class Pointwise(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.tensor(0.5))

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            return torch.tanh(self.weight * x)

    model = Diffusion(Pointwise(), mmdiff.Trigonometric(), "v")
    plain = mmdiff.sample(model, shape, solver, seed=2)
    assert torch.equal(mmdiff.sample(model, shape, solver, seed=2, spin=8), plain)


def test_shifts_are_keyed_by_the_seed_alone(model: Diffusion) -> None:
    whole = mmdiff.sample(model, (4, 2, 50), DDIM(6), seed=3, spin=7)
    part = mmdiff.sample(model, (2, 2, 50), DDIM(6), seed=3, spin=7, first=2)
    torch.testing.assert_close(part, whole[2:], rtol=0, atol=1e-5)
    assert not torch.equal(whole, mmdiff.sample(model, (4, 2, 50), DDIM(6), seed=3))


def test_a_label_for_a_model_without_labels_is_refused(model: Diffusion) -> None:
    model.backbone.conditions = {}  # type: ignore[assignment]
    with pytest.raises(ValueError, match="knows no condition 'label'"):
        mmdiff.sample(model, (4, 1, 4), DDIM(2), label=torch.full((4,), -1))


@pytest.mark.parametrize(
    ("shape", "arguments", "words"),
    [
        ((4, 1, 4), {"clip": (1.0, -1.0)}, "clip must be a range"),
        ((4, 1, 4), {"spin": -1}, r"spin must be in 0 \.\. 4 for a signal"),
        ((4, 1, 2), {"spin": 3}, r"spin must be in 0 \.\. 2 for a signal"),
        ((4, 3), {"spin": 1}, r"spin must be in 0 \.\. 0 for a signal"),
        ((4, 1, 4), {"noise": torch.zeros(4, 1, 4, device="meta")}, "noise is on meta, .* on cpu"),
        ((4, 1, 4), {"start": 0.5}, "to start at 0.5, pass the state there"),
        ((4, 1, 4), {"start": 0.0, "noise": torch.zeros(4, 1, 4)}, r"start must lie in \(0, 1\]"),
        ((4, 1, 4), {"start": 1.5}, r"start must lie in \(0, 1\]"),
        ((4,), {}, r"shape must be all of \[batch, channels, \*spatial\]"),
        ((0, 1, 4), {}, "shape must be"),
        ((4, 1, 4), {"noise": torch.zeros(1, 1, 4)}, r"noise has shape \[1, 1, 4\]"),
        ((4, 1, 4), {"label": torch.tensor(3)}, "one entry for each of 4 samples"),
        ((4, 1, 4), {"label": torch.zeros(3).long()}, "one entry for each of 4 samples"),
        ((4, 1, 4), {"label": torch.zeros(4)}, "label must be int64"),
        ((4, 1, 4), {"label": torch.zeros(4, 2).long()}, "label must be int64"),
        ((4, 1, 4), {"label": torch.tensor([0, 1, 2, 3])}, r"0 \.\. 2.*span 0 \.\. 3"),
        ((4, 1, 4), {"label": torch.tensor([0, -2, 2, 0])}, r"0 \.\. 2.*span -2 \.\. 2"),
    ],
)
def test_wrong_arguments_are_refused(
    model: Diffusion, shape: tuple[int, ...], arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        mmdiff.sample(model, shape, DDIM(2), **arguments)
