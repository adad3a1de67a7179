"""The loss on held-out data, noise level by noise level."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Subset

from mmdiff import noise
from mmdiff.diffusion import Diffusion
from mmdiff.training.runs import evenly

LEVELS = tuple((i + 0.5) / 8 for i in range(8))
ITEMS = 256

_STREAM = 5


@torch.no_grad()
def validate(
    model: Diffusion, data: Dataset[Any], conditions: set[str], seed: int, batch: int = 128
) -> dict[float, float]:
    """{t: mean loss at t}, always with the same noise, over at most 256 items of `data`.

    They are spread over all of it: held-out files may lie sorted by class.
    """
    device = next(model.parameters()).device
    length: int = len(data)  # type: ignore[arg-type]
    count = min(ITEMS, length)
    totals = {t: torch.zeros((), device=device) for t in LEVELS}
    seen = 0
    for items in DataLoader(Subset(data, evenly(length, count).tolist()), batch_size=batch):
        cond = {name: items[name].to(device) for name in conditions if name in items}
        x = items["x"].to(device)
        ids = torch.arange(seen, seen + len(x), device=device)
        for level, t in enumerate(LEVELS):
            z = noise.normal(seed, ids, level, x.shape[1:], _STREAM).to(x.dtype)
            at = torch.full((len(x),), t, device=device)
            totals[t] += model.loss(x, at, z, **cond) * len(x)
        seen += len(x)
    return {t: float(total / count) for t, total in totals.items()}
