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

NAME = "name"  # of files, as what pairs share
HELD_OUT = 10  # one pair of so many

_STREAM = 48  # of random numbers


class Pairs:
    """Each item of the first data set, with one of every other that has the same class, or name.

    Which one is drawn anew at each visit. An item is {"x": [1, N], packed, and what is told of its
    parts by name}.

    Args:
        parts: data sets by name, which all tell `by`.
        by: the condition whose class partners share; or "name", that of the files that they come
            from, without its suffix. What has a partner of that name in no other part is left out.
        split: "train" for all pairs but each tenth, "test" for these, None for all.
        seed: of who meets whom.

    Raises:
        UserError: a data set that does not tell classes, or none of a class that the first has;
            files of which no names are equal.
        ValueError: conditions of one name that differ.
    """

    def __init__(
        self, parts: Mapping[str, Data], by: str = "label", split: str | None = None, seed: int = 0
    ) -> None:
        self.parts, self.seed, self._by = dict(parts), seed, by
        self.name = "+".join(part.name for part in parts.values())
        self.packing = Packing({name: part.shape for name, part in parts.items()})
        self.shape: tuple[int, ...] = self.packing.shape
        conditions: dict[str, Condition] = {}
        for name, part in parts.items():
            if by != NAME and by not in part.conditions:
                raise UserError(f"{part.name} tells no {by}, by which pairs are made.")
            for what, kind in part.conditions.items():
                if conditions.setdefault(what, kind) != kind:
                    raise ValueError(f"{what} of {name} has other classes than that of the others.")
        self.conditions: Mapping[str, Condition] = conditions
        self.identity = identity(
            {}, by=by, split=split, parts=[part.identity for part in parts.values()]
        )
        self.costly = any(part.costly for part in parts.values())
        self._first, *self._others = parts
        keys = {name: _keys(part, by) for name, part in parts.items()}
        common = set.intersection(*map(set, keys.values()))
        if by == NAME and not common:
            sets = " and ".join(part.name for part in parts.values())
            raise UserError(
                f"no files of {sets} have the same name but for the suffix: name them so, or put "
                "them into folders of the same names, which are their classes."
            )
        if by != NAME and (missing := set(keys[self._first]) - common):
            lost = self.conditions[by].say(min(missing))
            short = next(name for name in self._others if min(missing) not in keys[name])
            raise UserError(f"{parts[short].name} has nothing of the {by} {lost!r}.")
        # (index, key) of the items of the first that have partners
        wanted = _of_split(sorted(common), split)
        self._items = [item for item in enumerate(keys[self._first]) if item[1] in wanted]
        self._partners = {name: _members(keys[name]) for name in self._others}
        self._alone = sum(key not in common for key in keys[self._first])

    @property
    def modality(self) -> Modality:
        parts = {name: part.modality for name, part in self.parts.items()}
        return Together(parts, self.packing)

    def summary(self) -> str:
        """What the parts hold, in a few lines."""
        return "\n".join([*(part.summary() for part in self.parts.values()), self.met()])

    def met(self) -> str:
        """How many pairs there are, in a line."""
        alone = f"; {self._alone:,} without a partner are left out" if self._alone else ""
        return f"{len(self):,} pairs of one {self._by}, drawn anew at each visit{alone}"

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.visit(index, 0)

    def visit(self, index: int, count: int) -> dict[str, Any]:
        """Item `index` at its visit `count`, and partners drawn by (seed, index, count)."""
        place, key = self._items[index]
        items = {self._first: self.parts[self._first].visit(place, count)}
        keys = index * len(self._others) + torch.arange(len(self._others))
        drawn = noise.uniform(self.seed, keys, count, _STREAM).tolist()
        for name, u in zip(self._others, drawn, strict=True):
            members = self._partners[name][key]
            # Visits of its own number, so that it is not augmented as in the last pair.
            items[name] = self.parts[name].visit(
                members[int(u * len(members))], count * len(self) + index
            )
        told = {what: v for item in items.values() for what, v in item.items() if what != "x"}
        return {"x": self.packing.pack({name: item["x"] for name, item in items.items()}), **told}


class Joined:
    """The items of both splits of a data set, as one of the same kind; see `mmdiff.modality.Data`.

    So that it is pairs that are held out, and not files, of which another part has others.
    """

    def __init__(self, train: Data, test: Data) -> None:
        self._parts = (train, test)
        self.name, self.shape, self.modality = train.name, train.shape, train.modality
        self.conditions = train.conditions
        self.identity = identity({}, parts=[train.identity, test.identity])
        self.costly = train.costly
        self.names: tuple[str, ...] = (*getattr(train, "names", ()), *getattr(test, "names", ()))

    def summary(self) -> str:
        return "\n".join(part.summary() for part in self._parts)

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.visit(index, 0)

    def visit(self, index: int, count: int) -> dict[str, Any]:
        first, second = self._parts
        if index < len(first):
            return first.visit(index, count)
        return second.visit(index - len(first), count)


def _keys(data: Data, by: str) -> list[Any]:
    """What partners of each item share with it."""
    if by == NAME:
        return list(getattr(data, "names", ()))
    return [int(data[index][by]) for index in range(len(data))]


def _of_split(keys: Sequence[Any], split: str | None) -> set[Any]:
    held_out = set(keys[HELD_OUT - 1 :: HELD_OUT] or keys[-1:]) if split else set()
    return held_out if split == "test" else set(keys) - held_out


def _members(keys: Sequence[Any]) -> dict[Any, Sequence[int]]:
    """The items of each key."""
    members: dict[Any, list[int]] = {}
    for index, one in enumerate(keys):
        members.setdefault(one, []).append(index)
    return dict(members)
