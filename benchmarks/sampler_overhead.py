"""What does a sampler cost the host at each step, beside the network?

    python benchmarks/sampler_overhead.py

Every library runs its own loop over a network that costs nothing (it returns the same tensor each
time) on a small state, so that what is left is the sampler's own work. Setting up, which is done
once (timesteps, plans), is not counted. The libraries take turns, many times, on one thread; the
median is reported.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from azula.denoise import Denoiser, DiracPosterior
from azula.noise import VPSchedule
from azula.sample import DDIMSampler
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler
from machine import machine
from peers import k_diffusion_sampling
from torch import Tensor, nn

from mmdiff import DDIM, DDPM, Diffusion, DPMpp2M, DPMpp2MSDE, LinearBeta
from mmdiff.sampling import run
from mmdiff.solvers import Solver

SHAPE = (4, 3, 8, 8)
RESULTS = Path(__file__).parent / "results"

Loop = Callable[[], object]


def ours(solver: Solver, x: Tensor, output: Tensor) -> Loop:
    plan = solver.plan(LinearBeta())
    return lambda: run(plan, lambda x, at: output, x)


class Nothing(nn.Module):
    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.output


def ours_with_module(solver: Solver, x: Tensor, output: Tensor) -> Loop:
    """With the call of an nn.Module and the conversion of its eps to x0."""
    model = Diffusion(Nothing(output), LinearBeta(), "eps")
    plan = solver.plan(model.schedule)
    return lambda: run(plan, lambda x, at: model.x0(x, at, x.dtype), x)


def diffusers(kind: Any, steps: int, x: Tensor, output: Tensor) -> Loop:
    scheduler = kind()
    scheduler.set_timesteps(steps)

    def loop() -> None:
        scheduler._step_index = None  # begin again
        state = x
        for t in scheduler.timesteps:
            state = scheduler.step(output, t, state).prev_sample

    return loop


def azula(steps: int, x: Tensor, output: Tensor) -> Loop:
    class Constant(Denoiser):  # type: ignore[misc]
        schedule = VPSchedule()

        def forward(self, x_t: Tensor, t: Tensor) -> DiracPosterior:
            return DiracPosterior(output)

    sampler = DDIMSampler(Constant(), steps=steps, silent=True)
    return lambda: sampler(x)


def k_diffusion(name: str, steps: int, x: Tensor, output: Tensor) -> Loop:
    sampling = k_diffusion_sampling()
    sigmas = sampling.get_sigmas_karras(steps, 0.01, 80.0)
    return lambda: getattr(sampling, name)(lambda x, sigma: output, x, sigmas, disable=True)


def loops(steps: int) -> dict[str, Loop]:
    x, output = torch.randn(2, *SHAPE)
    return {
        "mmdiff DDIM": ours(DDIM(steps), x, output),
        "mmdiff DPM-Solver++(2M)": ours(DPMpp2M(steps), x, output),
        "mmdiff DDPM": ours(DDPM(steps), x, output),
        "mmdiff SDE-DPM-Solver++(2M)": ours(DPMpp2MSDE(steps), x, output),
        "mmdiff DDIM, with an nn.Module and eps to x0": ours_with_module(DDIM(steps), x, output),
        "diffusers DDIM": diffusers(DDIMScheduler, steps, x, output),
        "diffusers DPM-Solver++(2M)": diffusers(DPMSolverMultistepScheduler, steps, x, output),
        "diffusers DDPM": diffusers(DDPMScheduler, steps, x, output),
        "azula DDIM": azula(steps, x, output),
        "k-diffusion Euler": k_diffusion("sample_euler", steps, x, output),
        "k-diffusion DPM-Solver++(2M)": k_diffusion("sample_dpmpp_2m", steps, x, output),
    }


def measure(steps: int, repeats: int) -> dict[str, list[float]]:
    """Microseconds a step, for each loop and repeat."""
    found: dict[str, list[float]] = {}
    with torch.no_grad():
        named = loops(steps)
        for loop in named.values():
            loop()
        for _ in range(repeats):
            for name, loop in named.items():
                start = time.perf_counter()
                loop()
                found.setdefault(name, []).append((time.perf_counter() - start) / steps * 1e6)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=1000, help="steps of each loop")
    parser.add_argument("--repeats", type=int, default=15, help="turns of each loop")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)

    found = measure(arguments.steps, arguments.repeats)
    versions = {name: version(name) for name in ("torch", "diffusers", "azula", "k-diffusion")}
    about = {
        "machine": machine(),
        "python": platform.python_version(),
        "versions": versions,
        "shape": SHAPE,
        "steps": arguments.steps,
        "repeats": arguments.repeats,
    }
    rows = {
        name: {"median": round(statistics.median(times), 2), "best": round(min(times), 2)}
        for name, times in found.items()
    }
    table = "\n".join(
        [
            "# Host time of a sampler's step, in microseconds",
            "",
            f"Measured on: {machine()}; Python {about['python']}, "
            + ", ".join(f"{name} {number}" for name, number in versions.items())
            + f"; float32 {list(SHAPE)}, {arguments.steps} steps, one thread,"
            f" {arguments.repeats} turns.",
            "",
            "| sampler | median | best |",
            "|---|---:|---:|",
            *(
                f"| {name} | {row['median']:.1f} | {row['best']:.1f} |"
                for name, row in rows.items()
            ),
        ]
    )
    print(table)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "sampler_overhead.md").write_text(table + "\n", encoding="utf-8")
    text = json.dumps({**about, "microseconds": rows}, indent=2)
    (arguments.out / "sampler_overhead.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
