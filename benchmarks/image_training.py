"""How fast do the image networks train, and in how much memory?

    python benchmarks/image_training.py                  # ten minutes on two CPU cores
    python benchmarks/image_training.py --device cuda

A step is the loss of a batch of noised digits with labels (DiffUNet takes none), its gradient and
AdamW's update. All networks take turns, and the median step counts. A CPU is measured twice: with
all its instructions, and with those of AVX2 alone, as on nearly all laptops, without bfloat16.

- matmul: a product of two square matrices of the same precision takes turns too; "of matmul" is the
  rate of the network's convolutions and matrix products (of the forward pass, times three for a
  training step) in units of its rate.
- muon_share: of a step of `fast`, which has Muon in AdamW's place, the share of Muon.
- peak: what a network's first steps add to a process of its own: weights, gradients, optimiser and
  activations.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator
from typing import Any

import torch
from networks import NETWORKS, OURS, SHAPE, classes, parameters
from rows import Row, Rows, about, digits, parse, parser
from timing import Work, answer, flops, on_each_isa, peak_mib, precisions, quartiles, rounds
from torch import Tensor

from mmdiff import Diffusion, LinearBeta
from mmdiff.noise import Draws
from mmdiff.training.muon import Muon


class Training:
    """A network, ready for steps of one batch."""

    def __init__(self, network: str, precision: str, args: Any) -> None:
        model = Diffusion(NETWORKS[network](), LinearBeta(), "eps", "min_snr")
        self.model = model.to(args.device).train()
        self.data = {"x": torch.randn(args.batch, *SHAPE, device=args.device).clamp(-1, 1)}
        self.data |= classes(model, args.batch, args.device)
        self.draws = Draws(0, 0, torch.arange(args.batch, device=args.device), args.batch)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-5, fused=True)
        enabled = precision == "bfloat16"
        self.autocast = torch.autocast(args.device.split(":")[0], torch.bfloat16, enabled=enabled)

    def loss(self) -> Tensor:
        with self.autocast:
            return self.model.loss(self.data, self.draws)

    def step(self) -> None:
        self.loss().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def muon(self) -> Work:
        """Its update alone."""
        optimizer = Muon(self.model, lr=1e-5)
        gradients = [torch.randn_like(p) for p in self.model.parameters()]

        def update() -> None:
            for p, gradient in zip(self.model.parameters(), gradients, strict=True):
                p.grad = gradient
            optimizer.step()
            optimizer.zero_grad()

        return update


def measure(precision: str, args: Any) -> Iterator[Row]:
    """A row for each network; all take turns of `least` seconds."""
    torch.manual_seed(0)
    trainings = {name: Training(name, precision, args) for name in args.networks}
    works: dict[str, Work] = {name: x.step for name, x in trainings.items()}
    a, b = torch.randn(2, args.side, args.side, device=args.device).to(getattr(torch, precision))
    works |= {"matmul": lambda: a @ b, "Muon": trainings[OURS].muon()}
    times = rounds(works, args.device, args.rounds, args.least)
    matmul = 2 * args.side**3 / statistics.median(times["matmul"]) / 1e9
    with_muon = [a + b for a, b in zip(times[OURS], times["Muon"], strict=True)]
    share = quartiles(times["Muon"], with_muon)[1]
    for name, training in trainings.items():
        count, seconds = 3 * flops(training.loss), statistics.median(times[name])
        mib = float(answer(f"--peak={name}", f"--precision={precision}"))
        yield {
            "isa": args.isa, "network": name, "parameters": parameters(training.model.backbone),
            "precision": precision, "images_per_second": digits(args.batch / seconds),
            "ours_times": digits(quartiles(times[name], times[OURS])[1]),
            "muon_share": digits(share) if name == OURS else "",
            "training_mflop_per_image": digits(count / args.batch / 1e6),
            "matmul_gflops": digits(matmul), "of_matmul": digits(count / seconds / 1e9 / matmul),
            "peak_mib": round(mib), "batch": args.batch, "matmul_side": args.side,
            **about(args.device, "deepinv", "a-unet"),
        }  # fmt: skip


def peak(args: Any) -> float:
    """MiB, of a process that has imported what the network needs and run it on one image."""
    one = argparse.Namespace(**{**vars(args), "batch": 1})
    Training(args.peak, args.precision, one).step()

    def begin() -> None:
        training = Training(args.peak, args.precision, args)
        training.step()
        training.step()

    return peak_mib(begin, args.device)


def main() -> None:
    made = parser(__doc__, batch=64, rounds=7, least=0.1, side=2048, networks=tuple(NETWORKS))
    made.add_argument("--isa", help=argparse.SUPPRESS)
    made.add_argument("--peak", help=argparse.SUPPRESS)
    made.add_argument("--precision", help=argparse.SUPPRESS)
    args = parse(made, batch=2, rounds=1, least=0.0, side=128, networks=(OURS,))
    if args.peak:
        print(peak(args))
    elif args.isa:
        rows = Rows(args.out / "image_training.csv", ("isa", "network", "precision"))
        for precision in precisions(args.device):
            for row in measure(precision, args):
                rows.add(row)
    else:
        on_each_isa(args.device)


if __name__ == "__main__":
    main()
