"""A network that weighs what it is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from mmdiff.conditions import Condition


class Gated(nn.Module):
    """w_0 x + w_1 s_1 + ... + d: weights and a rest for each value of x and of the signals s.

    The weights of a noisy recording's spectrum are smooth where the spectrum itself, with its
    phases, is not: they are what a small network learns first (masks, as in Wang & Chen 2018).

    Args:
        backbone: returns (2 + the number of signals) times the channels of x.
        signals: which of its conditions are weighed; each has the channels and sides of x.
    """

    def __init__(self, backbone: Any, signals: list[str]) -> None:
        super().__init__()
        self.backbone = backbone
        self.signals = list(signals)
        self.conditions: Mapping[str, Condition] = dict(self.backbone.conditions)

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that it was made with."""
        return {"backbone": self.backbone, "signals": self.signals}

    def forward(self, x: Tensor, t: Tensor, **told: Tensor) -> Tensor:
        """x [B, C, *spatial] at t [B] -> [B, C, *spatial]."""
        rest, weight, *weights = self.backbone(x, t, **told).chunk(2 + len(self.signals), dim=1)
        made = rest + weight * x
        for name, weight in zip(self.signals, weights, strict=True):
            if name in told:
                made = made + weight * told[name].nan_to_num(0.0)
        return made
