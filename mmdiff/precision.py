"""Which type of number a network computes in: bfloat16 where the hardware multiplies it."""

from __future__ import annotations

import time
from functools import cache
from typing import Literal, get_args

import torch
from torch import Tensor

Precision = Literal["auto", "bf16", "no"]

_SIDE, _TURNS = 128, 5  # of the product that is timed


def resolve(precision: Precision, device: torch.device) -> torch.dtype:
    """What a network on `device` computes in: torch.bfloat16 (by autocast) or torch.float32.

    "bf16" and "no" (float32) decide it. "auto" takes bfloat16 only where the hardware has
    instructions for it: elsewhere a product of bfloat16 matrices takes a hundred times as long as
    one of float32. A process answers the same as long as it lives.

    Raises:
        ValueError: an unknown `precision`.
    """
    return _choose(precision, device)[0]


def explain(precision: Precision, device: torch.device) -> str:
    """One line for people: what `resolve` chooses, and why."""
    dtype, reason = _choose(precision, device)
    return f"{str(dtype).removeprefix('torch.')}, because {reason}"


def _choose(precision: Precision, device: torch.device) -> tuple[torch.dtype, str]:
    if precision not in get_args(Precision):
        known = ", ".join(map(repr, get_args(Precision)))
        raise ValueError(f"unknown precision {precision!r}: choose one of {known}.")
    if precision != "auto":
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        return dtype, f"the precision asked for is {precision!r}"
    if device.type == "cuda":
        with torch.cuda.device(device):
            able = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        able = device.type == "cpu" and _processor_multiplies_bfloat16()
    part = {"cpu": "processor", "cuda": "GPU"}.get(device.type, f"{device.type} device")
    if able:
        return torch.bfloat16, f"this {part} multiplies bfloat16 in hardware"
    return torch.float32, f"this {part} does not multiply bfloat16 in hardware"


@cache
def _processor_multiplies_bfloat16() -> bool:
    """Whether it has the instructions, and torch may use them.

    Limits such as ONEDNN_MAX_CPU_ISA hide instructions from torch's kernels, not from its answers
    about the processor, so a small product is timed too.
    """
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    if not any(getattr(torch.cpu, name, bool)() for name in names):
        return False
    matrix = torch.ones(_SIDE, _SIDE)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # to wait for no other thread: only the product is timed
    try:
        return _seconds(matrix.bfloat16()) < _seconds(matrix)
    finally:
        torch.set_num_threads(threads)


def _seconds(matrix: Tensor) -> float:
    """Of this thread's time for the square of `matrix`; the first time is preparation."""
    times = []
    for _ in range(_TURNS):
        start = time.thread_time()
        matrix @ matrix
        times.append(time.thread_time() - start)
    return min(times)
