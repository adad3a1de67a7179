"""How much faster does a network of sound run behind each front end?

    python benchmarks/frontend_speed.py                    # ten minutes on two CPU cores
    python benchmarks/frontend_speed.py --length 262144    # 5.5 s at 48 kHz
    python benchmarks/frontend_speed.py --device cuda
    python benchmarks/frontend_speed.py --quick            # does it work? prints, writes nothing

One U-Net of fixed widths stands behind every front end; only the channels that it takes and gives
follow the front end, which divides the length by p. The limit of the speed-up is p. Beside it is
audio-diffusion-pytorch's UNetV0 of the same widths, behind its own learned transform (LTPlugin).

- forward; training step (loss, gradient, AdamW); sampling step (one of DDIM, with the sampler's
  own work, without its setting up). Float32. All variants take turns in every round, each filling a
  little time; a speed-up is a quotient within a round, and its quartiles are over the rounds. The
  allocator keeps large blocks, or raw sound would wait for the system's memory most of the time.
- parts of the forward pass: front end (encode and decode), network on the code, and the same
  network on 8 frames, which is what a call costs whatever the length.
- by arithmetic: speed-up / p if only the operations of convolutions and matrix products counted
  (torch.utils.flop_counter; no FFTs). What the network's first and last convolution and a dense
  front end do for each sample does not shrink as p grows.
- peak: beyond the weights, in a process of its own: the largest resident size (VmHWM, which Linux
  alone has) less the one right before, on CUDA the largest allocation, likewise. The training step
  is the first one, so it holds gradients and AdamW's state too.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from audio_sampling import MIB, resident
from frontend_report import MAIN, PARTS, PEER, Rounds, plot, row, table
from machine import machine
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mmdiff import DDIM, Diffusion, Trigonometric
from mmdiff.audio.frontends import FrontEnd, parse
from mmdiff.nn import UNet
from mmdiff.sampling import run

RESULTS = Path(__file__).parent / "results"
STEPS = 4  # of the sampler in a turn
LEVELS = 4
LENGTH = 2**16  # samples; results of longer clips have files of their own
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # of <malloc.h>

Works = dict[str, Callable[[], object]]


class LearnedUNetV0(nn.Module):
    """audio-diffusion-pytorch's U-Net, for `stride` above 1 behind its own learned transform."""

    def __init__(self, stride: int, width: int) -> None:
        super().__init__()
        from audio_diffusion_pytorch import LTPlugin, UNetV0  # slow to import

        kind = LTPlugin(UNetV0, stride, 2 * stride, stride) if stride > 1 else UNetV0
        self.network: nn.Module = kind(
            dim=1,
            in_channels=1,
            channels=[width] * LEVELS,
            factors=[1] + [2] * (LEVELS - 1),
            items=[1] * LEVELS,
            modulation_features=256,
        )

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        output: Tensor = self.network(x, t)
        return output


def names(quick: bool) -> list[str]:
    sizes = (16,) if quick else tuple(2**k for k in range(1, 8))
    peers = (1, 16) if quick else (1, 16, 64, 128)
    ours = ["raw", *(f"{kind}:{p}" for kind in ("patch", "mdct") for p in sizes)]
    ours += ["learned:1", *(f"learned:{p}" for p in sizes), "stft:512", "stft"]
    return ours + [f"{PEER}:{p}" for p in peers]


def build(name: str, width: int) -> tuple[nn.Module, int]:
    """The network, and by how much its front end divides the length."""
    torch.manual_seed(0)
    if name.startswith(PEER):
        stride = int(name.partition(":")[2])
        return LearnedUNetV0(stride, width), stride
    transform: Any = parse(name)
    channels = transform.channels(1)
    return FrontEnd(transform, UNet(1, channels, channels, [width] * LEVELS, 1)), transform.factor


def works(network: nn.Module, args: argparse.Namespace) -> Works:
    """What is measured of a network, by name."""
    model = Diffusion(network, Trigonometric(), "v")
    x, noise = torch.randn(2, args.batch, 1, args.length, device=args.device)
    t = torch.rand(args.batch, device=args.device)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    plan = DDIM(STEPS).plan(model.schedule)

    def training() -> None:
        model.loss(x, t, noise).backward()
        optimizer.step()
        optimizer.zero_grad()

    found: Works = {
        "forward": torch.no_grad()(lambda: network(x, t)),
        "training step": training,
        "sampling step": lambda: run(plan, lambda x_t, at: model.x0(x_t, at, x.dtype), noise),
    }
    if isinstance(network, FrontEnd):
        inner, encode, decode = network.backbone, network.transform.encode, network.transform.decode
        with torch.no_grad():
            code = encode(x)
        found["front end"] = torch.no_grad()(lambda: decode(encode(x), args.length))
        found["network"] = torch.no_grad()(lambda: inner(code, t))
        found["8 frames"] = torch.no_grad()(lambda: inner(code[..., :8], t))
    return found


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def turn(work: Callable[[], object], least: float, device: str) -> float:
    """Seconds a call: the mean of as many as fill `least` seconds."""
    wait(device)
    start, calls, spent = time.perf_counter(), 0, 0.0
    while not calls or spent < least:
        work()
        wait(device)
        calls += 1
        spent = time.perf_counter() - start
    return spent / calls


def measure(variants: Mapping[str, Works], args: argparse.Namespace) -> Rounds:
    found: dict[str, dict[str, list[float]]] = {}
    for count in range(-1, args.rounds):
        for work in MAIN + PARTS:
            for name, of in variants.items():
                if work in of:
                    seconds = turn(of[work], args.least, args.device)
                    if count >= 0:  # the round before the first one warms up
                        divisor = STEPS if work == "sampling step" else 1
                        found.setdefault(work, {}).setdefault(name, []).append(seconds / divisor)
    return found


def keep_memory() -> None:
    """Have glibc keep large blocks that are freed; elsewhere nothing.

    By default it gives every block of more than 32 MiB back to the system and asks for its pages
    anew: with clips of 262,144 raw samples that takes most of a training step.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option in (_MMAP_THRESHOLD, _TRIM_THRESHOLD):
            mallopt(option, 2**31 - 1)


def flops(work: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def occupied(device: str) -> int:
    """Bytes in use, when what was freed has been given back to the system."""
    if device == "cuda":
        return torch.cuda.memory_allocated()
    ctypes.CDLL(None).malloc_trim(0)
    return resident("VmRSS")


def peak(name: str, args: argparse.Namespace) -> dict[str, float]:
    """MiB by work; called in a process of its own."""
    network = build(name, args.width)[0].to(args.device)
    works(network, args)["training step"]()  # code that is loaded at first use
    clip = works(network, args)
    found = {}
    for work in MAIN[:2]:
        before = occupied(args.device)
        if args.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            clip[work]()
            after = torch.cuda.max_memory_allocated()
        else:
            Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
            clip[work]()
            after = resident("VmHWM")
        found[work] = (after - before) / MIB
    return found


def peak_apart(name: str, args: argparse.Namespace) -> dict[str, float]:
    options = [f"--{key}={getattr(args, key)}" for key in ("device", "length", "batch", "width")]
    command = [sys.executable, __file__, *options, f"--peak={name}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    mib: dict[str, float] = json.loads(done.stdout)
    return mib


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--length", type=int, default=LENGTH, help="samples of a clip")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--width", type=int, default=64, help="of every level")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--least", type=float, default=0.1, help="seconds of a turn")
    parser.add_argument("--quick", action="store_true", help="tiny settings, nothing is written")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.quick:
        vars(args).update(length=512, width=16, rounds=2, least=0.0)
    return args


def main() -> None:
    args = parse_args()
    if args.peak:
        print(json.dumps(peak(args.peak, args)))
        return
    built = {name: build(name, args.width) for name in names(args.quick)}
    variants = {name: works(net.to(args.device), args) for name, (net, _) in built.items()}
    counts = {name: flops(of["forward"]) for name, of in variants.items()}
    keep_memory()
    rounds = measure(variants, args)
    rows = [row(name, p, rounds, counts) for name, (_, p) in built.items()]
    for r in rows:
        r["mib"] = None if args.quick and r["name"] != "mdct:16" else peak_apart(r["name"], args)
    found = {
        "machine": machine(args.device),
        "threads": torch.get_num_threads(),
        "torch": version("torch").split("+")[0],
        "peer": version("audio-diffusion-pytorch"),
        **{key: getattr(args, key) for key in ("length", "batch", "rounds")},
        "widths": [args.width] * LEVELS,
        "rows": rows,
    }
    print(table(found))
    if not args.quick:
        stem = (
            "frontend_speed" + "_long" * (args.length > LENGTH) + "_cuda" * (args.device == "cuda")
        )
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / f"{stem}.md").write_text(table(found), encoding="utf-8")
        text = json.dumps(found, indent=2) + "\n"
        (args.out / f"{stem}.json").write_text(text, encoding="utf-8")
        plot(args.out / f"{stem}.png", rows)


if __name__ == "__main__":
    main()
