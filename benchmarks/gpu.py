"""What is mmdiff worth on a GPU?

    python benchmarks/gpu.py                                  # some minutes
    python benchmarks/gpu.py --quick --device cpu             # does it work?

The bundled digits, by 25 calls of DDIM: images a second, memory, and how far the samples are from
those of the first row, relative to these. A small network on a fast device waits for the host to
launch its kernels: torch.compile makes fewer of them, and a CUDA graph launches all at once.

Other scripts measure a GPU with --device cuda: `image_training.py`, `audio_sampling.py` and
`frontend_speed.py`.
"""

from __future__ import annotations

import statistics
from functools import partial
from typing import Any

import torch
from networks import classes
from rows import Rows, about, digits, parse, parser
from timing import Work, peak_mib, quartiles, rounds

import mmdiff
from mmdiff import DDIM, Diffusion

FIRST = ("eager", "float32")


def samplers(precision: str, batch: int, args: Any) -> dict[tuple[str, str], Work]:
    """Functions that draw the same digits, by variant and precision."""
    model: Any = mmdiff.load("digits", args.device).to(getattr(torch, precision))
    shape, told = (batch, *model.info.shape), classes(model, batch, args.device)
    networks = {"eager": model.backbone}
    if args.device != "cpu":
        compiled = partial(torch.compile, model.backbone, dynamic=False)
        networks |= {"compiled": compiled(), "CUDA graph": compiled(mode="reduce-overhead")}
    found: dict[tuple[str, str], Work] = {}
    for name, network in networks.items():
        other = Diffusion(network, model.schedule, model.prediction, conditions=model.conditions)
        solver, clip = DDIM(args.calls), model.info.modality.data_range
        found[name, precision] = partial(mmdiff.sample, other, shape, solver, clip=clip, **told)
    return found


@torch.no_grad()
def main() -> None:
    settings = parser(__doc__, device="cuda", batches=(64, 256, 1024, 4096), calls=25, rounds=9)
    args = parse(settings, batches=(2,), calls=2, rounds=1)
    if args.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("torch finds no CUDA device here: add --quick --device cpu to try it.")
    rows = Rows(args.out / "gpu.csv", ("batch", "variant", "precision", "machine"))
    for batch in args.batches:
        works = samplers("float32", batch, args) | samplers("bfloat16", batch, args)
        exact: Any = works[FIRST]()
        times = rounds(works, args.device, args.rounds, 0 if args.quick else 0.05)
        for (variant, precision), turns in times.items():
            work: Any = works[variant, precision]
            row = {
                "batch": batch, "variant": variant, "precision": precision,
                "images_per_second": digits(batch / statistics.median(turns)),
                "times_faster": digits(quartiles(times[FIRST], turns)[1]),
                "difference": digits(float((work().float() - exact).norm() / exact.norm())),
            }  # fmt: skip
            if args.device != "cpu":
                row["peak_mib"] = digits(peak_mib(work, args.device))
            rows.add(row | about(args.device))


if __name__ == "__main__":
    main()
