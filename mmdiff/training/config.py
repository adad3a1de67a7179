"""What a training run is told."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

Optimizer = Literal["adam", "adamw", "muon"]
Decay = Literal["constant", "cosine"]
Precision = Literal["no", "bf16"]
Times = Literal["uniform", "logit_normal"]


@dataclass(frozen=True)
class TrainingConfig:
    """The settings of a run; two runs with equal settings and data give equal weights.

    Attributes:
        steps: optimiser steps in all.
        batch: samples per optimiser step, over all processes and accumulated parts.
        lr: the learning rate after `warmup`.
        optimizer: "adam"; "adamw", or "muon" (see `Muon`), with a weight decay of 0.01.
        decay: of the learning rate after `warmup`: "constant", or half a "cosine" down to 0.
        warmup: steps over which the learning rate rises linearly.
        ema: decay of the average of the weights, or None to keep no average.
        clip: largest norm of the gradient, or None.
        accumulate: parts that each process's share of a batch is worked off in.
        label_dropout: how often conditions are hidden, for classifier-free guidance.
        precision: "no" (float32) or "bf16" (autocast).
        times: how noise levels are drawn: at "uniform" times, or "logit_normal", which leaves
            out most of those that are almost clean or almost noise, see `draws.log_snrs`.
        save_every: optimiser steps between saved states.
        seed: of the initial weights, data order, times, noise and dropout.
    """

    steps: int
    batch: int = 128
    lr: float = 1e-3
    optimizer: Optimizer = "adamw"
    decay: Decay = "cosine"
    warmup: int = 0
    ema: float | None = 0.9995
    clip: float | None = 1.0
    accumulate: int = 1
    label_dropout: float = 0.1
    precision: Precision = "no"
    times: Times = "uniform"
    save_every: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "accumulate", "save_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}.")
        for name, kind in (
            ("optimizer", Optimizer),
            ("decay", Decay),
            ("precision", Precision),
            ("times", Times),
        ):
            if getattr(self, name) not in get_args(kind):
                known = ", ".join(get_args(kind))
                raise ValueError(f"unknown {name} {getattr(self, name)!r}; known are {known}.")
        if not self.lr > 0:
            raise ValueError(f"lr must be above 0, not {self.lr}.")
        if not 0 <= self.label_dropout <= 1:
            raise ValueError(f"label_dropout must be in [0, 1], not {self.label_dropout}.")

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)
