"""How many training steps fit into some minutes, so that a learning rate falls to 0 with them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from mmdiff.tensorfile import read
from mmdiff.training.trainer import Trainer

FIRST_STEPS, TIMED_SHARE = 5, 0.05  # what is timed: a few steps, then this share of the minutes

Make = Callable[[int, Path, bool], Trainer]  # of (steps, folder, resume)


def train_for(minutes: float, make: Make, out: Path) -> Trainer:
    """A trainer that has trained for about `minutes` in `out`, or has gone on with a run there.

    Validation and saving are not counted as training.
    """
    state = out / "resume" / "state.safetensors"
    resume = state.exists()
    steps = read(state)[1]["settings"]["steps"] if resume else _steps(minutes, make)
    trainer = make(steps, out, resume)
    trainer.fit(every=steps)  # one look, at the end
    return trainer


def _steps(minutes: float, make: Make) -> int:
    first = _pace(FIRST_STEPS, make)
    timed = max(FIRST_STEPS, round(TIMED_SHARE * minutes / first))
    return max(1, round(minutes / _pace(timed, make)))


def _pace(steps: int, make: Make) -> float:
    """Minutes that a step takes, on average over `steps` that are then forgotten."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = make(steps, Path(folder), False)
        trainer.fit(every=steps)
        return trainer.progress.minutes / steps
