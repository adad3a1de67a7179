"""What runs on images and on sound have in common: how long they are, and what they draw."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mmdiff.errors import UserError
from mmdiff.training.config import TrainingConfig


def configure(
    training: Mapping[str, Any],
    items: int,
    epochs: int,
    steps: int | None,
    seed: int,
    batch: int | None = None,
    lr: float | None = None,
) -> tuple[TrainingConfig, dict[str, Any]]:
    """The settings of a run over `items` items, and what a checkpoint says of its length.

    Args:
        training: arguments of `TrainingConfig` but for its steps and seed; with a "batch". Of a
            short run a warm-up takes a tenth, at most.
        epochs: passes over the data, which leave out what does not fill a batch.
        steps: optimiser steps, instead of whole epochs.
        seed: of everything random.
        batch, lr: instead of those in `training`.

    Raises:
        UserError: settings that no run can have.
    """
    chosen = {name: value for name, value in (("batch", batch), ("lr", lr)) if value is not None}
    training = {**training, **chosen}
    total = steps or epochs * max(1, items // training["batch"])
    training["warmup"] = min(training.get("warmup", 0), total // 10)
    try:
        config = TrainingConfig(steps=total, seed=seed, **training)
    except ValueError as error:
        raise UserError(str(error)) from error
    return config, {"epochs": round(total * config.batch / items, 2), "seed": seed, **chosen}


def looks(steps: int, epoch: int) -> int:
    """After how many epochs of `epoch` steps to look at a run that is looked at every `steps`."""
    return max(1, math.ceil(steps / epoch))


def evenly(total: int, count: int) -> Tensor:
    """int64 [count]: places among 0 .. total - 1, ascending and evenly spaced.

    Of n neighbours, n count / total are taken, or rather one of the two integers beside that.
    """
    return (2 * torch.arange(count) + 1) * total // (2 * count)


def take_turns(conditions: Mapping[str, int], count: int) -> dict[str, Tensor]:
    """int64 [count] for each class condition, given how many classes each has.

    The classes of the first change from sample to sample. So do those of the next, which moves on
    by one more whenever the first is through: all pairs come before any comes again.
    """
    place, before = torch.arange(count), torch.zeros(count, dtype=torch.int64)
    turns = {}
    for name, classes in conditions.items():
        before = (place + before) % classes
        turns[name] = before
        place = place // classes
    return turns


def sample_names(labels: Sequence[str] | None, count: int) -> list[str]:
    """`{label}_{index}`, or `{index}` without labels, fit for file names on any system."""
    if labels is None:
        return [str(index) for index in range(count)]
    plain = [re.sub(r"[^\w.+-]+", "-", label).lstrip("-")[:50] for label in labels]
    return [f"{label}_{index}" for index, label in enumerate(plain)]
