from __future__ import annotations

import itertools
from typing import Any, ClassVar

import numpy as np
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

    conditions: ClassVar = {"label": mmdiff.Class(3, ("low", "mid", "high"))}

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
    settings: Any = {
        "guidance": 2.0,
        "clip": (-1, 1),
        "steer": (mmdiff.Spin(3, 3),),
        "label": torch.arange(5) % 3,
    }
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


def test_arguments_are_those_that_a_checkpoint_recommends(model: Diffusion) -> None:
    how = sampling.Sampling("ddim", 6, 2.0, clip=(-0.5, 0.5), spin=3, interval=(0.4, 1.0))
    label = torch.tensor([0, 1, 2, -1, 1])
    found = mmdiff.sample(model, SHAPE, **how.arguments(7), label=label)
    wanted = mmdiff.sample(
        model, SHAPE, DDIM(6), 7, guidance=mmdiff.Guidance(2.0, interval=(0.4, 1.0)),
        clip=(-0.5, 0.5), steer=(mmdiff.Spin(3, 7),), label=label,
    )  # fmt: skip
    assert torch.equal(found, wanted)
    # One is no guidance, and needs nothing to guide by.
    assert sampling.Sampling(guidance=1.0).arguments(0)["guidance"] is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"solver": "euler"}, "unknown solver 'euler'; known are ddpm, ddim"),
        ({"steps": 0}, "steps must lie in 1"),
        ({"steps": 10**6}, "steps must lie in 1 .. 100,000"),
        ({"clip": (1, 0)}, "clip must be a range"),
        ({"guidance": -1.0}, "guidance scale"),
        ({"spin": -1}, "spin must be 0 or more"),
        ({"interval": (0.5, 0.1)}, "interval must rise"),
    ],
    ids=str,
)
def test_what_cannot_be_recommended(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        sampling.Sampling(**settings)


@pytest.mark.parametrize("seed", [np.int64(3), torch.tensor(3), np.uint8(3)], ids=repr)
def test_any_integer_is_a_seed(model: Diffusion, seed: Any) -> None:
    wanted = mmdiff.sample(model, SHAPE, DDPM(4), seed=3, steer=(mmdiff.Spin(3, 3),))
    found = mmdiff.sample(model, SHAPE, DDPM(4), seed=seed, steer=(mmdiff.Spin(3, seed),))
    assert torch.equal(found, wanted)
    assert torch.equal(
        mmdiff.picard(model, SHAPE, DDIM(4), seed=seed)[0],
        mmdiff.picard(model, SHAPE, DDIM(4), seed=3)[0],
    )
    assert type(mmdiff.Recipe(model, seed=seed).seed) is int


def test_a_fraction_is_no_seed(model: Diffusion) -> None:
    for draw in (
        lambda: mmdiff.Recipe(model, seed=0.5),  # type: ignore[arg-type]
        lambda: mmdiff.sample(model, SHAPE, DDIM(2), seed=0.5),  # type: ignore[arg-type]
        lambda: mmdiff.picard(model, SHAPE, DDIM(2), seed=0.5),  # type: ignore[arg-type]
        lambda: mmdiff.sample(model, SHAPE, DDIM(2), steer=(mmdiff.Spin(3, 0.5),)),  # type: ignore[arg-type]
    ):
        with pytest.raises(ValueError, match=r"a seed is an integer, not 0\.5"):
            draw()


@pytest.mark.parametrize(
    ("shape", "arguments", "words"),
    [
        ((4, 1, 4), {"clip": (1.0, -1.0)}, "clip must be a range"),
        ((4, 1, 4), {"noise": torch.zeros(4, 1, 4, device="meta")}, "noise is on meta, .* on cpu"),
        ((4, 1, 4), {"start": 0.5}, "to start at 0.5, pass the state there"),
        ((4,), {}, r"shape must be all of \[batch, channels, \*spatial\]"),
        ((0, 1, 4), {}, "shape must be"),
        ((4, 1, 4), {"noise": torch.zeros(1, 1, 4)}, r"noise has shape \[1, 1, 4\]"),
        ((4, 1, 4), {"genre": 0}, "knows no condition 'genre'.*it knows label"),
        ((4, 1, 4), {"label": torch.zeros(3).long()}, "one entry for each of 4 samples"),
        ((4, 1, 4), {"label": torch.zeros(4)}, "label must hold integers"),
        ((4, 1, 4), {"label": torch.zeros(4, 2).long()}, "one entry for each of 4 samples"),
        ((4, 1, 4), {"label": [0, 1, 2, 3]}, r"0 \.\. 2.*span 0 \.\. 3"),
        ((4, 1, 4), {"label": [0, -2, 2, 0]}, r"0 \.\. 2.*span -2 \.\. 2"),
        ((4, 1, 4), {"label": "loud"}, "no label 'loud'; it knows low, mid, high"),
        ((4, 1, 4), {"guidance": 2.0}, "guidance needs something to guide by"),
    ],
)
def test_wrong_arguments_are_refused(
    model: Diffusion, shape: tuple[int, ...], arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        mmdiff.sample(model, shape, DDIM(2), **arguments)
