"""What is known before sampling begins: the model, and how to sample from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mmdiff import devices
from mmdiff.checkpoints import load
from mmdiff.cli.plain import arguments
from mmdiff.diffusion import Diffusion
from mmdiff.errors import UserError
from mmdiff.joint import Joint
from mmdiff.sampling import Sampling


def open_model(checkpoint: str, device: str) -> Diffusion:
    """The model of a bundled name or a path, of which a modality is known.

    Raises:
        UserError: no such checkpoint or device; a model of signals without files.
    """
    model = load(checkpoint, device=devices.choose(device))
    if model.info.modality is None:
        raise UserError(
            f"{checkpoint} makes signals of shape {model.info.shape} of no modality that files are "
            "known of: use mmdiff.sample in Python."
        )
    return model


def settings(model: Diffusion, shape: Sequence[int], checkpoint: str, **given: Any) -> Sampling:
    """What the checkpoint recommends for a sample of `shape`, but for what is `given` (not None).

    Whatever cannot work is found here, before any work begins.

    Raises:
        UserError: settings that do not go with the model or with each other.
    """
    with arguments():
        sampling: Sampling = replace(
            model.info.sampling, **{name: v for name, v in given.items() if v is not None}
        )
        sampling.method().plan(model.schedule)
    if given.get("spin") and isinstance(model, Joint):
        raise UserError("each part of a joint model is spun as its own: leave --spin out.")
    if sampling.guidance not in (None, 1) and not model.guidable:
        raise UserError(f"{checkpoint} knows no classes to be guided by: use --guidance 1.")
    if sampling.spin > min(shape[1:]):
        raise UserError(
            f"--spin {sampling.spin} shifts by more than a whole side of {min(shape[1:])}: use a "
            "smaller one."
        )
    return sampling
