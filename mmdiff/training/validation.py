"""The loss on held-out data, noise level by noise level."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Subset

from mmdiff import noise
from mmdiff.diffusion import Diffusion

LEVELS = tuple((i + 0.5) / 8 for i in range(8))
ITEMS = 256

_STREAM = 5


@torch.no_grad()
def validate(
    model: Diffusion, data: Dataset[Any], conditions: set[str], seed: int, batch: int = 128
) -> dict[float, float]:
    """{t: mean loss at t} over the first 256 items of `data`, always with the same noise."""
    device = next(model.parameters()).device
    count = min(ITEMS, len(data))  # type: ignore[arg-type]
    totals = {t: torch.zeros((), device=device) for t in LEVELS}
    seen = 0
    for items in DataLoader(Subset(data, range(count)), batch_size=batch):
        cond = {name: items[name].to(device) for name in conditions if name in items}
        x = items["x"].to(device)
        ids = torch.arange(seen, seen + len(x), device=device)
        for level, t in enumerate(LEVELS):
            z = noise.normal(seed, ids, level, x.shape[1:], _STREAM).to(x.dtype)
            at = torch.full((len(x),), t, device=device)
            totals[t] += model.loss(x, at, z, **cond) * len(x)
        seen += len(x)
    return {t: float(total / count) for t, total in totals.items()}
