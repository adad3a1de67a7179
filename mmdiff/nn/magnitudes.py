"""Magnitudes of a spectrum as a code, whose phases are found afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from mmdiff.nn.stft import STFT

_FLOOR = 1e-4  # of a magnitude: about what rounding to 16 bits leaves in silence
_MOMENTUM = 0.99


class Magnitudes(nn.Module):
    """log |S| of the short-time spectrum S of x; `decode` finds phases that go with it.

    Phases are as good as random to a small network, and ears hear them only where frames do not
    agree: each round takes the phases of the nearest spectrum that a signal can have (Griffin &
    Lim 1984, with the momentum of Perraudin et al. 2013). All begin at 0, so that a place comes out
    by what is near it alone, within `reach` samples.

    With `first`, only bins from that one on are coded. The ones below come back, with their phases,
    from `source`, a signal like x.

    Args:
        stft: of one dimension, in "complex" form.
        frames: how many of them make one position of the code.
        first: the lowest bin that is coded.
        rounds: of the search for phases.
    """

    def __init__(self, stft: STFT, frames: int = 1, first: int = 0, rounds: int = 32) -> None:
        super().__init__()
        bins = stft.width // 2
        if stft.form != "complex" or stft.dims != 1:
            raise ValueError("magnitudes need a complex STFT of one dimension.")
        if frames < 1 or not 0 <= first < bins:
            raise ValueError(f"frames must be 1 or more, and first 0 .. {bins - 1}.")
        self.config: dict[str, Any] = {
            "stft": stft, "frames": frames, "first": first, "rounds": rounds,
        }  # fmt: skip
        self.stft, self.frames, self.first, self.rounds = stft, frames, first, rounds
        self.given = ("source",) if first else ()
        self.factor = stft.factor * frames
        self.width = frames * (bins - first)
        self.reach = (rounds + 1) * (stft.n_fft - stft.factor)

    @property
    def inner(self) -> nn.Module:
        """The code of signals that a model is told: all bins."""
        return Magnitudes(self.stft, self.frames)

    def channels(self, channels: int) -> int:
        return channels * self.width

    def encode(self, x: Tensor, source: Tensor | None = None) -> Tensor:
        """x [B, C, L] -> [B, C width, about L / factor]."""
        size = self._spectrum(x)[:, :, self.first :].abs().clamp(min=_FLOOR).log()
        size = nn.functional.pad(size, (0, -size.shape[3] % self.frames, 0, 0), mode="replicate")
        return rearrange(size, "b c k (l f) -> b (c f k) l", f=self.frames)

    def decode(self, z: Tensor, spatial: Sequence[int], source: Tensor | None = None) -> Tensor:
        """A signal of about these magnitudes, cut to `spatial`, from `source` on where coded."""
        size = rearrange(
            _wide(z), "b (c f k) l -> b c k (l f)", f=self.frames, k=self.width // self.frames
        ).exp()
        length = spatial[0]
        whole = size.shape[3] * self.stft.factor
        known = size[:, :, :0]
        if source is not None:
            known = self._spectrum(nn.functional.pad(source, (0, whole - length)))
            known = known[:, :, : self.first, : size.shape[3]]
        last: Tensor | float = 0.0
        spectrum = torch.complex(size, torch.zeros_like(size))
        for _ in range(self.rounds):
            found = self._spectrum(self._signal(torch.cat((known, spectrum), 2), whole))
            found = found[:, :, self.first :, : size.shape[3]]
            ahead = found + _MOMENTUM * (found - last)
            spectrum, last = size * ahead / ahead.abs().clamp(min=1e-9), found
        return self._signal(torch.cat((known, spectrum), 2), length)

    def _spectrum(self, x: Tensor) -> Tensor:
        """[B, C, L] -> [B, C, bins, frames], complex."""
        real, imaginary = rearrange(
            self.stft.encode(_wide(x)), "b (c i k) l -> i b c k l", i=2, c=x.shape[1]
        )
        return torch.complex(real, imaginary)

    def _signal(self, spectrum: Tensor, length: int) -> Tensor:
        parts = torch.cat((spectrum.real, spectrum.imag), 2)
        return self.stft.decode(rearrange(parts, "b c k l -> b (c k) l"), (length,))


def _wide(x: Tensor) -> Tensor:
    """In float32 or wider, as Fourier transforms are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
