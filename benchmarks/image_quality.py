"""How good are the digits for the network calls spent, and for the CPU-minutes trained?

    python benchmarks/image_quality.py --data-dir data
    python benchmarks/image_quality.py --data-dir data --training runs/fast runs/thesis

The first samples the bundled digits with every solver at several numbers of network calls; the
second samples every checkpoint in run folders with one solver. A row that is in the CSV file is not
measured again. Distances depend on the number of samples, so each stands beside the floor at that
number: what as many training images measure.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from rows import Rows, digits, machine, parse, parser

import mmdiff
from mmdiff.image.modality import Pictures
from mmdiff.metrics.batches import draw, take
from mmdiff.metrics.frechet import training_part
from mmdiff.metrics.images import evaluate_images
from mmdiff.sampling import Sampling
from mmdiff.solvers import SOLVERS

BATCH = 250
TRAINING = ("dpmpp2msde", 25)  # solver and calls


class MNIST:
    """Both splits, and the judge's word on samples."""

    def __init__(self, data_dir: Path | None) -> None:
        self.data = Pictures.open("mnist", "train", data_dir)
        self.held_out = Pictures.open("mnist", "test", data_dir)
        self.train, self.test = take(self.data), take(self.held_out)

    def judge(self, model: mmdiff.Diffusion, sampling: Sampling, count: int) -> dict[str, Any]:
        """Draw digits, with labels where the model takes them."""
        start = time.perf_counter()
        wanted = {"label": training_part(self.train["label"], count)}
        samples = draw(model, sampling, count, wanted, batch=BATCH, progress=False)
        seconds = time.perf_counter() - start
        report = evaluate_images(samples, self.test, self.train, neighbours=False)
        return {
            "accuracy": "" if report.accuracy is None else report.accuracy,
            "frechet": digits(report.frechet),
            "floor": digits(report.floor),
            "seconds": digits(seconds),
        }


def steps_for(solver: str, calls: int, model: mmdiff.Diffusion) -> int:
    """How many steps `calls` network calls pay for (Heun makes two a step)."""
    costs = ((n, SOLVERS[solver](n).plan(model.schedule).calls) for n in range(calls, 0, -1))
    return next(steps for steps, cost in costs if cost <= calls)


def minutes(made: dict[str, Any]) -> float:
    """Of training: CPU-minutes, which are minutes times threads, where it was on a CPU."""
    threads = re.search(r"(\d+) threads", str(made.get("device")))
    return float(made.get("minutes", 0)) * (int(threads[1]) if threads else 1)


def digest(model: torch.nn.Module) -> str:
    """Of the weights: a model that was trained again is measured again."""
    total = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        total.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    return total.hexdigest()[:12]


def jobs(args: Any) -> Iterator[tuple[str, Any, str, int]]:
    """Name, model, solver and calls of all that is asked for."""
    if not args.training:
        model = mmdiff.load("digits", device=args.device)
        for solver in args.solvers:
            for calls in args.calls:
                yield "digits", model, solver, calls
    for path in sorted(path for folder in args.training for path in folder.rglob("*.safetensors")):
        try:
            model = mmdiff.load(path, device=args.device)
        except mmdiff.UserError as error:
            print(f"skipped: {error}")  # run folders also hold what resuming needs
        else:
            yield str(model.info.made.get("preset", path.parent.name)), model, *TRAINING


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--training", nargs="+", type=Path, metavar="RUN_DIR", default=[])
    made.add_argument("--solvers", nargs="+", choices=SOLVERS, default=list(SOLVERS))
    made.add_argument("--calls", nargs="+", type=int, default=[5, 10, 20, 50, 100, 1000])
    made.add_argument("--count", type=int, default=1_000)
    made.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    args = parse(made, solvers=["heun"], calls=[2, 3], count=20)
    mnist, bf16 = MNIST(args.data_dir), args.precision == "bfloat16"
    name = "image_training_curve.csv" if args.training else "image_quality.csv"
    key = ("weights", "solver", "calls", "count", "seed", "precision")
    rows = Rows(args.out / name, key)
    for model_name, model, solver, calls in jobs(args):
        row = {
            "model": model_name, "weights": digest(model), "solver": solver, "calls": calls,
            "count": args.count, "seed": 0, "precision": args.precision,
        }  # fmt: skip
        if row in rows:
            continue
        steps = steps_for(solver, calls, model)
        sampling = Sampling(solver, steps, clip=model.info.modality.data_range)
        with torch.autocast(args.device, torch.bfloat16, enabled=bf16):
            row |= {"steps": steps, "minutes": minutes(model.info.made)}
            row |= mnist.judge(model, sampling, args.count)
        rows.add({**row, "machine": machine(args.device)})


if __name__ == "__main__":
    main()
