"""Sections of gpu.py: the same samples eagerly, from CUDA graphs and from a compiled network.

A small network on a fast device waits for the host to launch its kernels. A CUDA graph launches all
of them at once, those of the network or those of the whole sampler; compiling makes them fewer.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from gpu_models import classes, present, shape
from gpu_timing import BF16, DEFAULT, Found, Setting, rounds, sentence, times_faster, wait, within
from torch import Tensor, nn

from mmdiff import DDIM, Diffusion
from mmdiff.diffusion import At
from mmdiff.sampling import run
from mmdiff.solvers import Plan

WARM_UP = 3  # calls before a capture
EAGER = "eager"
BENCHMARK = "eager, cudnn.benchmark"
GRAPHS = (BENCHMARK, "network as a CUDA graph", "sampler as a CUDA graph")
COMPILED = ("torch.compile", "torch.compile, reduce-overhead")

Draw = Callable[[], Tensor]


class Case(NamedTuple):
    name: str
    model: Diffusion
    batch: int
    precision: str


class Graph(NamedTuple):
    """A CUDA graph, the tensor that it fills, and what it was made from.

    The last is kept because the kernels go on reading what it refers to.
    """

    graph: Any
    output: Tensor
    work: Draw

    def replay(self) -> Tensor:
        self.graph.replay()
        return self.output


class Captured(nn.Module):
    """A network as one CUDA graph, for inputs of one shape and these conditions.

    What it returns is overwritten by the next call.
    """

    def __init__(self, network: Callable[..., Tensor], x: Tensor, t: Tensor) -> None:
        super().__init__()
        self.x, self.t = x.clone(), t.clone()
        self.captured = capture(lambda: network(self.x, self.t))

    def forward(self, x: Tensor, t: Tensor, **cond: Tensor) -> Tensor:
        self.x.copy_(x)
        self.t.copy_(t)
        return self.captured.replay()


@torch.no_grad()
def capture(work: Draw) -> Graph:
    """The kernels that `work` launches."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = work()
    return Graph(graph, output, work)


def asked(plan: Plan, x: Tensor) -> list[At]:
    """Where each row asks, made beforehand: a graph must not hold a copy from the host."""
    levels = (row.asked for row in plan.rows)
    return [
        At((t,), torch.full((len(x),), t, device=x.device), torch.tensor(a), torch.tensor(s))
        for t, a, s in levels
    ]


@torch.no_grad()
def follow(
    plan: Plan, model: Diffusion, ats: Sequence[At], x: Tensor, given: dict[str, Tensor]
) -> Tensor:
    """What `mmdiff.sampling.run` does for a plan without noise and earlier estimates (DDIM's)."""
    for row, at in zip(plan.rows, ats, strict=True):
        x = x.mul(row.start).add_(model.x0(x, at, x.dtype, **given), alpha=row.x0)
    return x


def variants(case: Case, x: Tensor, steps: int, setting: Setting) -> dict[str, Callable[[], Draw]]:
    """How each way of sampling from the state `x` is set up.

    Autocast is entered within what is captured: casts of weights that it keeps for later would be
    gone when the graph is replayed.
    """
    model, given = case.model, classes(case.model, case.batch, setting)
    plan = DDIM(steps).plan(model.schedule)
    ats = asked(plan, x)

    def inside(work: Draw) -> Draw:
        return within(case.precision, setting.device, work)

    def through(network: nn.Module) -> Draw:
        other = Diffusion(network, model.schedule, model.prediction)
        return inside(lambda: run(plan, lambda x_t, at: other.x0(x_t, at, x.dtype, **given), x))

    plain = through(model.backbone)

    def benchmarked() -> Tensor:
        torch.backends.cudnn.benchmark = True
        try:
            return plain()
        finally:
            torch.backends.cudnn.benchmark = False

    def network_graph() -> Draw:
        def network(x: Tensor, t: Tensor) -> Tensor:
            return inside(lambda: model.backbone(x, t, **given))()

        return through(Captured(network, x, ats[0].t))

    def sampler_graph() -> Draw:
        return capture(inside(lambda: follow(plan, model, ats, x, given))).replay

    def compile_for(mode: str) -> Draw:
        torch.compiler.reset()  # nothing that another variant compiled is taken for this one
        network: Any = torch.compile(model.backbone, dynamic=False, mode=mode)
        return through(network)

    captured = (lambda: benchmarked, network_graph, sampler_graph)
    return {
        EAGER: lambda: plain,
        **dict(zip(GRAPHS, captured, strict=True)),
        COMPILED[0]: lambda: compile_for("default"),
        COMPILED[1]: lambda: compile_for("reduce-overhead"),
    }


def graphs(setting: Setting) -> Found:
    """Rows of milliseconds for a whole sampling, by model and variant."""
    parts: tuple[tuple[str, ...], ...] = (GRAPHS,)
    if setting.quick:
        yield "CUDA graphs need CUDA."
        parts = ((BENCHMARK,),)
    yield from _through(parts, setting)


def compiled(setting: Setting) -> Found:
    """The same, each variant beside eager: compiling can take more than all the time."""
    if setting.quick:
        yield "Compiling takes longer than a quick run may."
        return
    yield from _through([(name,) for name in COMPILED], setting)


def _through(parts: Sequence[tuple[str, ...]], setting: Setting) -> Found:
    models, missing = present(("digits", "sound"), setting)
    yield from missing
    batches = {"digits": 2 if setting.quick else 64, "sound": 1}
    precisions = {"digits": DEFAULT, "sound": BF16}
    cases = [Case(name, models[name], batches[name], precisions[name]) for name in models]
    jobs = [(part, case) for part in parts for case in cases]
    for place, (part, case) in enumerate(jobs):
        if setting.quick or setting.share():
            yield from compare(case, part, setting, setting.share(len(jobs) - place))
        else:
            yield f"No time was left for {case.name}, {', '.join(part)}."


def compare(case: Case, part: tuple[str, ...], setting: Setting, seconds: float) -> Found:
    """Rows of a case: eager, and the variants in `part`."""
    end, steps = time.time() + seconds, 2 if setting.quick else 25
    x = torch.randn(case.batch, *shape(case.model, setting), device=setting.device)
    builders = variants(case, x, steps, setting)
    works: dict[str, Draw] = {}
    first: dict[str, float] = {}
    results: dict[str, Tensor] = {}
    for name in (EAGER, *part):
        start = time.perf_counter()
        try:
            works[name] = builders[name]()
            results[name] = works[name]().clone()
            wait(setting.device)
        except Exception as error:
            works.pop(name, None)
            yield f"{case.name}, {case.precision}, {name} failed ({sentence(error)})."
            if name == EAGER:
                return  # and there is nothing to compare with
        else:
            first[name] = time.perf_counter() - start
    times, failed = rounds(works, setting, end - time.time())
    for name, turns in times.items():
        yield {
            "model": case.name,
            "batch": case.batch,
            "calls": steps,
            "precision": case.precision,
            "variant": name,
            "ms": 1000 * statistics.median(turns),
            "times faster": times_faster(times[EAGER], turns),
            "difference": float((results[name] - results[EAGER]).norm() / results[EAGER].norm()),
            "first": first[name],
        }
    yield from failed
