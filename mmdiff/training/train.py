"""Train a recipe on data, whatever they are, and leave something to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mmdiff.checkpoints import load
from mmdiff.errors import UserError
from mmdiff.objective import Objective
from mmdiff.recipe import Recipe
from mmdiff.training.looks import Looks
from mmdiff.training.trainer import Trainer


def train(
    recipe: Recipe,
    data: Any,
    held_out: Any,
    out: Path | str,
    *,
    device: str | torch.device = "auto",
    resume: bool = False,
) -> Path:
    """Train, watch it, and draw samples at the end; the path of the checkpoint.

    The folder `out` gets model.safetensors, samples and pictures of the progress, losses.csv,
    validation.csv, what TensorBoard shows, and what resuming needs.

    Args:
        recipe: the model and how to train it.
        data, held_out: data sets to train on and to validate with, see `Trainer`.
        out: a folder of this run's own.
        device: any of torch's, or "auto".
        resume: go on with the run in `out`.

    Raises:
        UserError, ValueError, Interrupted: what `Trainer` raises.
    """
    trainer = Trainer(recipe, data, held_out, out, device, resume)
    looks = Looks(trainer)
    trainer.fit(looks.watch)
    with trainer.running():
        looks.finish()
    return trainer.out / "model.safetensors"


def initialise(model: Objective, checkpoint: Path | str) -> str:
    """Begin with the weights of a checkpoint: whatever fits is taken; a sentence says what did not.

    Raises:
        UserError: no checkpoint, or one of which nothing fits.
    """
    given, own = load(checkpoint).state_dict(), model.state_dict()
    fits = {name: v for name, v in given.items() if name in own and own[name].shape == v.shape}
    if not fits:
        raise UserError(
            f"nothing of {checkpoint} fits this model, which is of another kind or size: choose "
            "the preset, size and front end that it was made with, or begin without it."
        )
    model.load_state_dict({**own, **fits})
    missing = sorted(own.keys() - fits.keys())
    if not missing:
        return f"begins with all {len(fits)} weights of {checkpoint}"
    some = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
    return (
        f"begins with {len(fits)} of {len(own)} weights of {checkpoint}; "
        f"fresh, for nothing there fits, are {some}"
    )
