"""How the sections of gpu.py measure: all variants take turns, and none of them ends the others."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from audio_sampling import MIB
from torch import nn

LEAST = 0.05  # seconds of a turn
ROUNDS = (3, 25)  # at least, whatever time is left, and at most

DEFAULT, WITHOUT, EVERYWHERE, BF16 = "float32", "float32, no TF32", "TF32", "bfloat16"
PRECISIONS = (WITHOUT, DEFAULT, EVERYWHERE, BF16)

Work = Callable[[], object]
Row = dict[str, Any]
Found = Iterator[Row | str]  # what a section yields: rows of its table, and sentences below it
K = TypeVar("K", bound=Hashable)
R = TypeVar("R")


@dataclass(frozen=True)
class Setting:
    """Where a section runs, and for how long.

    Attributes:
        device: "cuda", or "cpu" for a quick run.
        quick: the smallest sizes that show whether it works.
        until: `time.time()` at which it should be through.
        data_dir: of the data sets.
    """

    device: str
    quick: bool = False
    until: float = 0.0
    data_dir: Path = Path("data")

    def share(self, parts: int = 1) -> float:
        """Seconds for the next of `parts` parts that are left; 0 if there is no time."""
        return max(0.0, self.until - time.time()) / parts


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def clock(work: Work, calls: int, device: str) -> float:
    """Seconds a call; the device is waited for before the first and after the last one alone."""
    wait(device)
    start = time.perf_counter()
    for _ in range(calls):
        work()
    wait(device)
    return (time.perf_counter() - start) / calls


def sentence(error: BaseException) -> str:
    """An error in one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def rounds(
    works: Mapping[K, Work], setting: Setting, seconds: float
) -> tuple[dict[K, list[float]], list[str]]:
    """Seconds a call in every round, and a sentence for each work that fails and is left out.

    Every work is called twice first: for what happens once, and to see how many calls fill a turn.
    A quick run only calls it once, and once more in its one round.
    """
    end, calls, failed = time.time() + seconds, {}, []
    for name, work in works.items():
        try:
            once = clock(work, 1, setting.device)
            if not setting.quick:
                once = clock(work, 1, setting.device)
        except Exception as error:
            failed.append(f"{named(name)} failed ({sentence(error)}).")
        else:
            calls[name] = 1 if setting.quick else max(1, round(LEAST / once))
    least, most = (1, 1) if setting.quick else ROUNDS
    times: dict[K, list[float]] = {name: [] for name in calls}
    done = 0
    while times and (done < least or (done < most and time.time() < end)):
        for name, turns in times.items():
            turns.append(clock(works[name], calls[name], setting.device))
        done += 1
    return times, failed


def named(name: Hashable) -> str:
    return ", ".join(map(str, name)) if isinstance(name, tuple) else str(name)


def times_faster(slow: list[float], fast: list[float]) -> float:
    """The median over rounds of slow / fast: what slows a whole round drops out."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def peak_mib(work: Work, device: str) -> float | None:
    """CUDA memory that a call takes beyond what was allocated before it; None elsewhere."""
    if device != "cuda":
        return None
    wait(device)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    work()
    wait(device)
    return (torch.cuda.max_memory_allocated() - before) / MIB


@contextmanager
def precision(name: str, device: str) -> Iterator[None]:
    """Inside, float32 is computed as `name` says.

    "float32" is what torch does by itself: TF32 in convolutions, not in matrix products. The others
    have it nowhere or everywhere, or are autocast to bfloat16.
    """
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32, cudnn.allow_tf32 = name == EVERYWHERE, name != WITHOUT
    try:
        with torch.autocast(device, torch.bfloat16, enabled=name == BF16):
            yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def within(name: str, device: str, work: Callable[[], R]) -> Callable[[], R]:
    """`work` in a precision."""

    def call() -> R:
        with precision(name, device):
            return work()

    return call


@torch.no_grad()
def awake(model: nn.Module) -> None:
    """Fill weights that start as zeros: a device may be faster on zeros than it ever is later."""
    for parameter in model.parameters():
        if not parameter.any():
            parameter.normal_(std=0.02)
