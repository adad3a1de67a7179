"""Which network makes the better digits of the same minutes of training?

    python benchmarks/digits_per_hour.py --data-dir data                # 25 minutes on two cores
    python benchmarks/digits_per_hour.py --data-dir data --minutes 20

Each network, of about the same number of parameters, is trained by the same trainer and settings
(`--preset fast`) for as many minutes, one after the other. How many steps these hold is found by
timing some steps first, so that the learning rate reaches 0 when the minutes end; its warm-up is a
tenth of the steps where the preset's would be longer. Then 1,000 labelled digits are drawn from the
averaged weights in 25 network calls and judged. Validation and saving are not counted as training.

A finished row is kept in a CSV file and not made again; a run that was stopped is gone on with.
"""

from __future__ import annotations

import argparse
import csv
import time
from functools import partial
from pathlib import Path

import torch
from machine import machine
from networks import EQUAL, LABELS, NETWORKS, SHAPE, parameters, register
from pacing import paces, train_for
from torch.utils.data import Subset

import mmdiff
from mmdiff.errors import Interrupted
from mmdiff.image.datasets import Images, open_images
from mmdiff.metrics.frechet import training_part
from mmdiff.metrics.images import evaluate_images, sample_digits, stack
from mmdiff.training.checkpoints import Info
from mmdiff.training.images import PRESETS
from mmdiff.training.runs import configure
from mmdiff.training.trainer import Trainer

RESULTS = Path(__file__).parent / "results"
RECIPE = PRESETS["fast"]
HELD_OUT = 16  # images: the trainer wants some, and their loss is not looked at here

Row = dict[str, str]


class Bench:
    """The data, and how the networks are trained on it."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.seed, self.minutes, self.device = args.seed, args.minutes, args.device
        self.data: Images = open_images("mnist", "train", args.data_dir)
        self.test: Images = open_images("mnist", "test", args.data_dir)
        self.train_images, self.train_labels = stack(self.data)
        self.test_images, _ = stack(self.test)

    def trainer(self, name: str, steps: int, out: Path, resume: bool) -> Trainer:
        config, _ = configure(RECIPE.training, len(self.data), 1, steps, self.seed)
        model = RECIPE.model(self.data, self.seed)
        torch.manual_seed(self.seed)
        model.backbone = NETWORKS[name]()
        info = Info(SHAPE, labels=LABELS, dataset="mnist", made={"network": name})
        held_out = Subset(self.test, range(HELD_OUT))
        return Trainer(model, self.data, held_out, config, out, info, self.device, resume)


def measure(bench: Bench, name: str, pace: float, count: int, out: Path) -> Row:
    """Train, sample and judge."""
    trainer = train_for(bench.minutes, pace, partial(bench.trainer, name), out)
    model = mmdiff.load(out / "model.safetensors", device=bench.device)
    start = time.perf_counter()
    asked = training_part(bench.train_labels, count)
    samples, labels = sample_digits(model, RECIPE.solver, asked, seed=bench.seed)
    seconds = time.perf_counter() - start
    report = evaluate_images(
        samples, labels, bench.test_images, bench.train_images, neighbours=False
    )
    images = trainer.progress.step * trainer.config.batch
    return {
        "network": name,
        "planned_minutes": f"{bench.minutes:g}",
        "seed": str(bench.seed),
        "samples": str(count),
        "device": bench.device,
        "parameters": str(parameters(model.backbone)),
        "minutes": f"{trainer.progress.minutes:.2f}",
        "steps": str(trainer.progress.step),
        "epochs": f"{images / len(bench.data):.2f}",
        "images_per_second": f"{images / trainer.progress.minutes / 60:.1f}",
        "accuracy": f"{report.accuracy:.4f}",
        "frechet": f"{report.frechet:.3f}",
        "floor": f"{report.floor:.3f}",
        "ratio": f"{report.ratio:.3f}",
        "sampling_seconds": f"{seconds:.1f}",
        "calls": str(RECIPE.solver.plan(model.schedule).calls),
        "machine": f"{machine(bench.device)}, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
    }


def keep(path: Path, rows: list[Row]) -> None:
    """Write the rows to the CSV file and as a table beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    hidden = ("planned_minutes", "device", "machine", "torch")
    names = [name for name in rows[0] if name not in hidden]
    lines = [
        "# Digits of equal minutes of training",
        "",
        "Measured on: "
        + "; ".join(sorted({f"{row['machine']}, torch {row['torch']}" for row in rows}))
        + ". Settings of `--preset fast`; Fréchet distances to the test set, the floor is what as"
        " many training images have.",
        "",
        "| " + " | ".join(name.replace("_", " ") for name in names) + " |",
        "|---|" + "---:|" * (len(names) - 1),
        *("| " + " | ".join(row[name] for name in names) + " |" for row in rows),
    ]
    path.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=5, help="of training, for each network")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(EQUAL))
    parser.add_argument("--count", type=int, default=1000, help="digits to judge")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs/digits_per_hour"))
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    args = parser.parse_args()
    register()
    path = args.out / "digits_per_hour.csv"
    rows: list[Row] = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    bench = Bench(args)
    runs = args.runs / args.device
    pace = paces({name: partial(bench.trainer, name) for name in args.networks}, runs / "pace.json")
    for name in args.networks:
        key = (name, f"{args.minutes:g}", str(args.seed), str(args.count), args.device)
        if any(tuple(row.values())[: len(key)] == key for row in rows):
            continue
        folder = f"{name.replace(' ', '_')}-{args.minutes:g}min-seed{args.seed}"
        try:
            rows.append(measure(bench, name, pace[name], args.count, runs / folder))
        except Interrupted:
            raise SystemExit("stopped: run the same command to go on.") from None
        keep(path, rows)
    print(path.with_suffix(".md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
