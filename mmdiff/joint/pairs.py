"""Pairs of items of two data sets that belong together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

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

_WHO, _WHEN = 48, 49  # streams of random numbers
_ALIKE = 0.5  # positions, of the part that has the fewest, by which lengths may differ
_NEARLY = 1e-6  # of a position, which rounding may take


class Item(NamedTuple):
    """An item of the first part, by its place there, and what its partners share with it.

    Of parts that go on together it is a piece of so many of them.
    """

    place: int
    key: Any
    piece: int = 0
    pieces: int = 1


class Pairs:
    """Each item of the first data set, with one of every other that has the same class, or name.

    Which one is drawn anew at each visit. An item is {"x": [1, N], packed, and what is told of its
    parts by name}.

    Files of one name that go on in time, such as a video and its sound, go on together: all are cut
    from one time on, drawn anew at each visit. They make about as many items as they have cuts.

    Args:
        parts: data sets by name, which all tell `by`.
        by: the condition whose class partners share; or "name", that of the files that they come
            from, without its suffix. What has a partner of that name in no other part is left out.
        split: None for all items, as of parts that are splits themselves. "test" for each tenth
            name, or each tenth item of each class in each part, and at least one; "train" for the
            others. A class's only item in a part serves both.
        seed: of who meets whom, and when.

    Attributes:
        seconds: for how long the parts go on together; 0 of parts that do not.

    Raises:
        UserError: a data set that does not tell classes, or none of a class that the first has;
            files of which no names are equal, or one that is to be split, or that go on together
            but are cut to other lengths.
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
        sets = " and ".join(part.name for part in parts.values())
        if by == NAME and not common:
            raise UserError(
                f"no files of {sets} have the same name but for the suffix: name them so, or put "
                "them into folders of the same names, which are their classes."
            )
        if by == NAME and split and len(common) == 1:
            raise UserError(
                f"{sets} have one name alone in common, {min(common)}, and one is held out: add "
                "files of another."
            )
        if by != NAME and (missing := set(keys[self._first]) - common):
            lost = self.conditions[by].say(min(missing))
            short = next(name for name in self._others if min(missing) not in keys[name])
            raise UserError(f"{parts[short].name} has nothing of the {by} {lost!r}.")
        self._alone = len(set(keys[self._first]) - common)
        names = _held(sorted(common), split) if by == NAME else None
        self._members = {name: _members(of, split, names) for name, of in keys.items()}
        rates = {name: part.modality.rate for name, part in parts.items() if part.modality.time}
        self._rates = rates if by == NAME and len(rates) > 1 else {}
        self.seconds = self._together()
        self._items = [
            Item(place, key, piece, pieces)
            for place, key in sorted(
                (place, key)
                for key, own in self._members[self._first].items()
                for place in (own[:1] if self.seconds else own)  # which may be crops of one file
            )
            for pieces in [max(1, round(self._lasts(key) / self.seconds)) if self.seconds else 1]
            for piece in range(pieces)
        ]

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
        same = f", the same {self.seconds:.3g} s of each" if self.seconds else ""
        return f"{len(self):,} pairs of one {self._by}{same}, drawn anew at each visit{alone}"

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.visit(index, 0)

    def visit(self, index: int, count: int) -> dict[str, Any]:
        """Item `index` at its visit `count`, and partners drawn by (seed, index, count)."""
        item = self._items[index]
        keys = index * len(self._others) + torch.arange(len(self._others))
        drawn = noise.uniform(self.seed, keys, count, _WHO).tolist()
        # Partners at visits of their own number, so that none is augmented as in the last pair.
        visits = {self._first: (item.place, count)}
        for name, u in zip(self._others, drawn, strict=True):
            members = self._members[name][item.key]
            visits[name] = members[int(u * len(members))], count * len(self) + index
        begin = self._begin(index, count) if self._rates else 0.0
        items = {
            name: cast(Any, self.parts[name]).cut(place, round(begin * self._rates[name]))
            if name in self._rates
            else self.parts[name].visit(place, visit)
            for name, (place, visit) in visits.items()
        }
        told = {what: v for item in items.values() for what, v in item.items() if what != "x"}
        return {"x": self.packing.pack({name: item["x"] for name, item in items.items()}), **told}

    def _together(self) -> float:
        """For how many seconds the parts go on together."""
        if not self._rates:
            return 0.0
        lasts = {name: self.parts[name].shape[1] / rate for name, rate in self._rates.items()}
        if max(lasts.values()) - min(lasts.values()) > _ALIKE / min(self._rates.values()):
            said = " and ".join(f"a {name} of {seconds:.3g} s" for name, seconds in lasts.items())
            raise UserError(
                f"{said} do not go on together: ask for as many seconds of each, which a video has "
                "by its frames and their rate."
            )
        return min(lasts.values())

    def _lasts(self, key: Any) -> float:
        """How long the shortest of the files of a name is, in seconds."""
        return min(
            cast(Any, self.parts[name]).length(place) / rate
            for name, rate in self._rates.items()
            for place in self._members[name][key]
        )

    def _begin(self, index: int, count: int) -> float:
        """When the parts begin at that visit, in seconds: a position of that which has fewest."""
        item, slowest = self._items[index], min(self._rates.values())
        where = float(noise.uniform(self.seed, torch.tensor([index]), count, _WHEN))
        free = max(0, int((self._lasts(item.key) - self.seconds) * slowest + _NEARLY))
        return int((item.piece + where) / item.pieces * (free + 1)) / slowest


class Joined:
    """The items of both splits of a data set, as one of the same kind; see `mmdiff.modality.Data`.

    So that it is pairs that are held out, and not files, of which another part has others.
    """

    def __init__(self, train: Data, test: Data) -> None:
        names = [tuple(getattr(part, "names", ())) for part in (train, test)]
        # Of a single file both splits are the same.
        self._parts = [train, test] if names[0] != names[1] else [train]
        self.name, self.shape, self.modality = train.name, train.shape, train.modality
        self.conditions = train.conditions
        self.identity = identity({}, parts=[train.identity, test.identity])
        self.costly = train.costly
        self.names: tuple[str, ...] = sum(names[: len(self._parts)], ())

    def summary(self) -> str:
        return "\n".join(part.summary() for part in self._parts)

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.visit(index, 0)

    def visit(self, index: int, count: int) -> dict[str, Any]:
        part, place = self._of(index)
        return part.visit(place, count)

    def told(self, index: int) -> dict[str, Any]:
        part, place = self._of(index)
        return part.told(place)

    def length(self, index: int) -> int:
        part, place = self._of(index)
        return part.length(place)

    def cut(self, index: int, start: int) -> dict[str, Any]:
        part, place = self._of(index)
        return part.cut(place, start)

    def _of(self, index: int) -> tuple[Any, int]:
        """The split that has an item, and where."""
        first = self._parts[0]
        return (first, index) if index < len(first) else (self._parts[1], index - len(first))


def _keys(data: Data, by: str) -> list[Any]:
    """What partners of each item share with it."""
    if by == NAME:
        return list(getattr(data, "names", ()))
    told = getattr(data, "told", data.__getitem__)  # which may have to decode
    return [int(told(index)[by]) for index in range(len(data))]


def _held(members: Sequence[Any], split: str | None) -> list[Any]:
    """Those of a split: all but each tenth, or these; the only one in both."""
    if split is None or len(members) < 2:
        return list(members)
    held_out = set(range(HELD_OUT - 1, len(members), HELD_OUT)) or {len(members) - 1}
    return [one for k, one in enumerate(members) if (k in held_out) == (split == "test")]


def _members(
    keys: Sequence[Any], split: str | None, names: Sequence[Any] | None
) -> dict[Any, list[int]]:
    """The items of each key: of these names, or else those of each class that are of a split."""
    members: dict[Any, list[int]] = {}
    for index, one in enumerate(keys):
        members.setdefault(one, []).append(index)
    if names is not None:
        return {name: members[name] for name in names}
    return {key: _held(own, split) for key, own in members.items()}
