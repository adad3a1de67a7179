"""What an evaluation compares: samples of a model and items of a data set, in one unit.

A batch is as in training: "x" [N, C, *spatial], and by name int64 [N] for what each is told to be.
But here x lies in [-1, 1], whatever range the model works in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from mmdiff.checkpoints import Info
from mmdiff.conditions import Condition
from mmdiff.diffusion import Diffusion
from mmdiff.errors import UserError
from mmdiff.modality import Data, Modality
from mmdiff.sampling import Sampling, in_parts
from mmdiff.told import stack

Batch = dict[str, Tensor]

DIGITS = tuple("0123456789")


def take(data: Data, items: Iterable[int] | None = None) -> Batch:
    """Items of a data set; all of them if None."""
    chosen = range(len(data)) if items is None else items
    batch = stack(data.conditions, [data[index] for index in chosen])
    return batch | {"x": _normalised(batch["x"], data.modality)}


def draw(
    model: Diffusion,
    sampling: Sampling,
    count: int,
    wanted: Mapping[str, Tensor],
    seed: int = 0,
    batch: int = 50,
    progress: bool = True,
) -> Batch:
    """Samples of `model`, float32 on the CPU, and what it was told; nothing is clamped.

    Args:
        model: from a checkpoint.
        sampling: how to sample.
        count: N.
        wanted: conditions by name, [N] each; the model is told those that it knows.
        seed: any integer.
        batch: samples at a time.
        progress: show a bar.

    Raises:
        UserError: the model does not say what it makes.
        ValueError: what `mmdiff.sample` refuses.
    """
    info = known_info(model)
    told = {name: value for name, value in wanted.items() if name in model.conditions}
    how: dict[str, Any] = sampling.arguments(seed) | told
    drawn = []
    with tqdm(total=count, unit="sample", disable=not progress) as bar:
        for x in in_parts(model, (count, *info.shape), batch=batch, **how):
            drawn.append(_normalised(x.float().cpu(), info.modality))
            bar.update(len(x))
    return {"x": torch.cat(drawn), **told}


def known_info(model: Diffusion) -> Info:
    """What a model says that it makes; UserError if it says nothing."""
    info: Info | None = model.info
    if info is None or info.modality is None:
        raise UserError(
            "only a model that was loaded from a checkpoint, and says what it makes, can be "
            "evaluated."
        )
    return info


def means_digits(model: Diffusion, dataset: str) -> bool:
    """Whether its labels are the ten digits, or it has none and was trained on `dataset`."""
    labels = class_names(model.conditions.get("label"))
    return labels == DIGITS or (not labels and known_info(model).dataset == dataset)


def class_names(kind: Condition | None) -> tuple[str, ...]:
    """What people call the classes of a condition; () if there is none, or they have no names."""
    names: tuple[str, ...] = getattr(kind, "names", ())
    return names


def _normalised(x: Tensor, modality: Modality) -> Tensor:
    low, high = modality.data_range
    return (x - (low + high) / 2) / ((high - low) / 2)
