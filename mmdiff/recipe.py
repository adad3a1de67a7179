"""A recipe: all that a training is told, but for the data and the place."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from mmdiff.noise import as_seed
from mmdiff.objective import Objective
from mmdiff.precision import Precision
from mmdiff.sampling import Sampling

Optimizer = Literal["adam", "adamw", "muon"]
Decay = Literal["constant", "cosine"]


@dataclass(frozen=True)
class Recipe:
    """A model and how to train it; two runs of one recipe on the same data give the same weights.

    Attributes:
        model: an objective with fresh weights: `loss(batch, draws)`, such as `Diffusion`.
        epochs: passes over the data.
        steps: optimiser steps, instead of `epochs`.
        batch: samples per optimiser step, over all processes and accumulated parts.
        lr: the learning rate after the warm-up.
        optimizer: "adam"; "adamw", or "muon" (see `Muon`), with a weight decay of 0.01.
        decay: of the learning rate after `warmup`: "constant", or half a "cosine" down to 0.
        warmup: steps over which the learning rate rises linearly; at most a tenth of all.
        ema: decay of the average of the weights, or None to keep no average.
        max_norm: largest norm of the gradient, or None.
        accumulate: parts that each process's share of a batch is worked off in.
        precision: "no" (float32), "bf16" (autocast), or "auto": bf16 where the hardware has it.
        save_every: optimiser steps between saved states.
        look_every: steps, at least, from one look at the run (validation, samples) to the next.
        sampling: how the finished model is sampled from, and what its checkpoint recommends.
        preview: how samples are drawn on the way; as `sampling` if None.
        samples: how many a finished run leaves.
        seed: of data order, times, noise and dropout.
        made: what else a checkpoint should say of how it was made.
    """

    model: Objective
    epochs: float = 1.0
    steps: int | None = None
    batch: int = 64
    lr: float = 1e-3
    optimizer: Optimizer = "adamw"
    decay: Decay = "cosine"
    warmup: int = 0
    ema: float | None = 0.9995
    max_norm: float | None = 1.0
    accumulate: int = 1
    precision: Precision = "auto"
    save_every: int = 500
    look_every: int = 500
    sampling: Sampling = field(default_factory=Sampling)
    preview: Sampling | None = None
    samples: int = 60
    seed: int = 0
    made: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", as_seed(self.seed))
        for name in ("batch", "accumulate", "save_every", "look_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}.")
        for name, kind in (
            ("optimizer", Optimizer),
            ("decay", Decay),
            ("precision", Precision),
        ):
            if getattr(self, name) not in get_args(kind):
                known = ", ".join(get_args(kind))
                raise ValueError(f"unknown {name} {getattr(self, name)!r}; known are {known}.")
        for name in ("lr", "epochs"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be above 0 and finite, not {getattr(self, name)}.")
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps must be at least 1, not {self.steps}.")
        if self.samples < 0:
            raise ValueError(f"samples must be 0 or more, not {self.samples}.")
        scales = {how.guidance for how in (self.sampling, self.preview) if how is not None}
        if scales - {None, 1} and not getattr(self.model, "guidable", False):
            raise ValueError("a model that is told nothing cannot be guided: leave guidance out.")

    def length(self, items: int) -> int:
        """Optimiser steps over a data set of so many items; what fills no batch is left out."""
        return self.steps or max(1, round(self.epochs * max(1, items // self.batch)))
