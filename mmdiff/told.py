"""What the samples of a batch are told: values of conditions, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mmdiff.conditions import Condition


@dataclass(frozen=True)
class Told:
    """What the samples of a batch are told: values [B, ...] by name, and what kind each is of."""

    kinds: Mapping[str, Condition] = field(default_factory=dict)
    values: Mapping[str, Tensor] = field(default_factory=dict)

    def hidden(self, where: Tensor | None = None) -> Told:
        """The samples `where` (bool [B]; all if None) are told nothing."""

        def hide(name: str, value: Tensor) -> Tensor:
            all_of = torch.ones(len(value), dtype=torch.bool, device=value.device)
            return self.kinds[name].hide(value, all_of if where is None else where)

        return self._each(hide)

    def shifted(self, by: int) -> Told:
        """For signals that begin `by` positions earlier, see `Condition.shift`."""
        return self._each(lambda name, value: self.kinds[name].shift(value, by))

    def repeated(self, times: int) -> Told:
        """For a batch that is repeated so many times."""
        return self._each(lambda _, v: v.repeat(times, *(1,) * (v.ndim - 1)))

    def with_(self, other: Told) -> Told:
        """For a batch that this one's and the other's samples make together."""
        return self._each(lambda name, value: torch.cat((value, other.values[name])))

    def to(self, device: torch.device) -> Told:
        return self._each(lambda _, value: value.to(device))

    def encoded(self, codec: Any) -> Told:
        """What a backbone behind `codec` (None is none) is told."""
        if codec is None:
            return self
        codec = getattr(codec, "inner", codec)
        values = self._each(lambda name, value: self.kinds[name].encode(value, codec)).values
        return Told({name: kind.inside(codec) for name, kind in self.kinds.items()}, values)

    def _each(self, change: Callable[[str, Tensor], Tensor]) -> Told:
        return Told(self.kinds, {name: change(name, value) for name, value in self.values.items()})


NOTHING = Told()


def tell(
    kinds: Mapping[str, Condition],
    count: int,
    given: Mapping[str, Any],
    sides: Sequence[int] | None = None,
) -> Told:
    """`given` values by name for `count` samples, checked; None is as if left out.

    Raises:
        ValueError: a condition that `kinds` has not, or a value that it cannot have.
    """
    values = {}
    for name, value in given.items():
        if value is None:
            continue
        if name not in kinds:
            raise ValueError(
                f"this model knows no condition {name!r}: leave it out "
                f"(it knows {', '.join(kinds) or 'none'})."
            )
        values[name] = kinds[name].check(name, value, count, sides)
    return Told(kinds, values)


def stack(kinds: Mapping[str, Condition], items: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    """The items of a data set as a batch: "x" [B, ...], and of all else what `kinds` names."""
    batch = {"x": torch.stack([item["x"] for item in items])}
    told = {name: kind for name, kind in kinds.items() if name in items[0]}
    return batch | {name: kind.stack([item[name] for item in items]) for name, kind in told.items()}
