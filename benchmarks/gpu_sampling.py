"""Sections of gpu.py about sampling: what a step costs the host, how much comes out, Picard."""

from __future__ import annotations

import statistics
import time
from importlib import import_module
from typing import Any

import torch
from gpu_models import classes, drawing, present, seconds, shape, span
from gpu_timing import (
    BF16,
    DEFAULT,
    Found,
    Setting,
    Work,
    peak_mib,
    rounds,
    sentence,
    times_faster,
    wait,
    within,
)
from peers import k_diffusion_sampling
from torch import Tensor

import mmdiff
from mmdiff import DDIM, DDPM, Diffusion, DPMpp2M, DPMpp2MSDE, LinearBeta
from mmdiff.sampling import run
from mmdiff.solvers import Solver

OURS = "mmdiff DDIM"


def overhead(setting: Setting) -> Found:
    """Rows of microseconds a step, by sampler."""
    steps = 5 if setting.quick else 100  # few enough for the device's queue to hold all launches
    x, output = torch.randn(2, 4, 3, 8, 8, device=setting.device)
    loops: dict[str, Work] = {
        OURS: _ours(DDIM(steps), x, output),
        "mmdiff DPM-Solver++(2M)": _ours(DPMpp2M(steps), x, output),
        "mmdiff DDPM": _ours(DDPM(steps), x, output),
        "mmdiff SDE-DPM-Solver++(2M)": _ours(DPMpp2MSDE(steps), x, output),
    }
    if setting.quick:
        yield "The peers are left out of a quick run: they take seconds to import."
    else:
        for build in (_diffusers_and_azula, _k_diffusion):
            try:
                loops |= build(steps, x, output)
            except ImportError as error:
                yield f"Not every peer is here ({sentence(error)})."
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in loops}
    end, done = time.time() + setting.share(), 0
    with torch.no_grad():
        for name, loop in loops.items():
            try:
                loop()
            except Exception as error:
                yield f"{name} failed ({sentence(error)})."
                del spent[name]
        while done < 3 or (done < 50 and not setting.quick and time.time() < end):
            for name, turns in spent.items():
                turns.append(_host_and_device(loops[name], setting.device))
            done += 1
    for name, turns in spent.items():
        host, whole = (list(part) for part in zip(*turns, strict=True))
        ours = [free for free, _ in spent[OURS]]
        yield {
            "sampler": name,
            "host": statistics.median(host) / steps * 1e6,
            "with the device": statistics.median(whole) / steps * 1e6,
            f"times {OURS}": times_faster(host, ours),
        }


def _host_and_device(loop: Work, device: str) -> tuple[float, float]:
    """Seconds until the host is free again, and until the device is through."""
    wait(device)
    start = time.perf_counter()
    loop()
    free = time.perf_counter() - start
    wait(device)
    return free, time.perf_counter() - start


def _ours(solver: Solver, x: Tensor, output: Tensor) -> Work:
    plan = solver.plan(LinearBeta())
    return lambda: run(plan, lambda x, at: output, x)


def _diffusers_and_azula(steps: int, x: Tensor, output: Tensor) -> dict[str, Work]:
    other: Any = import_module("sampler_overhead")
    return {
        "diffusers DDIM": other.diffusers(other.DDIMScheduler, steps, x, output),
        "diffusers DPM-Solver++(2M)": other.diffusers(
            other.DPMSolverMultistepScheduler, steps, x, output
        ),
        "diffusers DDPM": other.diffusers(other.DDPMScheduler, steps, x, output),
        "azula DDIM": other.azula(steps, x, output),
    }


def _k_diffusion(steps: int, x: Tensor, output: Tensor) -> dict[str, Work]:
    sampling = k_diffusion_sampling()
    sigmas = sampling.get_sigmas_karras(steps, 0.01, 80.0, device=x.device)

    def loop(kind: Any) -> Work:
        return lambda: kind(lambda x, sigma: output, x, sigmas, disable=True)

    return {
        "k-diffusion Euler": loop(sampling.sample_euler),
        "k-diffusion DPM-Solver++(2M)": loop(sampling.sample_dpmpp_2m),
    }


def throughput(setting: Setting) -> Found:
    """Rows of images a second, and of seconds of sound a second, by batch and precision."""
    models, missing = present(("digits", "sound"), setting)
    yield from missing
    solvers = {
        "digits": DPMpp2MSDE(2 if setting.quick else 25),
        "sound": DDIM(2 if setting.quick else 50),
    }
    batches = {"digits": (64, 256, 1024, 4096), "sound": (1, 8, 32)}
    for place, (name, model) in enumerate(models.items()):
        works: dict[tuple[int, str], Work] = {}
        for batch in (1,) if setting.quick else batches[name]:
            draw = drawing(model, batch, solvers[name], setting)
            for precision in (DEFAULT, BF16):
                works[batch, precision] = within(precision, setting.device, draw)
        times, failed = rounds(works, setting, setting.share(len(models) - place))
        for (batch, precision), turns in times.items():
            median = statistics.median(turns)
            yield {
                "model": name,
                "batch": batch,
                "precision": precision,
                "ms": 1000 * median,
                "images/s": batch / median if name == "digits" else None,
                "times real time": batch * seconds(setting) / median if name == "sound" else None,
                "peak, MiB": peak_mib(works[batch, precision], setting.device),
            }
        yield from (f"{name}, {note}" for note in failed)


def picard(setting: Setting) -> Found:
    """Rows of what solving all steps in parallel gains, by model, batch and tolerance."""
    solver = DDIM(4 if setting.quick else 50)
    names = ("digits",) if setting.quick else ("digits", "speech")
    models, missing = present(names, setting)
    yield from missing
    for place, (name, model) in enumerate(models.items()):
        works: dict[tuple[int, float], Any] = {}
        for batch in (1,) if setting.quick else (1, 4, 16):
            works[batch, 0.0] = drawing(model, batch, solver, setting)
            for tolerance in (1e-2,) if setting.quick else (1e-2, 1e-3):
                works[batch, tolerance] = _picard(model, batch, solver, setting, tolerance)
        times, failed = rounds(works, setting, setting.share(len(models) - place))
        for (batch, tolerance), turns in times.items():
            plain = times.get((batch, 0.0))
            if tolerance and plain:
                x, taken = works[batch, tolerance]()
                exact = works[batch, 0.0]()
                yield {
                    "model": name,
                    "batch": batch,
                    "tolerance": tolerance,
                    "calls": solver.steps,
                    "rounds": taken,
                    "one by one, ms": 1000 * statistics.median(plain),
                    "in rounds, ms": 1000 * statistics.median(turns),
                    "times faster": times_faster(plain, turns),
                    "difference": float((x - exact).abs().max()),
                    "largest value": float(exact.abs().max()),
                }
        yield from (f"{name}, {note}" for note in failed)


def _picard(
    model: Diffusion, batch: int, solver: Solver, setting: Setting, tolerance: float
) -> Work:
    size, given = (batch, *shape(model, setting)), classes(model, batch, setting)
    return lambda: mmdiff.picard(
        model, size, solver, tolerance=tolerance, clip=span(model), **given
    )
