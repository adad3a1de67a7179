"""What a trainer trains: a module with a loss."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from mmdiff.conditions import Condition
from mmdiff.noise import Draws


class Objective(nn.Module):
    """A module whose loss a `Trainer` brings down; `mmdiff.Diffusion` is one.

    Attributes:
        conditions: what of an item it is told, by name.
    """

    conditions: Mapping[str, Condition]

    @abstractmethod
    def loss(self, batch: Mapping[str, Tensor], draws: Draws) -> Tensor:
        """A scalar; all that is random comes from `draws`."""

    @abstractmethod
    def losses(self, batch: Mapping[str, Tensor], draws: Draws) -> dict[float, Tensor]:
        """What validation shows, by the noise level t."""

    def prepare(self, batches: Iterable[Mapping[str, Tensor]]) -> None:
        """Measure on data what must be known before training begins; nothing, by default."""

    def forward(self, batch: Mapping[str, Tensor], draws: Draws) -> Tensor:
        """The loss: what a wrapper that distributes or compiles a module calls."""
        return self.loss(batch, draws)
