"""How many training steps fit into some minutes, so that a learning rate falls to 0 with them."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

from torch.utils.data import Subset

from mmdiff.tensorfile import read
from mmdiff.training.trainer import Trainer

ROUNDS, STEPS = 5, 10

Make = Callable[[int, Path, bool], Trainer]  # of (steps, folder, resume)


def paces(makes: Mapping[str, Make], path: Path) -> dict[str, float]:
    """Minutes that a training step takes, by name; kept in the JSON file `path`.

    All take turns in every round, and the least of a name's turns counts: what the machine does
    when nothing else runs there. So work beside the benchmark favours none of them. Validation and
    saving are not counted. Names that come to a file later take turns with those of `makes` that
    are in it, and what they need is put in proportion (the median of these): one name is never
    compared with what another had on another day. If none is there, all are timed anew.
    """
    known: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}
    if makes.keys() <= known.keys():
        return known
    turns = dict.fromkeys(makes, math.inf)
    for _ in range(ROUNDS):
        for name, make in makes.items():
            turns[name] = min(turns[name], _turn(make))
    then = [known[name] / turns[name] for name in makes if name in known]
    if then:
        known |= {name: turns[name] * median(then) for name in makes if name not in known}
    else:
        known = turns
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(known, indent=2) + "\n")
    return known


def _turn(make: Make) -> float:
    with tempfile.TemporaryDirectory() as folder:
        trainer = make(STEPS, Path(folder), False)
        trainer.validation = Subset(trainer.validation, range(1))
        trainer.fit(every=STEPS)
        return trainer.progress.minutes / STEPS


def train_for(minutes: float, pace: float, make: Make, out: Path) -> Trainer:
    """A trainer that has trained as many steps as `pace` allows in `minutes`, in `out`.

    Or that has gone on with a run there.
    """
    state = out / "resume" / "state.safetensors"
    resume = state.exists()
    steps = read(state)[1]["settings"]["steps"] if resume else max(1, round(minutes / pace))
    trainer = make(steps, out, resume)
    trainer.fit(every=steps)  # one look, at the end
    return trainer
