"""How fast do the image networks train, and in how much memory?

    python benchmarks/image_training.py                  # four minutes on two CPU cores
    python benchmarks/image_training.py --device cuda
    python benchmarks/image_training.py --quick          # does it work? prints, writes nothing

A step is the loss of a batch of noised digits with labels (DiffUNet takes none), its gradient and
AdamW's update, in float32 or under bfloat16 autocast; times and noise are drawn beforehand. The
median step counts. Every row has a process of its own, and:

- matmul: the rate of a bfloat16 product of two square matrices, the median of some right before
  and some right after the steps; "of matmul" is the rate of the network's convolutions and matrix
  products (torch.utils.flop_counter, forward pass, times three for a training step) in units of it.
- peak: on a CPU the process's largest resident size (ru_maxrss) by the end of the steps, less the
  same right before the network is built, when all libraries are loaded and the product has run; so
  it holds weights, gradients, optimiser and activations. On CUDA the largest allocation, likewise.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from machine import machine
from networks import NETWORKS, OURS, SHAPE, parameters
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from mmdiff import Diffusion, LinearBeta

RESULTS = Path(__file__).parent / "results"
PRECISIONS = ("float32", "bfloat16")
MIB = 2**20


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    wait(device)
    start = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - start


class Matmul:
    """The machine's own bfloat16 rate; its matrices stay allocated, so that memory compares."""

    def __init__(self, side: int, turns: int, device: torch.device) -> None:
        self.a, self.b, self.out = torch.randn(3, side, side, device=device).bfloat16()
        self.turns, self.device = turns, device

    def rates(self) -> list[float]:
        """GFLOP/s, one for each turn."""
        flops = 2 * len(self.a) ** 3

        def product() -> Tensor:
            return torch.mm(self.a, self.b, out=self.out)

        product()
        return [flops / seconds_of(product, self.device) / 1e9 for _ in range(self.turns)]


def peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def forward_flops(model: Diffusion, device: torch.device) -> int:
    """Of one image."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.backbone(torch.zeros(1, *SHAPE, device=device), torch.ones(1, device=device))
    return int(counter.get_total_flops())


def training_step(
    model: Diffusion, precision: str, batch: int, device: torch.device
) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    x, noise = (torch.randn(batch, *SHAPE, device=device).clamp(-1, 1) for _ in range(2))
    t = torch.rand(batch, device=device)
    labels = int(getattr(model.backbone, "labels", 0))
    cond: dict[str, Any] = {"label": torch.arange(batch, device=device) % labels} if labels else {}

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            loss = model.loss(x, t, noise, **cond)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """One row, in this process."""
    device = torch.device(args.device)
    torch.manual_seed(0)
    matmul = Matmul(args.side, args.turns, device)
    rates = matmul.rates()
    before = peak_bytes(device)
    model = Diffusion(NETWORKS[args.network](), LinearBeta(), "eps", "min_snr").to(device).train()
    flops = 3 * forward_flops(model, device)
    step = training_step(model, args.precision, args.batch, device)
    for _ in range(args.warmup):
        step()
    times: list[float] = []
    while len(times) < args.least or sum(times) < args.seconds:
        times.append(seconds_of(step, device))
    peak = peak_bytes(device) - before
    images = args.batch / statistics.median(times)
    rate = statistics.median(rates + matmul.rates())
    return {
        "network": args.network,
        "parameters": parameters(model.backbone),
        "precision": args.precision,
        "images_per_second": round(images, 1),
        "steps": len(times),
        "peak_mib": round(peak / MIB),
        "training_mflop_per_image": round(flops / 1e6, 1),
        "matmul_gflops": round(rate, 1),
        "of_matmul": round(flops * images / 1e9 / rate, 4),
    }


def measure_apart(args: argparse.Namespace, network: str, precision: str) -> dict[str, Any]:
    """One row, in a process of its own."""
    settings = ("device", "batch", "seconds", "least", "warmup", "side", "turns")
    options = [f"--{name}={getattr(args, name)}" for name in settings]
    command = [sys.executable, __file__, f"--network={network}", f"--precision={precision}"]
    done = subprocess.run([*command, *options], stdout=subprocess.PIPE, text=True, check=True)
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def about(args: argparse.Namespace) -> dict[str, Any]:
    on = machine()
    if args.device.startswith("cuda"):
        on += f"; {torch.cuda.get_device_name(args.device)}"
    return {
        "machine": on,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in ("torch", "deepinv", "a-unet")},
        "batch": args.batch,
        "matmul_side": args.side,
    }


def table(rows: list[dict[str, Any]], made: dict[str, Any]) -> str:
    ours = {row["precision"]: row["images_per_second"] for row in rows if row["network"] == OURS}
    versions = ", ".join(f"{name} {number}" for name, number in made["versions"].items())
    lines = [
        "# Training steps of the image networks",
        "",
        f"Measured on: {made['machine']}, {made['threads']} threads; Python {made['python']}, "
        f"{versions}; batch {made['batch']} of {'x'.join(map(str, SHAPE))}; "
        f"matmul: bfloat16, {made['matmul_side']}^3.",
        "",
        "| network | parameters | precision | images/s | mmdiff UNet is | peak, MiB "
        "| MFLOP an image | GFLOP/s of matmul | of matmul |",
        "|---|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        ratio = ours[row["precision"]] / row["images_per_second"]
        lines.append(
            f"| {row['network']} | {row['parameters'] / 1e6:.2f} M | {row['precision']} "
            f"| {row['images_per_second']:.1f} | {ratio:.2f} x | {row['peak_mib']:,} "
            f"| {row['training_mflop_per_image']:,.0f} | {row['matmul_gflops']:.0f} "
            f"| {row['of_matmul']:.0%} |"
        )
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5, help="of steps, for a row")
    parser.add_argument("--least", type=int, default=3, help="steps, however long they take")
    parser.add_argument("--warmup", type=int, default=2, help="steps that are not counted")
    parser.add_argument("--side", type=int, default=2048, help="of the matrices")
    parser.add_argument("--turns", type=int, default=20, help="of the product, each time")
    parser.add_argument("--quick", action="store_true", help="tiny settings, nothing is written")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--network", choices=NETWORKS, help="print one row as JSON")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="of that row")
    args = parser.parse_args()
    if args.quick:
        tiny = {"batch": 2, "seconds": 0.0, "least": 1, "warmup": 1, "side": 128, "turns": 3}
        vars(args).update(tiny)
    return args


def main() -> None:
    args = parse()
    if args.network is not None:
        print(json.dumps(measure(args)))
        return
    made, rows = about(args), []
    for network in NETWORKS:
        for precision in PRECISIONS:
            rows.append(measure_apart(args, network, precision))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    text = table(rows, made)
    print(text)
    if not args.quick:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "image_training.md").write_text(text + "\n", encoding="utf-8")
        result = json.dumps({**made, "rows": rows}, indent=2)
        (args.out / "image_training.json").write_text(result + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
