"""How long work takes, and how much memory; on two kinds of machine, in processes of its own."""

from __future__ import annotations

import ctypes
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from mmdiff.precision import resolve

MIB = 2**20
# A processor with all its instructions, and with those that nearly all laptops have.
ISAS: dict[str, dict[str, str]] = {
    "all": {},
    "AVX2": {
        "ONEDNN_MAX_CPU_ISA": "AVX2",  # convolutions
        "ATEN_CPU_CAPABILITY": "avx2",  # torch's own kernels
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",  # products of matrices
    },
}

Work = Callable[[], object]
Times = dict[Any, list[float]]  # seconds a call, by the name of a work


def on_each_isa(device: str) -> None:
    """Run the script that runs now, with --isa=NAME, on each kind of machine in the device."""
    for name in ISAS if device == "cpu" else ("all",):
        command = [sys.executable, *sys.argv, f"--isa={name}"]
        subprocess.run(command, env=os.environ | ISAS[name], check=True)


def answer(*options: str) -> str:
    """What the script that runs now prints in a process of its own, with more options."""
    command = [sys.executable, *sys.argv, *options]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def precisions(device: str) -> tuple[str, ...]:
    """Those that it computes in fast."""
    fast = resolve("auto", torch.device(device)) == torch.bfloat16
    return ("float32", "bfloat16") if fast else ("float32",)


def wait(device: str) -> None:
    """Until the device has done what it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def clock(work: Work, calls: int, device: str) -> float:
    """Seconds a call."""
    wait(device)
    start = time.perf_counter()
    for _ in range(calls):
        work()
    wait(device)
    return (time.perf_counter() - start) / calls


def rounds(works: Mapping[Any, Work], device: str, count: int, least: float = 0.1) -> Times:
    """Seconds a call in each of `count` rounds. All works take turns of `least` seconds in a round.

    What slows the machine for a while slows them all. Two calls of each go before: for what happens
    once, and to see how many calls fill a turn.
    """
    calls = {}
    for name, work in works.items():
        clock(work, 1, device)
        calls[name] = max(1, round(least / clock(work, 1, device)))
    times: Times = {name: [] for name in works}
    for _ in range(count):
        for name, work in works.items():
            times[name].append(clock(work, calls[name], device))
    return times


def quartiles(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Of above / below, round by round: what slows a whole round drops out."""
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    return statistics.quantiles(ratios, n=4, method="inclusive") if ratios[1:] else 3 * ratios


def flops(work: Work) -> int:
    """Of convolutions and matrix products; no FFTs."""
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def resident(which: str) -> int:
    """Bytes of this process in memory: now (VmRSS) or at most (VmHWM). Linux alone tells."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(which))


def peak_mib(work: Work, device: str) -> float:
    """Memory that a call takes beyond what was in use before it.

    On a CPU the resident size of the whole process: ask in a process of its own.
    """
    wait(device)
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        wait(device)
        return (torch.cuda.max_memory_allocated(device) - before) / MIB
    ctypes.CDLL(None).malloc_trim(0)  # gives the system back what was freed
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    work()
    return (resident("VmHWM") - before) / MIB
