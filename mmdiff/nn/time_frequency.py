"""A network that looks at a spectrum as at a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from mmdiff.conditions import Condition, Signal
from mmdiff.nn.unet import UNet

_PLACES = 8  # channels that say how high a position is
_POWER = 0.3  # loudness rises about so with magnitude
_FAINT = 1e-4  # of a squared magnitude: below, all counts as silence


class TimeFrequency(nn.Module):
    """A `UNet` over time and frequency for codes of complex spectra, [B, signals 2 bins, frames].

    The partials of a voice look alike a little higher or lower. Convolutions along both axes know
    that, while those along time alone have to learn it for every bin. Of "source", a spectrum like
    x, the network also sees the logarithm of its power, and what it would be if magnitudes were
    what they sound like.

    Args:
        signals: channels of the sound.
        bins: of its spectrum, see `STFT`; what is left of them by groups comes out as 0.
        outputs: so many times the channels of x are returned.
        channels: width of each level.
        group: neighbouring bins that share a position; each position has learned channels that say
            how high it is.
    """

    def __init__(
        self,
        signals: int,
        bins: int,
        outputs: int = 1,
        channels: Sequence[int] = (64, 96, 128),
        group: int = 8,
    ) -> None:
        super().__init__()
        if not 1 <= group <= bins:
            raise ValueError(f"a group has 1 .. {bins} bins, not {group}.")
        self.config: dict[str, Any] = {
            "signals": signals, "bins": bins, "outputs": outputs, "channels": list(channels),
            "group": group,
        }  # fmt: skip
        self.bins, self.group, self.rows = bins, group, bins // group
        self.conditions: Mapping[str, Condition] = {"source": Signal(signals * 2 * bins)}
        seen = signals * (2 + 2 + 2 + 1) * group + _PLACES  # see `forward`
        made = outputs * signals * 2 * group
        self.network = UNet(2, seen, made, channels, 1, local=True)
        self.places = nn.Parameter(torch.randn(_PLACES, self.rows, 1) / 3)

    def forward(self, x: Tensor, t: Tensor, source: Tensor | None = None) -> Tensor:
        """x [B, signals 2 bins, frames] at t [B] -> [B, outputs signals 2 bins, frames]."""
        source = torch.zeros_like(x) if source is None else source.nan_to_num(0.0).to(x)
        source = rearrange(source, "b (c i f) l -> b c i f l", i=2, f=self.bins)
        power = source.square().sum(2, keepdim=True) + _FAINT
        loud = source * power ** ((_POWER - 1) / 2)
        seen = [self._folded(part) for part in (x, source, loud, power.log() / 4)]
        places = self.places.expand(len(x), -1, -1, x.shape[2]).to(x)
        made = self.network(torch.cat((*seen, places), 1), t)
        made = rearrange(made, "b (o g) r l -> b o (r g) l", g=self.group)
        return F.pad(made, (0, 0, 0, self.bins - made.shape[2])).flatten(1, 2)

    def _folded(self, x: Tensor) -> Tensor:
        """Any spectra of a batch -> [B, parts group, rows, frames]."""
        x = x.reshape(len(x), -1, self.bins, x.shape[-1])[:, :, : self.rows * self.group]
        return rearrange(x, "b p (r g) l -> b (p g) r l", g=self.group)
