"""The optimiser of a run, and its learning rate."""

from __future__ import annotations

import math

import torch
from torch import nn

from mmdiff.recipe import Recipe
from mmdiff.training.muon import Muon


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The optimiser that `recipe` names."""
    if recipe.optimizer == "muon":
        return Muon(model, recipe.lr)
    adam = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    return adam(model.parameters(), lr=recipe.lr, fused=True)


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """At optimiser step `step` of `steps`: linear warm-up, then constant or half a cosine to 0."""
    rising = min(recipe.warmup, steps // 10)
    warm = min(1.0, (step + 1) / rising) if rising else 1.0
    if recipe.decay == "constant":
        return recipe.lr * warm
    done = max(0, step - rising) / max(1, steps - rising)
    return recipe.lr * warm * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
