"""Restoring: a trained model as the prior of inverse problems, with any operator, as deepinv's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmdiff.restore.drawing import usual
from mmdiff.restore.physics import Filter, Linear, Mask, Room, gaussian, lowpass
from mmdiff.restore.tasks import (
    clip_level,
    colour,
    continue_to,
    deblur,
    declip,
    denoise,
    enlarge,
    extend,
    fill,
    restore,
    unroom,
    vary,
    widen,
)

if TYPE_CHECKING:
    from mmdiff.restore.adapters import Denoiser, from_denoiser

__all__ = [
    "Denoiser",
    "Filter",
    "Linear",
    "Mask",
    "Room",
    "clip_level",
    "colour",
    "continue_to",
    "deblur",
    "declip",
    "denoise",
    "enlarge",
    "extend",
    "fill",
    "from_denoiser",
    "gaussian",
    "lowpass",
    "restore",
    "unroom",
    "usual",
    "vary",
    "widen",
]


def __getattr__(name: str) -> Any:
    if name in ("Denoiser", "from_denoiser"):  # deepinv is slow to import
        from mmdiff.restore import adapters

        return getattr(adapters, name)
    raise AttributeError(f"module 'mmdiff.restore' has no attribute {name!r}")
