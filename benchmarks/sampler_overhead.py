"""What does a sampler cost the host at each step, beside the network?

    python benchmarks/sampler_overhead.py

Every library runs its own loop over a network that costs nothing (it returns the same tensor each
time) on a small state, so that what is left is the sampler's own work. Setting up, which is done
once (timesteps, plans), is not counted. The libraries take turns on one thread.
"""

from __future__ import annotations

import statistics
from typing import Any

import torch
from azula.denoise import Denoiser, DiracPosterior
from azula.noise import VPSchedule
from azula.sample import DDIMSampler
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler
from peers import k_diffusion_sampling
from rows import Rows, about, parse, parser
from timing import Work, rounds
from torch import Tensor, nn

from mmdiff import DDIM, DDPM, Diffusion, DPMpp2M, DPMpp2MSDE, LinearBeta
from mmdiff.sampling import run
from mmdiff.solvers import Solver


def ours(solver: Solver, x: Tensor, output: Tensor) -> Work:
    plan = solver.plan(LinearBeta())
    return lambda: run(plan, lambda x, at: output, x)


class Nothing(nn.Module):
    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.output


def ours_with_module(solver: Solver, x: Tensor, output: Tensor) -> Work:
    """With the call of an nn.Module and the conversion of its eps to x0."""
    model = Diffusion(Nothing(output), LinearBeta(), "eps")
    plan = solver.plan(model.schedule)
    return lambda: run(plan, lambda x, at: model.x0(x, at, x.dtype), x)


def diffusers(kind: Any, steps: int, x: Tensor, output: Tensor) -> Work:
    scheduler = kind()
    scheduler.set_timesteps(steps)

    def loop() -> None:
        scheduler._step_index = None  # begin again
        state = x
        for t in scheduler.timesteps:
            state = scheduler.step(output, t, state).prev_sample

    return loop


def azula(steps: int, x: Tensor, output: Tensor) -> Work:
    class Constant(Denoiser):  # type: ignore[misc]
        schedule = VPSchedule()

        def forward(self, x_t: Tensor, t: Tensor) -> DiracPosterior:
            return DiracPosterior(output)

    sampler = DDIMSampler(Constant(), steps=steps, silent=True)
    return lambda: sampler(x)


def k_diffusion(name: str, steps: int, x: Tensor, output: Tensor) -> Work:
    sampling = k_diffusion_sampling()
    sigmas = sampling.get_sigmas_karras(steps, 0.01, 80.0, device=x.device)
    return lambda: getattr(sampling, name)(lambda x, sigma: output, x, sigmas, disable=True)


def loops(steps: int, device: str) -> dict[str, Work]:
    x, output = torch.randn(2, 4, 3, 8, 8, device=device)
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


@torch.no_grad()
def main() -> None:
    args = parse(parser(__doc__, steps=1000, repeats=15), steps=3, repeats=1)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = Rows(args.out / "sampler_overhead.csv", ("sampler",))
    for name, turns in rounds(loops(args.steps, args.device), args.device, args.repeats, 0).items():
        rows.add({
            "sampler": name,
            "median": round(statistics.median(turns) / args.steps * 1e6, 2),
            "best": round(min(turns) / args.steps * 1e6, 2),
            "steps": args.steps, "repeats": args.repeats,
            **about(args.device, "diffusers", "azula", "k-diffusion"),
        })  # fmt: skip


if __name__ == "__main__":
    main()
