"""mmdiff: one diffusion core, any signal.

    model = mmdiff.load("digits")
    x = mmdiff.sample(model, (64, 1, 28, 28), mmdiff.DPMpp2M(20), seed=0, label=...)

What is named here is imported when it is first used: `import mmdiff` alone costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmdiff import audio, image, joint, metrics, nn, restore, training
    from mmdiff.checkpoints import Info, load, register, save
    from mmdiff.conditions import Class, Signal, Tokens, Vector
    from mmdiff.diffusion import Diffusion
    from mmdiff.errors import UserError
    from mmdiff.joint import Joint
    from mmdiff.picard import picard
    from mmdiff.posterior import Posterior
    from mmdiff.recipe import Recipe
    from mmdiff.sampling import Sampling, sample
    from mmdiff.schedules import Cosine, Linear, LinearBeta, Schedule, Trigonometric
    from mmdiff.solvers import DDIM, DDPM, SOLVERS, DPMpp2M, DPMpp2MSDE, Heun
    from mmdiff.steering import Clip, Guidance, Known, Spin
    from mmdiff.training.train import train

__version__ = "0.2.0"

_HOME = {
    "Class": "conditions",
    "Clip": "steering",
    "Cosine": "schedules",
    "DDIM": "solvers",
    "DDPM": "solvers",
    "DPMpp2M": "solvers",
    "DPMpp2MSDE": "solvers",
    "Diffusion": "diffusion",
    "Guidance": "steering",
    "Heun": "solvers",
    "Info": "checkpoints",
    "Joint": "joint",
    "Known": "steering",
    "Linear": "schedules",
    "LinearBeta": "schedules",
    "Posterior": "posterior",
    "Recipe": "recipe",
    "SOLVERS": "solvers",
    "Sampling": "sampling",
    "Schedule": "schedules",
    "Signal": "conditions",
    "Spin": "steering",
    "Tokens": "conditions",
    "Trigonometric": "schedules",
    "UserError": "errors",
    "Vector": "conditions",
    "load": "checkpoints",
    "picard": "picard",
    "register": "checkpoints",
    "sample": "sampling",
    "save": "checkpoints",
    "train": "training.train",
}
_PACKAGES = ("audio", "image", "joint", "metrics", "nn", "restore", "training")

__all__ = [
    "DDIM",
    "DDPM",
    "SOLVERS",
    "Class",
    "Clip",
    "Cosine",
    "DPMpp2M",
    "DPMpp2MSDE",
    "Diffusion",
    "Guidance",
    "Heun",
    "Info",
    "Joint",
    "Known",
    "Linear",
    "LinearBeta",
    "Posterior",
    "Recipe",
    "Sampling",
    "Schedule",
    "Signal",
    "Spin",
    "Tokens",
    "Trigonometric",
    "UserError",
    "Vector",
    "audio",
    "image",
    "joint",
    "load",
    "metrics",
    "nn",
    "picard",
    "register",
    "restore",
    "sample",
    "save",
    "train",
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
