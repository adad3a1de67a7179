"""Taking turns: which classes samples have, and what they are called."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


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
