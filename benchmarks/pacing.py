"""How many training steps fit into some minutes, so that a learning rate falls to 0 with them."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from torch.utils.data import Subset

from mmdiff import Recipe
from mmdiff.training.trainer import Trainer

ROUNDS, STEPS = 5, 10

Make = Callable[[int, Path], Trainer]  # of (steps, folder)


def trainer(recipe: Recipe, data: Any, held_out: Any, device: str, steps: int, out: Path) -> Any:
    """A `Trainer` of so many steps, with one look at the end; it goes on with a run in `out`."""
    recipe = replace(recipe, steps=steps, look_every=steps)
    resume = (out / "resume" / "state.safetensors").exists()
    return Trainer(recipe, data, held_out, out, device, resume)


def paces(makes: Mapping[str, Make], path: Path, quick: bool = False) -> dict[str, float]:
    """Minutes that a training step takes, by name; kept in the JSON file `path`.

    All take turns in every round, and the least of a name's turns counts: what the machine does
    when nothing else runs there. Names that come to a file later take turns with those of `makes`
    that are in it, and what they need is put in proportion (the median of these): one name is never
    compared with what another had on another day. If none is there, all are timed anew.
    """
    known: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}
    if makes.keys() <= known.keys():
        return known
    turns = dict.fromkeys(makes, math.inf)
    for _ in range(1 if quick else ROUNDS):
        for name, make in makes.items():
            turns[name] = min(turns[name], _turn(make, 1 if quick else STEPS))
    then = [known[name] / turns[name] for name in makes if name in known]
    if then:
        known |= {name: turns[name] * median(then) for name in makes if name not in known}
    else:
        known = turns
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(known, indent=2) + "\n")
    return known


def _turn(make: Make, steps: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        made = make(steps, Path(folder))
        made.held_out = Subset(made.held_out, range(1))
        made.fit()
        return made.progress.minutes / steps
