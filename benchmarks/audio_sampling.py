"""How fast does a model of sound sample, and in how much memory?

    python benchmarks/audio_sampling.py                    # the bundled speech; two minutes
    python benchmarks/audio_sampling.py runs/mine/model.safetensors --device cuda
    python benchmarks/audio_sampling.py --quick            # does it work? prints, writes nothing

- real-time factor: seconds of sound made per second, for ten clips of the model's own length at a
  time, DDIM; "guided" doubles the network's work. The median of some runs, float32 and bfloat16
  autocast side by side.
- peak: for one clip of 1, 10 and 60 seconds, which the network was not trained for but takes, a
  process of its own each: the largest resident size while it samples, less what was resident right
  before (VmHWM and VmRSS, which Linux alone has); on CUDA the largest allocation, likewise.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from machine import machine

import mmdiff

RESULTS = Path(__file__).parent / "results"
STEPS = 20
BATCH = 10
MIB = 2**20


def sample(model: mmdiff.Pretrained, length: int, batch: int, guidance: float | None) -> None:
    backbone: Any = model.backbone
    classes = {name: torch.arange(batch) % count for name, count in backbone.conditions.items()}
    shape = (batch, model.info.shape[0], length)
    x = mmdiff.sample(model, shape, mmdiff.DDIM(STEPS), guidance=guidance, **classes)
    float(x.sum())  # waits for the device


def real_time(model: mmdiff.Pretrained, guidance: float | None, bf16: bool, runs: int) -> float:
    """Seconds of sound per second."""
    assert model.info.sample_rate is not None
    length = model.info.shape[1]
    device = next(model.parameters()).device.type
    seconds = []
    with torch.autocast(device, torch.bfloat16) if bf16 else nullcontext():
        sample(model, length, BATCH, guidance)
        for _ in range(runs):
            start = time.perf_counter()
            sample(model, length, BATCH, guidance)
            seconds.append(time.perf_counter() - start)
    return BATCH * length / model.info.sample_rate / statistics.median(seconds)


def resident(which: str) -> int:
    """Bytes of this process in memory: now (VmRSS) or at most (VmHWM)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(which):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"there is no {which} here")


def peak(path: str, device: str, seconds: float) -> float:
    """MiB that sampling one clip takes; called in a process of its own."""
    model = mmdiff.load(path, device)
    assert model.info.sample_rate is not None
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.max_memory_allocated()
    else:
        Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
        before = resident("VmRSS")
    sample(model, round(seconds * model.info.sample_rate), 1, None)
    if device == "cuda":
        return (torch.cuda.max_memory_allocated() - before) / MIB
    return (resident("VmHWM") - before) / MIB


def table(found: dict[str, Any]) -> str:
    lines = [
        "# Sampling sound",
        "",
        f"Measured on: {found['machine']}; torch {torch.__version__.split('+')[0]}; "
        f"`{found['model']}`, {found['parameters'] / 1e6:.2f} M parameters, DDIM, {STEPS} steps, "
        f"{BATCH} clips of {found['seconds']:g} s at {found['sample_rate']:,} Hz at a time.",
        "",
        "| precision | guidance | seconds of sound per second | times plain float32 |",
        "|---|---|---:|---:|",
    ]
    plain = found["real_time"][0]["factor"]
    for row in found["real_time"]:
        lines.append(
            f"| {row['precision']} | {'guided' if row['guided'] else 'none'} | "
            f"{row['factor']:.1f} | {row['factor'] / plain:.2f} |"
        )
    lines += ["", "| one clip of | peak, MiB |", "|---|---:|"]
    lines += [f"| {row['seconds']:g} s | {row['mib']:.0f} |" for row in found["memory"]]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="speech")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--peak", type=float, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak:
        print(peak(args.model, args.device, args.peak))
        return
    runs = 1 if args.quick else args.runs
    model = mmdiff.load(args.model, args.device)
    rows = [
        {
            "precision": "bfloat16" if bf16 else "float32",
            "guided": guided,
            "factor": real_time(model, 2.0 if guided else None, bf16, runs),
        }
        for guided in (False, True)
        for bf16 in (False, True)
    ]
    memory = []
    for seconds in (1.0,) if args.quick else (1.0, 10.0, 60.0):
        command = [sys.executable, __file__, args.model, "--device", args.device]
        done = subprocess.run(
            [*command, "--peak", str(seconds)], capture_output=True, text=True, check=True
        )
        memory.append({"seconds": seconds, "mib": float(done.stdout)})
    name = machine(args.device)
    found = {
        "machine": name,
        "model": model.name,
        "parameters": sum(p.numel() for p in model.parameters()),
        "seconds": model.info.shape[1] / (model.info.sample_rate or 1),
        "sample_rate": model.info.sample_rate,
        "real_time": rows,
        "memory": memory,
    }
    print(table(found))
    if not args.quick:
        stem = "audio_sampling" if args.device == "cpu" else "audio_sampling_cuda"
        (RESULTS / f"{stem}.md").write_text(table(found), encoding="utf-8")
        (RESULTS / f"{stem}.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
