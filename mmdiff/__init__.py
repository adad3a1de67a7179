"""mmdiff: one diffusion core, any signal.

    model = mmdiff.load("digits")
    x = mmdiff.sample(model, (64, 1, 28, 28), mmdiff.DPMpp2M(20), seed=0, label=...)

What is named here is imported when it is first used: `import mmdiff` alone costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmdiff import audio, image, metrics, nn, training
    from mmdiff.diffusion import Denoised, Diffusion
    from mmdiff.errors import UserError
    from mmdiff.guidance import Guidance
    from mmdiff.sampling import picard, sample
    from mmdiff.schedules import Cosine, LinearBeta, Schedule, Trigonometric
    from mmdiff.solvers import DDIM, DDPM, SOLVERS, DPMpp2M, DPMpp2MSDE, Heun
    from mmdiff.training.checkpoints import Info, Pretrained, load, save

__version__ = "0.1.0"

_HOME = {
    "Denoised": "diffusion",
    "Diffusion": "diffusion",
    "UserError": "errors",
    "Guidance": "guidance",
    "picard": "sampling",
    "sample": "sampling",
    "Cosine": "schedules",
    "LinearBeta": "schedules",
    "Schedule": "schedules",
    "Trigonometric": "schedules",
    "DDIM": "solvers",
    "DDPM": "solvers",
    "DPMpp2M": "solvers",
    "DPMpp2MSDE": "solvers",
    "Heun": "solvers",
    "SOLVERS": "solvers",
    "Info": "training.checkpoints",
    "Pretrained": "training.checkpoints",
    "load": "training.checkpoints",
    "save": "training.checkpoints",
}
_PACKAGES = ("audio", "image", "metrics", "nn", "training")

__all__ = [
    "DDIM",
    "DDPM",
    "SOLVERS",
    "Cosine",
    "DPMpp2M",
    "DPMpp2MSDE",
    "Denoised",
    "Diffusion",
    "Guidance",
    "Heun",
    "Info",
    "LinearBeta",
    "Pretrained",
    "Schedule",
    "Trigonometric",
    "UserError",
    "audio",
    "image",
    "load",
    "metrics",
    "nn",
    "picard",
    "sample",
    "save",
    "training",
]


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return import_module(f"mmdiff.{name}")
    if name in _HOME:
        value = getattr(import_module(f"mmdiff.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'mmdiff' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
