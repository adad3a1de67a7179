"""How much faster does a network of sound run behind each front end?

    python benchmarks/frontend_speed.py                    # ten minutes on two CPU cores
    python benchmarks/frontend_speed.py --length 262144    # 5.5 s at 48 kHz

One U-Net of fixed widths stands behind every front end; only the channels that it takes and gives
follow the front end, which divides the length by p. Beside it is audio-diffusion-pytorch's UNetV0
of the same widths, behind its own learned transform (LTPlugin). All take turns, in float32:

- forward; training step (loss, gradient, AdamW); sampling step (one of DDIM). `_times`: how many
  times as fast as raw sound (UNetV0: as UNetV0:1), with quartiles over the rounds; `_of_ours`: the
  time of UNetV0 over that of our network behind the same p.
- codec (encode and decode), network on the code, and the same network on 8 frames, which is what a
  call costs whatever the length; flops: of the forward pass.
- mib: peaks beyond the weights, in a process of its own; of the first training step, so gradients
  and AdamW's state are in it.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
from typing import Any

import torch
from rows import Rows, about, digits, parse, parser
from timing import Work, answer, flops, peak_mib, quartiles, rounds
from torch import nn

from mmdiff import DDIM, Diffusion, Trigonometric
from mmdiff.nn import FrontEnd, UNet
from mmdiff.nn.frontends import parse as front_end
from mmdiff.sampling import run

STEPS = 4  # of the sampler in a call
LEVELS = 4
WORKS = ("forward", "training_step", "sampling_step")
PEER = "UNetV0"
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # of <malloc.h>


def peer(stride: int, width: int) -> nn.Module:
    """audio-diffusion-pytorch's U-Net, for `stride` above 1 behind its own learned transform."""
    from audio_diffusion_pytorch import LTPlugin, UNetV0  # slow to import

    kind = LTPlugin(UNetV0, stride, 2 * stride, stride) if stride > 1 else UNetV0
    network: nn.Module = kind(
        dim=1, in_channels=1, channels=[width] * LEVELS, factors=[1] + [2] * (LEVELS - 1),
        items=[1] * LEVELS, modulation_features=256,
    )  # fmt: skip
    return network


def names(quick: bool) -> list[str]:
    sizes = (16,) if quick else tuple(2**k for k in range(1, 8))
    ours = ["raw", *(f"{kind}:{p}" for kind in ("patch", "mdct", "learned") for p in sizes)]
    peers = (1, 16) if quick else (1, 16, 64, 128)
    return [*ours, "learned:1", "stft:512", "stft", *(f"{PEER}:{p}" for p in peers)]


def build(name: str, width: int, device: str) -> tuple[nn.Module, int]:
    """The network, and by how much its front end divides the length."""
    torch.manual_seed(0)
    if name.startswith(PEER):
        stride = int(name.partition(":")[2])
        return peer(stride, width).to(device), stride
    codec: Any = front_end(name)
    channels = codec.channels(1)
    network = UNet(1, channels, channels, [width] * LEVELS, 1)
    return FrontEnd(codec, network).to(device), codec.factor


def works(network: nn.Module, args: argparse.Namespace) -> dict[str, Work]:
    """What is measured of a network, by name."""
    model = Diffusion(network, Trigonometric(), "v")
    x, noise = torch.randn(2, args.batch, 1, args.length, device=args.device)
    t = torch.rand(args.batch, device=args.device)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    plan = DDIM(STEPS).plan(model.schedule)

    def training() -> None:
        model.loss_at(x, t, noise).backward()
        optimizer.step()
        optimizer.zero_grad()

    found: dict[str, Work] = {
        "forward": torch.no_grad()(lambda: network(x, t)),
        "training_step": training,
        "sampling_step": lambda: run(plan, lambda x_t, at: model.x0(x_t, at, x.dtype), noise),
    }
    if isinstance(network, FrontEnd):
        inner, encode, decode = network.backbone, network.codec.encode, network.codec.decode
        with torch.no_grad():
            code = encode(x)
        found["codec"] = torch.no_grad()(lambda: decode(encode(x), x.shape[2:]))
        found["network"] = torch.no_grad()(lambda: inner(code, t))
        found["eight_frames"] = torch.no_grad()(lambda: inner(code[..., :8], t))
    return found


def keep_memory() -> None:
    """Have glibc keep large blocks that are freed; elsewhere nothing.

    By default it gives every block of more than 32 MiB back to the system and asks for its pages
    anew: with clips of 262,144 raw samples that takes most of a training step.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", lambda option, value: None)
    mallopt(_MMAP_THRESHOLD, 2**31 - 1)
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def peaks(name: str, args: argparse.Namespace) -> dict[str, float]:
    """MiB by work."""
    network, _ = build(name, args.width, args.device)
    works(network, args)["training_step"]()  # code that is loaded at first use
    clip = works(network, args)
    return {f"{work}_mib": digits(peak_mib(clip[work], args.device)) for work in WORKS[:2]}


def compared(name: str, work: str, times: Any) -> dict[str, float]:
    """Median of a work of one front end; of whole calls the quotients, with quartiles."""
    divisor = STEPS if work == "sampling_step" else 1
    found = {f"{work}_ms": 1000 * statistics.median(times[name, work]) / divisor}
    kind, _, p = name.partition(":")
    pairs = {work: (f"{PEER}:1" if kind == PEER else "raw", name)}
    if kind == PEER:
        pairs[f"{work}_of_ours"] = (name, f"learned:{p}" if p != "1" else "raw")
    for title, (above, below) in pairs.items() if work in WORKS else ():
        values = quartiles(times[above, work], times[below, work])
        keys = (f"{title}_low", f"{title}_times", f"{title}_high")
        found |= dict(zip(keys, values, strict=True))
    return {key: digits(value) for key, value in found.items()}


def main() -> None:
    made = parser(__doc__, batch=1, width=64, least=0.1)
    made.add_argument("--length", type=int, default=2**16, help="samples of a clip")
    made.add_argument("--rounds", type=int, default=11)
    made.add_argument("--peaks", help=argparse.SUPPRESS)
    args = parse(made, length=512, width=16, rounds=2, least=0.0)
    if args.peaks:
        print(json.dumps(peaks(args.peaks, args)))
        return
    built = {name: build(name, args.width, args.device) for name in names(args.quick)}
    variants = {name: works(network, args) for name, (network, _) in built.items()}
    counts = {name: flops(of["forward"]) for name, of in variants.items()}
    keep_memory()
    all_works = {(name, work): of[work] for name, of in variants.items() for work in of}
    times = rounds(all_works, args.device, args.rounds, args.least)
    rows = Rows(args.out / "frontend_speed.csv", ("length", "frontend", "device"))
    for name, (_, p) in built.items():
        row: dict[str, Any] = {
            "length": args.length, "frontend": name, "p": p, "batch": args.batch,
            "width": args.width, "rounds": args.rounds, "device": args.device,
            "flops": counts[name],
        }  # fmt: skip
        for work in variants[name]:
            row |= compared(name, work, times)
        if not args.quick or name == "mdct:16":
            row |= json.loads(answer(f"--peaks={name}"))
        rows.add(row | about(args.device, "audio-diffusion-pytorch"))


if __name__ == "__main__":
    main()
