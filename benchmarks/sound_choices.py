"""What an enhancer owes to each choice in its recipe.

    python benchmarks/sound_choices.py data/voices data/noises      # twenty minutes of a core

recipes/voices.py writes the folders. The recipe of `mmdiff train --task enhance`, and the same with
one thing changed, are trained for as many steps of the same batches. Then each cleans clips of
voices and noises that nobody trained on, as in sound_from_sound.py: all of them in noise at 0, 5,
10 and 15 dB. A figure is the mean over these, and how much more it is than of the input; its 95%
interval is from a bootstrap over clips. A run that was stopped is gone on with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from networks import parameters
from rows import Rows, about, parse, parser
from sound_from_sound import FIGURES, RATE, SNRS, averaged, clips, damaged, work

import mmdiff
from mmdiff.audio import Sound, convert, sound, transforms
from mmdiff.diffusion import Diffusion
from mmdiff.nn import MDCT, Gated, Residual, UNet
from mmdiff.recipe import Recipe

RUNS = Path("runs/choices")


def alone_in_time(usual: Diffusion) -> dict[str, Any]:
    """A network along time alone, of twice the weights, on coefficients of an MDCT."""
    codec = Residual(MDCT(256))
    told = {name: kind.inside(codec.inner) for name, kind in usual.conditions.items()}
    torch.manual_seed(0)
    network = UNet(1, 256, 3 * 256, (128, 144, 176), conditions=told, local=True)
    return {"codec": codec, "backbone": Gated(network, ["source"])}


CHANGES: dict[str, Callable[[Any], dict[str, Any]]] = {
    "as it is": lambda usual: {},
    "flow on Linear": lambda usual: {"prediction": "flow", "schedule": mmdiff.Linear()},
    "the sound, not the residual": lambda usual: {"codec": usual.codec.inner},
    "faint noise counts less": lambda usual: {"weighting": "uniform"},
    "over time alone": alone_in_time,
}


def changed(data: Any, change: str, steps: int) -> Recipe:
    recipe = transforms.enhance(data)
    usual: Any = recipe.model
    model = Diffusion(**{**usual.config, **CHANGES[change](usual)})
    return replace(recipe, model=model, steps=steps, samples=0)


def main() -> None:
    made = parser(__doc__, steps=400, count=16, calls=(1, 8), changes=list(CHANGES), runs=RUNS)
    made.add_argument("voices", type=Path, help="a folder with folders train and test")
    made.add_argument("noises", type=Path, help="likewise")
    args = parse(made, steps=2, count=2, calls=(1,), changes=list(CHANGES)[1:3])
    runs = args.out / "runs" if args.quick else args.runs
    rows = Rows(args.out / "sound_choices.csv", ("change", "calls"))
    how: dict[str, Any] = {"seconds": 2.0, "task": "enhance", "noise": f"folder:{args.noises}"}
    data, held_out = (
        Sound.open(f"folder:{args.voices}", split, **how) for split in ("train", "test")
    )
    noises = {path.stem: sound.read(path)[0] for path in (args.noises / "test").glob("*.wav")}
    done = damaged(clips(args.voices / "test", args.count), dict(sorted(noises.items())))
    groups = [done[f"{snr} dB"] for snr in SNRS]
    first = averaged([work(lambda x: x, group, FIGURES["enhance"]) for group in groups])
    for change in args.changes:
        out = runs / change.replace(" ", "_").replace(",", "")
        recipe = changed(data, change, args.steps)
        model = mmdiff.load(mmdiff.train(recipe, data, held_out, out, resume=out.exists()))
        for calls in args.calls:
            clean = partial(convert.enhance, sample_rate=RATE, model=model, steps=calls)
            found = averaged([work(clean, group, FIGURES["enhance"]) for group in groups])
            rows.add({
                "change": change, "calls": calls, "parameters": parameters(model.backbone),
                "steps": args.steps, "clips": args.count, **found.columns(first), **about(),
            })  # fmt: skip


if __name__ == "__main__":
    main()
