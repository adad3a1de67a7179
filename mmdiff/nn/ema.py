"""The exponential moving average of a model's weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class EMA:
    """average <- decay * average + (1 - decay) * weights, after every optimiser step.

    Early on the decay is (1 + n) / (10 + n) after n updates, so that the first, random weights
    are soon forgotten. The average lives beside the model and is swapped in: nothing is
    deep-copied, so networks that cannot be copied safely are averaged just as well.

    Args:
        model: whose parameters are averaged; buffers are not.
        decay: the decay that is reached, in [0, 1).
    """

    def __init__(self, model: nn.Module, decay: float = 0.9995) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"the EMA decay must be in [0, 1), not {decay}.")
        self.decay = decay
        self.updates = 0
        self._names = [name for name, _ in model.named_parameters()]
        self._weights: list[Tensor] = [parameter for _, parameter in model.named_parameters()]
        self._average = [parameter.detach().clone() for parameter in self._weights]

    @torch.no_grad()
    def update(self) -> None:
        """Take the model's present weights into the average."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(self._average, self._weights, 1 - decay)
        self.updates += 1

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Inside the context the model has the averaged weights; after it, its own again."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for weight, average in zip(self._weights, self._average, strict=True):
            held = weight.clone()
            weight.copy_(average)
            average.copy_(held)

    def state_dict(self) -> dict[str, Tensor]:
        """The averaged parameters under the model's own names."""
        return dict(zip(self._names, self._average, strict=True))

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor], updates: int) -> None:
        """Go on from `state_dict()` after `updates` updates."""
        for name, average in zip(self._names, self._average, strict=True):
            average.copy_(state[name])
        self.updates = updates
