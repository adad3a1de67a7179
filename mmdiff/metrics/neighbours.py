"""How near generated samples lie to the data they were trained on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

QUANTILES = (0.01, 0.05, 0.5, 0.95)
NEAR = 0.01  # the quantile of unseen data under which a sample counts as near


@dataclass(frozen=True)
class Neighbours:
    """L2 distances to the nearest training sample, of generated samples and of unseen data.

    Attributes:
        samples, unseen: the 1%, 5%, 50% and 95% quantiles of the distances.
        near: fraction of the samples that are nearer than 99% of the unseen data are. About 0.01
            for samples that are as new as unseen data; near 1 for a model that recites.
    """

    samples: tuple[float, ...]
    unseen: tuple[float, ...]
    near: float


@torch.inference_mode()
def nearest_neighbours(x: Tensor, reference: Tensor, chunk: int = 256) -> tuple[Tensor, Tensor]:
    """(L2 distance [N], index [N]) of the nearest of `reference` [M, ...] to each of `x` [N, ...].

    Both in [-1, 1] or any one range; float32. `chunk` rows at a time: memory is chunk * M floats.
    """
    if x.shape[1:] != reference.shape[1:] or not len(reference):
        raise ValueError(
            f"neighbours of {list(x.shape)} cannot be sought in {list(reference.shape)}."
        )
    x, reference = x.flatten(1).float(), reference.flatten(1).float()
    # argmin |x - r|^2 = argmax x.r - |r|^2 / 2: one matrix product, and no cancellation in |x|^2.
    offset = reference.square().sum(1).div(-2)
    index = torch.cat(
        [torch.addmm(offset, part, reference.T).argmax(1) for part in torch.split(x, chunk)]
        or [torch.empty(0, dtype=torch.int64)]
    )
    return (x - reference[index]).norm(dim=1), index


def compare_neighbours(samples: Tensor, unseen: Tensor, training: Tensor) -> Neighbours:
    """How near `samples` are to `training`, beside `unseen` data that nobody can have memorised."""
    ours, theirs = (nearest_neighbours(x, training)[0].double() for x in (samples, unseen))
    levels = torch.tensor(QUANTILES, dtype=torch.float64)
    return Neighbours(
        samples=tuple(ours.quantile(levels).tolist()),
        unseen=tuple(theirs.quantile(levels).tolist()),
        near=(ours < theirs.quantile(NEAR)).double().mean().item(),
    )
