"""The loss on held-out data, noise level by noise level."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mmdiff.data.turns import evenly
from mmdiff.noise import Draws
from mmdiff.objective import Objective
from mmdiff.training.buckets import in_buckets
from mmdiff.training.loading import load

ITEMS = 256


@torch.no_grad()
def validate(
    model: Objective,
    data: Any,
    seed: int,
    batch: int,
    device: torch.device,
    stopped: Callable[[], bool] = lambda: False,
) -> dict[float, float]:
    """{t: mean loss at t}, always with the same noise, over at most 256 items of `data`.

    They are spread over all of it: held-out files may lie sorted by class. `batch` of them are
    asked at a time, and between two of these parts `stopped` tells whether to leave off ({} then).
    """
    count, done = min(ITEMS, len(data)), 0
    totals: dict[float, Tensor] = {}
    for indices in in_buckets(data, evenly(len(data), count), batch):
        if stopped():
            return {}
        part = torch.arange(done, done + len(indices), device=device)
        done += len(indices)
        items = load(data, model.conditions, len(data), indices.tolist())
        on_device = {name: value.to(device) for name, value in items.items()}
        for t, loss in model.losses(on_device, Draws(seed, 0, part, count)).items():
            totals[t] = totals.get(t, torch.zeros((), device=device)) + loss * len(part)
    return {t: float(total / count) for t, total in totals.items()}
