"""Codes whose coefficients are brought closer together, as ears do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn


class Companded(nn.Module):
    """The code of another codec, each coefficient c as sign(c) |c|^power.

    Of speech, few coefficients are large and most of what one hears is in small ones: with a power
    of 1/2 an error costs what it does to the ear, not to the waveform (Richter et al. 2023 do so
    with a spectrogram).
    """

    def __init__(self, codec: Any, power: float = 0.5) -> None:
        super().__init__()
        if not 0 < power <= 1:
            raise ValueError(f"a power must lie in (0, 1], not {power}.")
        self.codec = codec
        self.power = power
        self.factor: int = codec.factor

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that it was made with."""
        return {"codec": self.codec, "power": self.power}

    def channels(self, channels: int) -> int:
        inner: int = self.codec.channels(channels)
        return inner

    def encode(self, x: Tensor) -> Tensor:
        return _signed_power(self.codec.encode(x), self.power)

    def decode(self, z: Tensor, spatial: Sequence[int]) -> Tensor:
        x: Tensor = self.codec.decode(_signed_power(z, 1 / self.power), spatial)
        return x


def _signed_power(x: Tensor, power: float) -> Tensor:
    return x.abs().pow(power).copysign(x)
