"""The networks that gpu.py measures, and how it draws from them."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import torch
from gpu_timing import Setting, Work, awake, sentence

import mmdiff
from mmdiff import Diffusion
from mmdiff.solvers import Solver

RATE = 48_000


def seconds(setting: Setting) -> float:
    """Of the stereo sound at `RATE`."""
    return 0.05 if setting.quick else 5.0


def sound(setting: Setting) -> Diffusion:
    """What recipes/audio_v.py builds for that sound, without labels and untrained."""
    from mmdiff.training.audio import FRONTEND, PRESET  # needs packages that read sound

    size = (2, round(RATE * seconds(setting)))
    data: Any = SimpleNamespace(shape=size, labels=(), speakers=())
    model = PRESET.model(data, FRONTEND, seed=0)
    awake(model)
    return model.eval().requires_grad_(False)  # as `mmdiff.load` has it


def present(names: Iterable[str], setting: Setting) -> tuple[dict[str, Diffusion], list[str]]:
    """Of the bundled models and "sound" those that can be built, and a sentence for others."""
    models, missing = {}, []
    for name in names:
        try:
            model = sound(setting) if name == "sound" else mmdiff.load(name)
        except Exception as error:
            missing.append(f"{name} is left out ({sentence(error)}).")
        else:
            models[name] = model.to(setting.device)
    return models, missing


def shape(model: Diffusion, setting: Setting) -> tuple[int, ...]:
    """Of one sample of a bundled model, or of `sound`."""
    if isinstance(model, mmdiff.Pretrained):
        return model.info.shape
    return (2, round(RATE * seconds(setting)))


def span(model: Diffusion) -> tuple[float, float] | None:
    """The range that estimates of pictures are clipped to; None for sound."""
    if isinstance(model, mmdiff.Pretrained) and model.info.sample_rate is None:
        return model.info.data_range
    return None


def classes(model: Diffusion, batch: int, setting: Setting) -> dict[str, Any]:
    """Conditions, int64 [batch]: for each that the network has, its classes in turn."""
    known: Any = getattr(model.backbone, "conditions", {})
    turns = torch.arange(batch, device=setting.device)
    return {name: turns % count for name, count in known.items()}


def drawing(model: Diffusion, batch: int, solver: Solver, setting: Setting) -> Work:
    size, given = (batch, *shape(model, setting)), classes(model, batch, setting)
    return lambda: mmdiff.sample(model, size, solver, clip=span(model), **given)
