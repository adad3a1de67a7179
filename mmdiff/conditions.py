"""What a model can be told: a class, a vector, tokens or a signal.

A backbone declares by name what it can be told: `{"label": Class(10), "mel": Signal(80, 256)}`.
The condition alone knows which values are valid, what "not told" is, and how a value enters a
network.

A value is one tensor [B, ...]. What is not told is -1 for a class and NaN for numbers, so that
values are batched, moved and cut like any tensor. To hide some samples is one operation: training
drops conditions by it, and guidance asks a network that is told nothing.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

NONE = -1  # a class that is not told


class Condition(ABC):
    """One thing that a model can be told; equal settings compare equal.

    `enters` says how: "embedding" (added to the time's), "tokens" (attended to), or "channels"
    (aligned with x).
    """

    enters: ClassVar[Literal["embedding", "tokens", "channels"]]

    @property
    def choices(self) -> int:
        """How many values there are, 0 .. choices - 1; 0 where they cannot be counted."""
        return 0

    def say(self, value: int) -> str:
        """What people call one of the choices."""
        return str(value)

    @abstractmethod
    def nothing(self, x: Tensor) -> Tensor:
        """A value that tells nothing, for a batch `x` [B, C, *spatial]."""

    @abstractmethod
    def check(
        self, name: str, value: Any, count: int, sides: Sequence[int] | None = None
    ) -> Tensor:
        """`value` for `count` samples as a tensor [count, ...]; one value serves all of them.

        `sides` are those of x, where they are known and matter.

        Raises:
            ValueError: what no such condition can be, in a sentence about `name`.
        """

    def stack(self, values: Sequence[Any]) -> Tensor:
        """The values of the items of a batch -> [B, ...]."""
        return torch.stack([torch.as_tensor(value) for value in values])

    def hide(self, value: Tensor, where: Tensor) -> Tensor:
        """`value` [B, ...], not told for the samples `where` (bool [B])."""
        where = where.reshape(-1, *(1,) * (value.ndim - 1))
        return torch.where(where, NONE if not value.is_floating_point() else torch.nan, value)

    def shift(self, value: Tensor, by: int) -> Tensor:
        """`value` for signals that begin `by` positions earlier on every axis, mirrored there."""
        return value

    def inside(self, codec: Any) -> Condition:
        """What a backbone behind `codec` is told where the whole model is told this."""
        return self

    def encode(self, value: Tensor, codec: Any) -> Tensor:
        """`value` as a backbone behind `codec` is told it."""
        return value


@dataclass(frozen=True)
class Class(Condition):
    """One of `count` classes: int64 [B], -1 where it is not told. Its `names` are for people."""

    enters = "embedding"

    count: int
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        if self.count < 1 or len(self.names) not in (0, self.count):
            raise ValueError(
                f"Class needs a count from 1, and as many names or none: {self.count}, {self.names}"
            )

    @property
    def choices(self) -> int:
        return self.count

    def say(self, value: int) -> str:
        return self.names[value] if self.names else str(value)

    def nothing(self, x: Tensor) -> Tensor:
        return torch.full((len(x),), NONE, device=x.device)

    def check(
        self, name: str, value: Any, count: int, sides: Sequence[int] | None = None
    ) -> Tensor:
        if isinstance(value, str):
            value = self._index(name, value)
        elif isinstance(value, Sequence) and any(isinstance(text, str) for text in value):
            value = [self._index(name, text) for text in value]
        index = _spread(name, torch.as_tensor(value), count, 1)
        if index.dtype == torch.bool or index.is_floating_point() or index.is_complex():
            raise ValueError(f"{name} must hold integers, not {index.dtype}.")
        low, high = int(index.min()), int(index.max())
        if not -1 <= low <= high < self.count:
            raise ValueError(
                f"every {name} must lie in 0 .. {self.count - 1}, or be -1 for none, "
                f"but they span {low} .. {high}."
            )
        return index.long()

    def _index(self, name: str, text: Any) -> int:
        if text not in self.names:
            known = ", ".join(self.names) or "numbers alone"
            raise ValueError(f"this model has no {name} {text!r}; it knows {known}.")
        return self.names.index(text)

    def embedding(self, features: int) -> nn.Module:
        """A module from [B] to [B, features]."""
        return ClassEmbedding(self.count, features)


@dataclass(frozen=True)
class Vector(Condition):
    """`size` numbers: float [B, size], NaN where they are not told."""

    enters = "embedding"

    size: int

    def nothing(self, x: Tensor) -> Tensor:
        return x.new_full((len(x), self.size), torch.nan)

    def check(
        self, name: str, value: Any, count: int, sides: Sequence[int] | None = None
    ) -> Tensor:
        return _numbers(name, value, count, (self.size,))

    def embedding(self, features: int) -> nn.Module:
        """A module from [B, size] to [B, features]."""
        return VectorEmbedding(self.size, features)


@dataclass(frozen=True)
class Tokens(Condition):
    """Any number of tokens of `size` numbers, such as those of a text: float [B, N, size].

    Tokens that are NaN do not exist: so texts of different lengths stand in one batch, and a list
    of [N, size] is filled up.
    """

    enters = "tokens"

    size: int

    def nothing(self, x: Tensor) -> Tensor:
        return x.new_full((len(x), 1, self.size), torch.nan)

    def stack(self, values: Sequence[Any]) -> Tensor:
        rows = [torch.as_tensor(value) for value in values]
        return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=torch.nan)

    def check(
        self, name: str, value: Any, count: int, sides: Sequence[int] | None = None
    ) -> Tensor:
        if isinstance(value, Sequence) and all(isinstance(one, Tensor) for one in value):
            value = self.stack(value)
        return _numbers(name, value, count, (None, self.size))


@dataclass(frozen=True)
class Signal(Condition):
    """A signal along with x: float [B, channels, *spatial / factor], NaN where it is not told.

    With a factor of 1 it is like x itself, a damaged version of it for example, and passes the same
    codec. With a greater one it is frames, such as a mel spectrogram's, each for `factor` samples.
    """

    enters = "channels"

    channels: int
    factor: float = 1

    def nothing(self, x: Tensor) -> Tensor:
        sides = (math.ceil(side / self.factor) for side in x.shape[2:])
        return x.new_full((len(x), self.channels, *sides), torch.nan)

    def check(
        self, name: str, value: Any, count: int, sides: Sequence[int] | None = None
    ) -> Tensor:
        value = torch.as_tensor(value)
        batched = value.ndim > 2 and value.shape[:2] == (count, self.channels)
        alone = value.ndim > 0 and len(value) == self.channels and not batched
        axes = value.ndim - 1 if alone else value.ndim - 2
        whole: tuple[int | None, ...] = (None,) * max(1, axes)
        if sides is not None:
            whole = tuple(math.ceil(side / self.factor) for side in sides)
        return _numbers(name, value, count, (self.channels, *whole))

    def shift(self, value: Tensor, by: int) -> Tensor:
        for dim in range(2, value.ndim):
            longer = value.shape[dim] + math.ceil(by / self.factor)
            # Frames have centres: the first one's lies (factor - 1) / 2 positions from the start.
            frame = torch.arange(longer, device=value.device)
            centre = (frame + 0.5) * self.factor - 0.5 - by
            value = _interpolate(value, dim, (centre.abs() + 0.5) / self.factor - 0.5)
        return value

    def inside(self, codec: Any) -> Condition:
        if self.factor == 1:
            return Signal(codec.channels(self.channels))
        return Signal(self.channels, self.factor / codec.factor)

    def encode(self, value: Tensor, codec: Any) -> Tensor:
        if self.factor != 1:
            return value
        hidden = value.flatten(1).isnan().any(1)
        return self.hide(codec.encode(value.nan_to_num(0.0)), hidden)

    def align(self, value: Tensor, sides: Sequence[int]) -> Tensor:
        """[B, channels + 1, *sides] for a network: 0 where not told, and a channel that says so."""
        told = value.isnan().logical_not().all(1, keepdim=True)
        channels = torch.cat((value.nan_to_num(0.0), told.to(value.dtype)), dim=1)
        for dim, side in enumerate(sides, start=2):
            if self.factor != 1 or channels.shape[dim] != side:
                centre = torch.arange(side, device=value.device) + 0.5
                channels = _interpolate(channels, dim, centre / self.factor - 0.5)
        return channels


def _interpolate(value: Tensor, dim: int, place: Tensor) -> Tensor:
    """`value` at fractional places [N] along `dim`, linearly; beyond its ends it is constant."""
    place = place.clamp(0, value.shape[dim] - 1)
    below = place.floor().long()
    above = (below + 1).clamp(max=value.shape[dim] - 1)
    part = (place - below).to(value.dtype).reshape(-1, *(1,) * (value.ndim - dim - 1))
    return torch.lerp(value.index_select(dim, below), value.index_select(dim, above), part)


def _spread(name: str, value: Tensor, count: int, ndim: int) -> Tensor:
    """One value for all `count` samples, or one for each; a batch has `ndim` dimensions."""
    if value.ndim == ndim - 1:
        value = value.expand(count, *value.shape)
    if value.ndim != ndim or len(value) != count:
        raise ValueError(
            f"{name} must have one entry for each of {count} samples, "
            f"but its shape is {list(value.shape)}."
        )
    return value


def _numbers(name: str, value: Any, count: int, shape: tuple[int | None, ...]) -> Tensor:
    value = torch.as_tensor(value)
    if not value.is_floating_point():
        raise ValueError(f"{name} must hold floating-point numbers, not {value.dtype}.")
    value = _spread(name, value, count, len(shape) + 1)
    if any(want not in (None, side) for want, side in zip(shape, value.shape[1:], strict=True)):
        wanted = ", ".join("any" if want is None else str(want) for want in shape)
        raise ValueError(f"{name} must be [{count}, {wanted}], not {list(value.shape)}.")
    return value


class ClassEmbedding(nn.Module):
    """A class index [B] -> [B, features]; -1, "not told", has a vector of its own."""

    def __init__(self, classes: int, features: int) -> None:
        super().__init__()
        self.table = nn.Embedding(classes + 1, features)
        self.none = classes

    def forward(self, index: Tensor) -> Tensor:
        # An index past the last class is an error like any other, not "not told".
        index = index + (index >= self.none)
        return self.table(torch.where(index < 0, self.none, index))


class VectorEmbedding(nn.Module):
    """A vector [B, size] -> [B, features]; NaN, "not told", has a vector of its own."""

    def __init__(self, size: int, features: int) -> None:
        super().__init__()
        self.layer = nn.Linear(size, features)
        self.none = nn.Parameter(torch.zeros(features))

    def forward(self, vector: Tensor) -> Tensor:
        told = vector.isnan().any(1, keepdim=True).logical_not()
        known = vector.nan_to_num(0.0).to(self.none.dtype)
        return torch.where(told, self.layer(known), self.none)
