"""Pairs of items of two data sets that belong together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from mmdiff import noise
from mmdiff.conditions import Condition
from mmdiff.data.folders import identity
from mmdiff.errors import UserError
from mmdiff.joint.modality import Together
from mmdiff.joint.packing import Packing
from mmdiff.modality import Data, Modality

_STREAM = 48  # of random numbers


class Pairs:
    """Each item of the first data set, with one of every other that has the same class.

    Which one is drawn anew at each visit. An item is {"x": [1, N], packed, and what is told of its
    parts by name}.

    Args:
        parts: data sets by name, which all tell `by`.
        by: the condition whose class partners share.
        seed: of who meets whom.

    Raises:
        UserError: a data set that does not tell classes, or none of a class that the first has.
        ValueError: conditions of one name that differ.
    """

    def __init__(self, parts: Mapping[str, Data], by: str = "label", seed: int = 0) -> None:
        self.parts, self.seed = dict(parts), seed
        self.name = "+".join(part.name for part in parts.values())
        self.packing = Packing({name: part.shape for name, part in parts.items()})
        self.shape: tuple[int, ...] = self.packing.shape
        conditions: dict[str, Condition] = {}
        for name, part in parts.items():
            if by not in part.conditions:
                raise UserError(f"{part.name} tells no {by}, by which pairs are made.")
            for what, kind in part.conditions.items():
                if conditions.setdefault(what, kind) != kind:
                    raise ValueError(f"{what} of {name} has other classes than that of the others.")
        self.conditions: Mapping[str, Condition] = conditions
        self.identity = identity({}, by=by, parts=[part.identity for part in parts.values()])
        self.costly = any(part.costly for part in parts.values())
        self._first, *self._others = parts
        self._classes = _classes(parts[self._first], by)
        self._partners = {name: _members(parts[name], by) for name in self._others}
        for name, members in self._partners.items():
            if missing := set(self._classes) - members.keys():
                lost = self.conditions[by].say(min(missing))
                raise UserError(f"{parts[name].name} has nothing of the {by} {lost!r}.")

    @property
    def modality(self) -> Modality:
        parts = {name: part.modality for name, part in self.parts.items()}
        return Together(parts, self.packing)

    def summary(self) -> str:
        """What the parts hold, in a few lines."""
        lines = [part.summary() for part in self.parts.values()]
        return "\n".join([*lines, f"{len(self):,} pairs of one class, drawn anew at each visit"])

    def __len__(self) -> int:
        return len(self._classes)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.visit(index, 0)

    def visit(self, index: int, count: int) -> dict[str, Any]:
        """Item `index` at its visit `count`, and partners drawn by (seed, index, count)."""
        items = {self._first: self.parts[self._first].visit(index, count)}
        keys = index * len(self._others) + torch.arange(len(self._others))
        drawn = noise.uniform(self.seed, keys, count, _STREAM).tolist()
        for name, u in zip(self._others, drawn, strict=True):
            members = self._partners[name][self._classes[index]]
            # Visits of its own number, so that it is not augmented as in the last pair.
            items[name] = self.parts[name].visit(
                members[int(u * len(members))], count * len(self) + index
            )
        told = {what: v for item in items.values() for what, v in item.items() if what != "x"}
        return {"x": self.packing.pack({name: item["x"] for name, item in items.items()}), **told}


def _classes(data: Data, by: str) -> list[int]:
    return [int(data[index][by]) for index in range(len(data))]


def _members(data: Data, by: str) -> dict[int, Sequence[int]]:
    """The items of each class."""
    members: dict[int, list[int]] = {}
    for index, one in enumerate(_classes(data, by)):
        members.setdefault(one, []).append(index)
    return dict(members)
