"""Which network makes the better digits of the same minutes of training?

    python benchmarks/digits_per_hour.py --data-dir data                # 25 minutes on two cores
    python benchmarks/digits_per_hour.py --data-dir data --minutes 20

Each network, of about the same number of parameters, is trained by the same recipe (`fast`) for as
many minutes, one after the other: as many steps as they hold at the pace that `pacing.py` finds.
Then the averaged weights draw labelled digits in 25 network calls, and the judge reads them. A run
that was stopped is gone on with.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from image_quality import MNIST
from networks import EQUAL, NETWORKS, parameters
from pacing import paces, trainer
from rows import Rows, about, digits, parse, parser
from torch.utils.data import Subset

import mmdiff
from mmdiff.image import presets

HELD_OUT = 16  # images: the trainer wants some, and their loss is not looked at here
RUNS = Path("runs/digits_per_hour")


def make(args: Any, mnist: MNIST, name: str, steps: int, out: Path) -> Any:
    recipe: Any = presets.fast(mnist.data)
    torch.manual_seed(0)
    recipe.model.backbone = NETWORKS[name]()
    held_out = Subset(mnist.held_out, range(HELD_OUT))
    return trainer(recipe, mnist.data, held_out, args.device, steps, out)


def main() -> None:
    made = parser(__doc__, networks=EQUAL, count=1000)
    made.add_argument("--minutes", type=float, default=5, help="of training, for each network")
    args = parse(made, minutes=1e-3, networks=("a-unet",), count=20)
    mnist, runs = MNIST(args.data_dir), RUNS / args.device
    makes = {name: partial(make, args, mnist, name) for name in args.networks}
    pace = paces(makes, runs / "pace.json", args.quick)
    key = ("network", "planned_minutes", "seed", "samples", "device")
    rows = Rows(args.out / "digits_per_hour.csv", key)
    for name in args.networks:
        planned = f"{args.minutes:g}"
        row = dict(zip(key, (name, planned, 0, args.count, args.device), strict=True))
        if row in rows:
            continue
        out = runs / f"{name.replace(' ', '_')}-{planned}min"
        done = makes[name](max(1, round(args.minutes / pace[name])), out)
        done.fit()
        model = mmdiff.load(out / "model.safetensors", device=args.device)
        sampling, progress = model.info.sampling, done.progress
        found = mnist.judge(model, sampling, args.count)
        images = progress.step * done.recipe.batch
        rows.add({
            **row, "optimizer": done.recipe.optimizer, "batch": done.recipe.batch,
            "parameters": parameters(model.backbone), "minutes": digits(progress.minutes),
            "steps": progress.step, "epochs": digits(images / len(mnist.data)),
            "images_per_second": digits(images / progress.minutes / 60), **found,
            "calls": sampling.method().plan(model.schedule).calls, **about(args.device),
        })  # fmt: skip


if __name__ == "__main__":
    main()
