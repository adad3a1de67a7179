"""The optimiser of a run, and its learning rate."""

from __future__ import annotations

import math

import torch
from torch import nn

from mmdiff.training.config import TrainingConfig
from mmdiff.training.muon import Muon


def make_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """The optimiser that `config` names."""
    if config.optimizer == "muon":
        return Muon(model, config.lr)
    adam = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return adam(model.parameters(), lr=config.lr, fused=True)


def learning_rate(config: TrainingConfig, step: int) -> float:
    """At optimiser step `step`, from 0: linear warm-up, then constant or half a cosine to 0."""
    warm = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    if config.decay == "constant":
        return config.lr * warm
    done = max(0, step - config.warmup) / max(1, config.steps - config.warmup)
    return config.lr * warm * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
