"""U-Net or transformer: which makes the better digits, speech and videos of the same minutes?

    python benchmarks/backbones.py --data-dir data                     # two hours on two CPU cores
    python benchmarks/backbones.py --data-dir data --tasks digits --minutes 20

Each preset is trained for as many minutes, one after the other: as many steps as they hold at the
pace that `pacing.py` finds. Then the averaged weights draw, with labels, as the preset recommends,
and the bundled judges read or listen. A run that was stopped is gone on with.

Before that, what a training step of one sample costs against the size of the signal: digits of
longer sides, speech of longer clips, larger and longer videos.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from image_quality import MNIST
from networks import classes, parameters
from pacing import paces, trainer
from rows import Row, Rows, about, digits, parse, parser
from timing import Work, rounds
from torch.utils.data import Subset

import mmdiff
from mmdiff.audio.modality import Sound
from mmdiff.image.modality import Pictures
from mmdiff.metrics.batches import draw, take
from mmdiff.metrics.frechet import training_part
from mmdiff.metrics.speech import evaluate_speech
from mmdiff.metrics.video import evaluate_video_model
from mmdiff.modality import recipe_of
from mmdiff.noise import Draws
from mmdiff.sampling import Sampling
from mmdiff.video.modality import Video

HELD_OUT = 16  # items: the trainer wants some, and their loss is not looked at here
RUNS = Path("runs/backbones")


class Speech:
    """Both splits of spoken digits, and the judge's word on samples."""

    def __init__(self, data_dir: Path | None) -> None:
        self.data = Sound.open("fsdd", "train", data_dir)
        self.held_out = Sound.open("fsdd", "test", data_dir)
        self.train = take(Sound.open("fsdd", "train", data_dir, shift=False, flip=False))
        self.test = take(self.held_out)

    def judge(self, model: mmdiff.Diffusion, sampling: Sampling, count: int) -> dict[str, Any]:
        told = {name: training_part(self.train[name], count) for name in self.data.conditions}
        samples = draw(model, sampling, count, told, progress=False)
        samples["x"] = samples["x"].clamp(-1, 1)
        report = evaluate_speech(samples, self.test, self.train, neighbours=False)
        return {
            "accuracy": report.accuracy, "frechet": digits(report.frechet),
            "floor": digits(report.floor),
        }  # fmt: skip


class Clips:
    """Both splits of moving digits, and the judge's word on samples."""

    def __init__(self, data_dir: Path | None) -> None:
        self.data_dir = data_dir
        self.data, self.held_out = (
            Video.open("moving-mnist", split, data_dir) for split in ("train", "test")
        )

    def judge(self, model: mmdiff.Diffusion, sampling: Sampling, count: int) -> dict[str, Any]:
        how: dict[str, Any] = {"data_dir": self.data_dir, "progress": False}
        report = evaluate_video_model(model, sampling, count, **how)
        return {
            "accuracy": report.accuracy, "frechet": digits(report.frechet),
            "floor": digits(report.floor),
        }  # fmt: skip


class Task(NamedTuple):
    """Data with a judge, presets by what they train, and what is not too much here."""

    modality: Any
    open: Callable[[Path | None], Any]
    presets: dict[str, str]
    samples: int = 1000
    sizes: tuple[int, ...] = (1, 2, 4)  # times the sides, or the length


TASKS = {
    "digits": Task(Pictures, MNIST, {"U-Net": "fast", "transformer": "transformer"}),
    "speech": Task(Sound, Speech, {"U-Net": "v", "transformer": "transformer"}),
    "video": Task(Video, Clips, {"U-Net": "v", "transformer": "transformer"}, 200, (1, 2)),
}


def costs(args: Any, name: str, data: Any) -> Iterator[Row]:
    """Milliseconds that the loss and its gradient take for one sample of each size."""
    task = TASKS[name]
    for size in task.sizes[:1] if args.quick else task.sizes:
        channels, *sides = data.shape
        larger = SimpleNamespace(
            shape=(channels, *(size * side for side in sides)),
            conditions=data.conditions, modality=data.modality,
        )  # fmt: skip
        works = {
            backbone: step(recipe_of(task.modality, preset, larger).model, larger.shape, args)
            for backbone, preset in task.presets.items()
        }
        for backbone, times in rounds(works, args.device, args.rounds).items():
            yield {
                "task": name, "backbone": backbone, "times_sides": size,
                "shape": "x".join(map(str, larger.shape)),
                "milliseconds": digits(1000 * median(times) / args.batch),
                "batch": args.batch, "device": args.device,
                **about(args.device),
            }  # fmt: skip


def step(model: Any, shape: tuple[int, ...], args: Any) -> Work:
    model.to(args.device).train()
    batch = {"x": torch.randn(args.batch, *shape, device=args.device)}
    batch |= classes(model, args.batch, args.device)
    draws = Draws(0, 0, torch.arange(args.batch, device=args.device), args.batch)
    return lambda: model.loss(batch, draws).backward()


def make(args: Any, task: Task, bench: Any, preset: str, steps: int, out: Path) -> Any:
    recipe = recipe_of(task.modality, preset, bench.data)
    held_out = Subset(bench.held_out, range(HELD_OUT))
    return trainer(recipe, bench.data, held_out, args.device, steps, out)


def main() -> None:
    made = parser(__doc__, count=1000, rounds=5, batch=8)
    made.add_argument("--tasks", nargs="+", choices=tuple(TASKS), default=tuple(TASKS))
    made.add_argument("--minutes", type=float, default=15, help="of training, for each run")
    args = parse(made, minutes=1e-3, count=20, rounds=1, batch=1)
    cost = Rows(args.out / "backbones_cost.csv", ("task", "backbone", "times_sides", "device"))
    key = ("task", "backbone", "planned_minutes", "seed", "samples", "device")
    rows = Rows(args.out / "backbones.csv", key)
    for name in args.tasks:
        task, runs = TASKS[name], RUNS / args.device / name
        count = min(args.count, task.samples)
        bench = task.open(args.data_dir)
        for row in costs(args, name, bench.data):
            cost.add(row)
        makes = {b: partial(make, args, task, bench, p) for b, p in task.presets.items()}
        pace = paces(makes, runs / "pace.json", args.quick)
        for backbone in task.presets:
            planned = f"{args.minutes:g}"
            one = (name, backbone, planned, 0, count, args.device)
            row = dict(zip(key, one, strict=True))
            if row in rows:
                continue
            out = runs / f"{backbone}-{planned}min"
            done = makes[backbone](max(1, round(args.minutes / pace[backbone])), out)
            done.fit()
            model = mmdiff.load(out / "model.safetensors", device=args.device)
            progress = done.progress
            rows.add({
                **row, "parameters": parameters(model.backbone),
                "minutes": digits(progress.minutes), "steps": progress.step,
                "epochs": digits(progress.step * done.recipe.batch / len(bench.data)),
                **bench.judge(model, model.info.sampling, count), **about(args.device),
            })  # fmt: skip


if __name__ == "__main__":
    main()
