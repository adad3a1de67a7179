"""Several signals as one tensor."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Packing:
    """Signals of `shapes`, each [C, *spatial], by name, as one signal [1, N]."""

    shapes: Mapping[str, tuple[int, ...]]

    def __post_init__(self) -> None:
        shapes = {name: tuple(shape) for name, shape in self.shapes.items()}
        object.__setattr__(self, "shapes", shapes)

    @property
    def shape(self) -> tuple[int, int]:
        """Of a packed signal: (1, N)."""
        return 1, sum(map(math.prod, self.shapes.values()))

    def pack(self, signals: Mapping[str, Tensor]) -> Tensor:
        """Signals [..., C, *spatial] -> [..., 1, N].

        Raises:
            ValueError: signals of other names or shapes.
        """
        found = {name: tuple(signals[name].shape[-len(s) :]) for name, s in self.shapes.items()}
        if signals.keys() != self.shapes.keys() or found != self.shapes:
            raise ValueError(f"what is packed must be of shapes {self.shapes}, not {found}.")
        flat = [signals[name].flatten(-len(shape)) for name, shape in self.shapes.items()]
        return torch.cat(flat, dim=-1).unsqueeze(-2)

    def unpack(self, x: Tensor) -> dict[str, Tensor]:
        """[..., 1, N] -> the signals [..., C, *spatial].

        Raises:
            ValueError: another N.
        """
        if tuple(x.shape[-2:]) != self.shape:
            raise ValueError(f"a packed signal is {list(self.shape)}, not {list(x.shape[-2:])}.")
        parts = x.squeeze(-2).split([math.prod(s) for s in self.shapes.values()], dim=-1)
        pairs = zip(parts, self.shapes.items(), strict=True)
        return {name: part.unflatten(-1, shape) for part, (name, shape) in pairs}
