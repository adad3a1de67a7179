"""How many training steps fit into some minutes, so that a learning rate falls to 0 with them."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from torch.utils.data import Subset

from mmdiff.tensorfile import read
from mmdiff.training.trainer import Trainer

ROUNDS, STEPS = 3, 10

Make = Callable[[int, Path, bool], Trainer]  # of (steps, folder, resume)


def paces(makes: Mapping[str, Make], path: Path) -> dict[str, float]:
    """Minutes that a training step takes, by name; kept in the JSON file `path`.

    All take turns in every round, and the least of a name's turns counts: what the machine does
    when nothing else runs there. So work beside the benchmark favours none of them. Validation and
    saving are not counted. Names that come to a file later take turns with one that is in it, and
    have its pace there times their ratio to it: one name is never compared with what another had on
    another day. They need such a name among `makes`; without one, all are timed anew.
    """
    known: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}
    if makes.keys() <= known.keys():
        return known
    reference = next((name for name in makes if name in known), None)
    turns = {name: math.inf for name in makes if name not in known or name == reference}
    for _ in range(ROUNDS):
        for name in turns:
            turns[name] = min(turns[name], _turn(makes[name]))
    if reference is None:
        known = turns
    else:
        day = known[reference] / turns[reference]
        known |= {name: turn * day for name, turn in turns.items() if name != reference}
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
