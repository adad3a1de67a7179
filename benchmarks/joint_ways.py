"""A bridge, or one transformer: which makes the better pairs of the same minutes?

    python benchmarks/joint_ways.py --data-dir data                # an hour on one CPU core

Written and spoken digits together, by a bridge between the bundled models, which are trained
already; by a bridge between two fresh networks, as `mmdiff train --pair` makes it; and by one
transformer over the tokens of both. Each is trained for as many minutes, one after the other: as
many steps as they hold at the pace that `pacing.py` finds. Then the averaged weights draw, told no
label, and the bundled judges read and listen. A run that was stopped is gone on with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from networks import parameters
from pacing import paces, trainer
from rows import Rows, about, digits, parse, parser
from torch.utils.data import Subset

import mmdiff
from mmdiff.audio import Sound
from mmdiff.image import Pictures
from mmdiff.joint import Bundled, Joint, Pairs, Shares
from mmdiff.joint.presets import bridged
from mmdiff.metrics.joint import evaluate_duet
from mmdiff.nn import MDCT, Bridge, Ends, FrontEnd, SharedTrunk
from mmdiff.recipe import Recipe

RUNS = Path("runs/joint_ways")
PATCH, BLOCK = 4, 32  # pixels and samples that a token of the transformer holds


def between_trained(data: Any) -> Recipe:
    """As recipes/duet.py has it."""
    parts = {"picture": Bundled("digits"), "sound": Bundled("speech")}
    bridge = Bridge({"picture": 128, "sound": 256}, width=128, depth=3)
    model = Joint(parts, bridge, shares=Shares(0.4, 0.5, 0.0, 0.1), taught=True, given_at=0.1)
    return replace(bridged(data), model=model)


def between_fresh(data: Any) -> Recipe:
    """Told no labels, like the others."""
    recipe = bridged(data)
    model: Any = recipe.model
    return replace(recipe, model=Joint(**{**model.config, "hide": 1.0}))


def one_transformer(data: Any) -> Recipe:
    recipe = bridged(data)
    ends = {
        "picture": Ends(2, 1, 1, 256, PATCH),
        "sound": FrontEnd(MDCT(BLOCK), Ends(1, BLOCK, BLOCK, 256, 1)),
    }
    parts = {
        name: mmdiff.Diffusion(end, mmdiff.Trigonometric(), "x0", "v", times="logit_normal")
        for name, end in ends.items()
    }
    rate = data.parts["sound"].sample_rate
    axes = {"picture": dict.fromkeys(("height", "width"), PATCH), "sound": {"time": BLOCK / rate}}
    fresh: Any = recipe.model
    return replace(recipe, model=Joint(parts, SharedTrunk(axes), infos=fresh.config["infos"]))


WAYS: dict[str, Callable[[Any], Recipe]] = {
    "a bridge between trained models": between_trained,
    "a bridge between fresh networks": between_fresh,
    "one transformer": one_transformer,
}


def make(data: Any, held_out: Any, device: str, way: str, steps: int, out: Path) -> Any:
    torch.manual_seed(0)
    recipe = replace(WAYS[way](data), warmup=100, ema=0.999)
    return trainer(recipe, data, held_out, device, steps, out)


def main() -> None:
    made = parser(__doc__, count=200, ways=list(WAYS), runs=RUNS)
    made.add_argument("--minutes", type=float, default=15, help="of training, for each")
    args = parse(made, minutes=1e-3, count=4, ways=list(WAYS)[::2])
    runs = (args.out / "runs" if args.quick else args.runs) / args.device
    rows = Rows(args.out / "joint_ways.csv", ("way", "planned_minutes", "device"))
    data, held_out = (
        Pairs({
            "picture": Pictures.open("mnist", split, args.data_dir),
            "sound": Sound.open("fsdd", split, args.data_dir),
        })
        for split in ("train", "test")
    )  # fmt: skip
    few: Any = Subset(held_out, range(16))  # type: ignore[arg-type]  # the trainer wants some
    makes = {way: partial(make, data, few, args.device, way) for way in args.ways}
    pace = paces(makes, runs / "pace.json", args.quick)
    for way in args.ways:
        row = {"way": way, "planned_minutes": f"{args.minutes:g}", "device": args.device}
        if row in rows:
            continue
        out = runs / f"{way.replace(' ', '_')}-{args.minutes:g}min"
        done = makes[way](max(1, round(args.minutes / pace[way])), out)
        done.fit()
        model = mmdiff.load(out / "model.safetensors", device=args.device)
        sampling = mmdiff.Sampling("dpmpp2msde", 2 if args.quick else 50, guidance=3.0)
        found = evaluate_duet(
            model,
            replace(sampling, interval=(0.5, 1.0)),
            args.count,
            data_dir=args.data_dir,
            progress=False,
        )
        rows.add({
            **row, "trained": parameters(model), "minutes": digits(done.progress.minutes),
            "steps": done.progress.step, "count": args.count, "agree": found.agreement,
            "sound_from_picture": found.sound_from_picture,
            "picture_from_sound": found.picture_from_sound,
            "picture_frechet": digits(found.picture.frechet),
            "picture_floor": digits(found.picture.floor),
            "sound_frechet": digits(found.sound.frechet),
            "sound_floor": digits(found.sound.floor), **about(args.device),
        })  # fmt: skip


if __name__ == "__main__":
    main()
