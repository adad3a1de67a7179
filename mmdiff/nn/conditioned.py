"""What every backbone does with the time and with what it is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmdiff.conditions import Condition
from mmdiff.nn.embeddings import TimeEmbedding


class Conditioned(nn.Module):
    """A network that is told the time, and the `conditions` that it declares by name.

    Args:
        conditions: such as {"label": Class(10)}.
        features: of the vector that the time and pooled conditions make together.
    """

    def __init__(self, conditions: Mapping[str, Condition] | None, features: int) -> None:
        super().__init__()
        self.conditions: dict[str, Any] = dict(conditions or {})
        self.time = TimeEmbedding(features)
        self.embeddings = nn.ModuleDict(
            {name: kind.embedding(features) for name, kind in self._that_enter("embedding")}
        )

    def _that_enter(self, way: str) -> list[tuple[str, Any]]:
        return [item for item in self.conditions.items() if item[1].enters == way]

    def _given(self, x: Tensor, told: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
        """A value for every condition: what is left out is not told.

        Raises:
            ValueError: a name that is not among the conditions.
        """
        unknown = told.keys() - self.conditions.keys()
        if unknown:
            known = ", ".join(self.conditions) or "none"
            raise ValueError(f"unknown condition {min(unknown)!r}; this network knows: {known}.")
        values = ((name, kind, told.get(name)) for name, kind in self.conditions.items())
        return {name: kind.nothing(x) if v is None else v for name, kind, v in values}

    def _embed(self, t: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        """t [B], and values by name -> [B, features]."""
        embedding = self.time(t)
        for name, module in self.embeddings.items():
            embedding = embedding + module(given[name])
        return embedding

    def _with_signals(self, x: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        """x [B, C, *spatial] -> [B, C + `_aligned()`, *spatial], with the signals as channels."""
        sides = x.shape[2:]
        aligned = [kind.align(given[n], sides).to(x) for n, kind in self._that_enter("channels")]
        return torch.cat((x, *aligned), dim=1) if aligned else x

    def _aligned(self) -> int:
        """How many channels the signals add."""
        return sum(kind.channels + 1 for _, kind in self._that_enter("channels"))
