"""How good are the digits for the network calls spent, and for the CPU-minutes trained?

    python benchmarks/image_quality.py --data-dir data
    python benchmarks/image_quality.py --data-dir data --training runs/fast runs/thesis

The first samples one checkpoint with every solver at several numbers of network calls; the second
samples every checkpoint in run folders with one solver. A measured row is kept in a CSV file at
once and not measured again. Distances depend on the number of samples, so each stands beside the
floor at that number: what as many training images measure.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from machine import machine
from matplotlib.figure import Figure
from torch import Tensor

import mmdiff
from mmdiff.image.datasets import open_images
from mmdiff.metrics.frechet import training_part
from mmdiff.metrics.images import evaluate_images, sample_digits, stack
from mmdiff.solvers import SOLVERS, Solver
from mmdiff.training.checkpoints import Pretrained

TRAINING_SOLVER, TRAINING_CALLS = "dpmpp2msde", 25


@dataclass(frozen=True)
class Row:
    """One measurement; the fields before `steps` are its key."""

    model: str
    weights: str  # a digest: a model that was trained again is measured again
    solver: str
    calls: int
    count: int
    seed: int
    precision: str  # of the network: float32, or bfloat16 by autocast
    steps: int
    minutes: float  # of training, times threads on a CPU; 0 if the checkpoint does not say
    accuracy: float | None
    frechet: float
    floor: float
    seconds: float  # of sampling
    machine: str

    @property
    def key(self) -> tuple[str, str, int, int, int, str]:
        return self.weights, self.solver, self.calls, self.count, self.seed, self.precision

    @property
    def ratio(self) -> float:
        return self.frechet / self.floor


def read(path: Path) -> list[Row]:
    """The rows measured so far."""
    if not path.exists():
        return []
    convert: dict[str, Callable[[str], Any]] = {
        "str": str,
        "int": int,
        "float": float,
        "float | None": lambda text: float(text) if text else None,
    }
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Row(**{f.name: convert[str(f.type)](line[f.name]) for f in fields(Row)})
            for line in csv.DictReader(file)
        ]


def append(path: Path, row: Row) -> None:
    """Add `row` so that an interruption right after loses nothing."""
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(Row)])
        if new:
            writer.writeheader()
        writer.writerow(asdict(row))


def solver_for(name: str, calls: int, model: mmdiff.Diffusion) -> Solver:
    """The solver with as many steps as `calls` network calls pay for (Heun makes two a step)."""
    solvers = (SOLVERS[name](steps) for steps in range(calls, 0, -1))
    return next(s for s in solvers if s.plan(model.schedule).calls <= calls)


def minutes(made: Mapping[str, Any]) -> float:
    """Of training: CPU-minutes, which are minutes times threads, where it was on a CPU."""
    threads = re.search(r"(\d+) threads", str(made.get("device")))
    return float(made.get("minutes", 0)) * (int(threads[1]) if threads else 1)


def digest(model: torch.nn.Module) -> str:
    total = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        total.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    return total.hexdigest()[:12]


@dataclass
class Bench:
    """Measures rows that are not in the CSV file yet."""

    path: Path
    test: Tensor
    train: Tensor
    train_labels: Tensor
    seed: int
    batch: int
    precision: str

    def __post_init__(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.rows = read(self.path)

    def measure(self, name: str, model: Pretrained, solver: str, calls: int, count: int) -> Row:
        key = (digest(model), solver, calls, count, self.seed, self.precision)
        found = next((row for row in self.rows if row.key == key), None)
        if found is not None:
            return found
        scheme = solver_for(solver, calls, model)
        start = time.perf_counter()
        wanted = training_part(self.train_labels, count)
        bf16 = self.precision == "bfloat16"
        with torch.autocast(next(model.parameters()).device.type, torch.bfloat16, enabled=bf16):
            samples, labels = sample_digits(model, scheme, wanted, seed=self.seed, batch=self.batch)
        seconds = time.perf_counter() - start
        report = evaluate_images(samples, labels, self.test, self.train, neighbours=False)
        row = Row(
            model=name,
            weights=key[0],
            solver=solver,
            calls=calls,
            count=count,
            seed=self.seed,
            precision=self.precision,
            steps=scheme.steps,
            minutes=minutes(model.info.made),
            accuracy=report.accuracy,
            frechet=report.frechet,
            floor=report.floor,
            seconds=seconds,
            machine=machine(next(model.parameters()).device.type),
        )
        append(self.path, row)
        self.rows.append(row)
        print(line(row), flush=True)
        return row


HEAD = (
    "| model | solver | calls | steps | samples | CPU-minutes of training | accuracy | Fréchet "
    "| floor | ratio | ms a digit |\n"
    "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
)


def line(row: Row) -> str:
    accuracy = "" if row.accuracy is None else f"{row.accuracy:.2%}"
    return (
        f"| {row.model} | {row.solver} | {row.calls} | {row.steps} | {row.count} "
        f"| {row.minutes:.1f} | {accuracy} | {row.frechet:.4f} | {row.floor:.4f} "
        f"| {row.ratio:.2f} | {1000 * row.seconds / row.count:.1f} |"
    )


def write_table(path: Path, title: str, rows: list[Row]) -> None:
    machines = "; ".join(sorted({row.machine for row in rows}))
    precisions = " and ".join(sorted({row.precision for row in rows}))
    note = f"Measured on: {machines}; network in {precisions}."
    text = "\n".join([f"# {title}", "", note, "", HEAD, *map(line, rows)])
    path.write_text(text + "\n", encoding="utf-8")


def plot(path: Path, groups: dict[str, list[tuple[float, Row]]], x_label: str, log: bool) -> None:
    """Distance over floor, and accuracy, against x."""
    counts = {row.count for points in groups.values() for _, row in points}
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, points in groups.items():
        points = sorted(points, key=lambda point: point[0])
        left.plot([x for x, _ in points], [row.ratio for _, row in points], "o-", label=name)
        read = [(x, row.accuracy) for x, row in points if row.accuracy is not None]
        if read:
            right.plot([x for x, _ in read], [100 * value for _, value in read], "o-", label=name)
    left.axhline(1, color="grey", linestyle=":", label="training images (floor)")
    left.set(ylabel=f"Fréchet distance / floor, {min(counts):,} samples", yscale="log")
    right.set(ylabel="accuracy of labelled samples, %")
    for axes in (left, right):
        axes.set(xlabel=x_label, **({"xscale": "log"} if log else {}))
        axes.grid(alpha=0.3, which="both")
    left.legend()
    figure.savefig(path, dpi=120)


def by_calls(bench: Bench, args: argparse.Namespace) -> None:
    model = mmdiff.load(args.checkpoint, device=args.device)
    name = Path(args.checkpoint).stem
    for solver in args.solvers:
        for calls in args.calls:
            row = bench.measure(name, model, solver, calls, args.count)
            # With what earlier runs measured of the same model in the same way.
            same = (row.weights, row.count, row.seed, row.precision)
            rows = [r for r in bench.rows if (r.weights, r.count, r.seed, r.precision) == same]
            rows.sort(key=lambda row: (row.solver, row.calls))
            write_table(args.out / "image_quality.md", "Digits against network calls", rows)
    groups: dict[str, list[tuple[float, Row]]] = {}
    for row in rows:
        groups.setdefault(row.solver, []).append((float(row.calls), row))
    plot(args.out / "image_quality.png", groups, "network calls a sample", log=True)


def by_training(bench: Bench, args: argparse.Namespace) -> None:
    rows: list[Row] = []
    groups: dict[str, list[tuple[float, Row]]] = {}
    for path in checkpoints(args.training):
        try:
            model = mmdiff.load(path, device=args.device)
        except mmdiff.UserError as error:
            print(f"skipped: {error}")  # run folders also hold what resuming needs
            continue
        made = model.info.made
        if "minutes" not in made:
            print(f"skipped: {path} does not say how long it was trained.")
            continue
        preset = str(made.get("preset", path.parent.name))
        row = bench.measure(preset, model, TRAINING_SOLVER, TRAINING_CALLS, args.count)
        rows.append(row)
        groups.setdefault(preset, []).append((row.minutes, row))
    if not rows:
        raise SystemExit("no checkpoint in these folders says how long it was trained.")
    rows.sort(key=lambda row: (row.model, row.minutes))
    title = "Digits against CPU-minutes of training"
    write_table(args.out / "image_training_curve.md", title, rows)
    plot(args.out / "image_training_curve.png", groups, "CPU-minutes of training", log=True)


def checkpoints(folders: Iterable[Path]) -> list[Path]:
    return sorted(path for folder in folders for path in folder.rglob("*.safetensors"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", nargs="?", default="digits", help="a name or a path")
    parser.add_argument("--training", nargs="+", type=Path, metavar="RUN_DIR")
    parser.add_argument("--solvers", nargs="+", choices=SOLVERS, default=list(SOLVERS))
    parser.add_argument("--calls", nargs="+", type=int, default=[5, 10, 20, 50, 100, 1000])
    parser.add_argument("--count", type=int, default=1_000)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--batch", type=int, default=250)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    args = parser.parse_args()
    test, _ = stack(open_images("mnist", "test", args.data_dir))
    train, train_labels = stack(open_images("mnist", "train", args.data_dir))
    name = "image_training_curve.csv" if args.training else "image_quality.csv"
    bench = Bench(args.out / name, test, train, train_labels, args.seed, args.batch, args.precision)
    (by_training if args.training else by_calls)(bench, args)


if __name__ == "__main__":
    main()
