"""How fast does a model of sound sample, and in how much memory?

    python benchmarks/audio_sampling.py                    # the bundled speech; four minutes
    python benchmarks/audio_sampling.py runs/mine/model.safetensors --device cuda

- times_real_time: seconds of sound made per second, for ten clips of the model's own length at a
  time, DDIM; "guided" doubles the network's work. The median of some rounds in which float32 and
  bfloat16, guided or not, take turns. A CPU is measured twice: with all its instructions, and with
  those of AVX2 alone, as on nearly all laptops, without bfloat16.
- peak_mib: what one clip of 1, 10 and 60 seconds, which the network was not trained for but takes,
  adds to a process of its own.
"""

from __future__ import annotations

import argparse
import statistics
from functools import partial
from itertools import product
from typing import Any

import torch
from networks import classes
from rows import Rows, about, digits, parse, parser
from timing import answer, on_each_isa, peak_mib, precisions, rounds

import mmdiff


def sample(
    model: Any, length: int, batch: int, args: Any, guided: bool = False, precision: str = "float32"
) -> None:
    told = classes(model, batch, args.device)
    shape, guidance = (batch, model.info.shape[0], length), 2.0 if guided else None
    kind = args.device.split(":")[0]
    with torch.autocast(kind, torch.bfloat16, enabled=precision == "bfloat16"):
        mmdiff.sample(model, shape, mmdiff.DDIM(args.steps), guidance=guidance, **told)


def speed(model: Any, args: Any) -> None:
    """Add a row for each precision that this machine computes in, guided and not."""
    length, rate = model.info.shape[1], model.info.modality.sample_rate
    works = {
        how: partial(sample, model, length, args.batch, args, *how)
        for how in product((False, True), precisions(args.device))
    }
    rows = Rows(args.out / "audio_sampling.csv", ("model", "isa", "precision", "guided"))
    for (guided, precision), turns in rounds(works, args.device, args.rounds).items():
        rows.add({
            "model": args.model, "isa": args.isa, "precision": precision, "guided": guided,
            "times_real_time": digits(args.batch * length / rate / statistics.median(turns)),
            "parameters": sum(p.numel() for p in model.parameters()),
            "sample_rate": rate, "seconds": length / rate, "batch": args.batch,
            "steps": args.steps, **about(args.device),
        })  # fmt: skip


def memory(args: Any) -> None:
    """Add a row for each length; the kind of machine makes no difference."""
    rows = Rows(args.out / "audio_memory.csv", ("model", "seconds"))
    for seconds in args.lengths:
        peak = digits(float(answer(f"--peak={seconds}")))
        rows.add({"model": args.model, "seconds": seconds, "peak_mib": peak, **about(args.device)})


def main() -> None:
    made = parser(__doc__, batch=10, rounds=5, steps=20, lengths=(1.0, 10.0, 60.0))
    made.add_argument("model", nargs="?", default="speech")
    made.add_argument("--isa", help=argparse.SUPPRESS)
    made.add_argument("--peak", type=float, help=argparse.SUPPRESS)
    args = parse(made, batch=2, rounds=1, steps=2, lengths=(1.0,))
    if not args.isa:
        on_each_isa(args.device)
        return
    model = mmdiff.load(args.model, args.device)
    if args.peak:
        length = round(args.peak * model.info.modality.sample_rate)
        print(peak_mib(partial(sample, model, length, 1, args), args.device))
        return
    speed(model, args)
    if args.isa == "all":
        memory(args)


if __name__ == "__main__":
    main()
