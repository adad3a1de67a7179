"""Magnitudes of a sound whose mel frames are told: what is drawn is held to them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor

from mmdiff.audio.mel import Mel
from mmdiff.nn import STFT, Magnitudes

_AGAIN = 2  # times that a sound is held to its frames


class MelMagnitudes(Magnitudes):
    """`Magnitudes` of which `decode` makes a sound with the mel frames that it is given.

    Phases that go with all magnitudes do not exist, and what is drawn is not quite what was told.
    So once a sound is found, the magnitudes are made louder by what its frames lack, interpolated
    between frames and between the centres of bands, and it is found again; and so once more.

    Args:
        stft, frames, rounds: see `Magnitudes`.
        mel: how the frames were made.
        scale: of the signal: frames are of x / scale.
    """

    between: Tensor

    def __init__(
        self, stft: STFT, mel: Mel, frames: int = 1, scale: float = 1.0, rounds: int = 32
    ) -> None:
        super().__init__(stft, frames, rounds=rounds)
        self.config = {
            "stft": stft, "mel": mel, "frames": frames, "scale": scale, "rounds": rounds,
        }  # fmt: skip
        self.mel, self.scale, self.given = mel, scale, ("mel",)
        self.reach += _AGAIN * (self.reach + mel.window)
        bins = torch.arange(mel.window // 2 + 1) * (mel.sample_rate / mel.window)
        centres = (mel.filters @ bins) / mel.filters.sum(1)
        here = torch.arange(stft.n_fft // 2 + 1) * (mel.sample_rate / stft.n_fft)
        self.register_buffer("between", _hats(centres, here).T, persistent=False)

    def encode(self, x: Tensor, mel: Tensor) -> Tensor:  # type: ignore[override]
        """x [B, C, L] -> [B, C width, about L / factor]; of the frames nothing is used."""
        return super().encode(x)

    def decode(self, z: Tensor, spatial: Sequence[int], mel: Tensor) -> Tensor:  # type: ignore[override]
        """A signal of about these magnitudes and of these frames [B, C bands, N]."""
        hop, window = self.stft.factor, self.stft.n_fft
        centre = torch.arange(z.shape[2] * self.frames) * hop + hop - window / 2
        frames = _hats((torch.arange(mel.shape[2]) + 0.5) * self.mel.hop, centre).to(self.between)
        x = super().decode(z, spatial)
        for _ in range(_AGAIN):
            found = rearrange(self.mel.of(x / self.scale), "b c m n -> b (c m) n")
            lacks = rearrange(
                (mel - found).to(self.between), "b (c m) n -> b c m n", m=self.mel.bands
            )
            louder = self.between @ lacks @ frames / 2  # the logarithm of a power is twice as much
            z = z + rearrange(louder, "b c k (l f) -> b (c f k) l", f=self.frames)
            x = super().decode(z, spatial)
        return x


def _hats(places: Tensor, here: Tensor) -> Tensor:
    """[places, here]: linear interpolation from rising `places`, held beyond both ends."""
    if len(places) == 1:
        return torch.ones(1, len(here))
    above = torch.searchsorted(places, here).clamp(1, len(places) - 1)
    part = ((here - places[above - 1]) / (places[above] - places[above - 1])).clamp(0, 1)
    unit = torch.eye(len(places))
    return unit[:, above - 1] * (1 - part) + unit[:, above] * part
