"""Which samples are asked for: how many, and of which classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from textwrap import shorten

import torch
from torch import Tensor

from mmdiff.conditions import Condition
from mmdiff.data.turns import take_turns
from mmdiff.errors import UserError

_LONGEST = 200  # characters: the comment of a file is short


@dataclass(frozen=True)
class Wanted:
    """The samples that are asked for.

    Attributes:
        count: how many.
        kinds: the model's conditions that have classes, by name.
        values: the class of each sample by name, int64 [count]: arguments for `mmdiff.sample`.
        turns: how many classes of the first condition take turns; 0 if its class is told.
    """

    count: int
    kinds: Mapping[str, Condition]
    values: Mapping[str, Tensor]
    turns: int

    def names(self) -> dict[str, list[str]]:
        """What people call the class of each sample, by the name of the condition."""
        return {
            name: [self.kinds[name].say(value) for value in values.tolist()]
            for name, values in self.values.items()
        }

    def said(self, first: int, size: int) -> dict[str, str]:
        """What a file of `size` samples from `first` on says of their classes."""
        return {
            name.capitalize(): shorten(
                ", ".join(dict.fromkeys(names[first : first + size])), _LONGEST
            )
            for name, names in self.names().items()
        }


def choose_samples(
    conditions: Mapping[str, Condition],
    told: Mapping[str, str | None],
    count: int | None,
    usual: int | None,
    checkpoint: str,
) -> Wanted:
    """`count` samples of the classes that are told; of what is not, all classes take turns.

    They do as in `take_turns`, so that all pairs come.

    Args:
        conditions: of the model.
        told: the name or the number of a class, by the name of the condition; None is not told.
        count: `usual` if None; if that is None too, one for each class that takes turns first.

    Raises:
        UserError: a condition or a class that the model does not know.
    """
    kinds = {name: kind for name, kind in conditions.items() if kind.choices}
    fixed = {
        name: _index(kinds.get(name), name, text, checkpoint)
        for name, text in told.items()
        if text is not None
    }
    free = {name: kind.choices for name, kind in kinds.items() if name not in fixed}
    turns = free.get(next(iter(kinds), ""), 0)
    count = count or usual or turns or 1
    taken = take_turns(free, count)
    values = {
        name: taken[name] if name in taken else torch.full((count,), fixed[name]) for name in kinds
    }
    return Wanted(count, kinds, values, turns)


def _index(kind: Condition | None, name: str, text: str, checkpoint: str) -> int:
    if kind is None:
        raise UserError(f"{checkpoint} was trained without a {name}: leave --{name} out.")
    known = [kind.say(index) for index in range(kind.choices)]
    if text in known:
        return known.index(text)
    if text.isdecimal() and int(text) < len(known):
        return int(text)
    raise UserError(f"--{name} {text!r} is unknown to {checkpoint}: use {', '.join(known)}.")
