"""Log-mel frames: what a vocoder is told of a sound."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
import torchaudio.functional as taf
from einops import rearrange
from torch import Tensor

FLOOR = 1e-8  # of a band's power, just above what rounding to 16 bits leaves in silence


@dataclass(frozen=True)
class Mel:
    """The natural logarithm of the power in mel bands, a frame for every `hop` samples.

    Frame k is centred on sample (k + 1/2) hop: it stands for samples k hop to (k + 1) hop - 1, as a
    value of a `Signal` does. The window is Hann's. Beyond its ends a sound is mirrored,
    so that a clip that was cut out of a longer sound has no click there. The bands are Slaney's, as
    librosa's are by default; no power counts as less than `FLOOR`. The same with librosa:

        margin, frames = (window - hop) // 2, -(-len(x) // hop)
        padded = np.pad(x, (margin, margin + frames * hop - len(x)), "symmetric")
        power = librosa.feature.melspectrogram(
            y=padded, sr=sample_rate, n_fft=window, hop_length=hop, n_mels=bands, center=False
        )
        mel = np.log(np.maximum(power, 1e-8))

    For 16-bit speech the values lie in about -18 .. 4.

    Attributes:
        sample_rate: in Hz.
        bands: how many, from 0 Hz to half the sample rate.
        hop: samples from frame to frame.
        window: samples that a frame looks at, `hop` or more, by an even number.
    """

    sample_rate: int
    bands: int = 80
    hop: int = 256
    window: int = 1024

    def __post_init__(self) -> None:
        if min(self.sample_rate, self.bands, self.hop) < 1:
            raise ValueError(f"a sample rate, bands and a hop are 1 or more: {self}.")
        if self.window < self.hop or (self.window - self.hop) % 2:
            raise ValueError(
                f"a window of {self.window} samples cannot be centred on a hop of {self.hop}: "
                "it is longer by an even number, or as long."
            )

    @property
    def filters(self) -> Tensor:
        """[bands, window // 2 + 1]: what each band takes of each frequency's power."""
        return _filters(self.sample_rate, self.bands, self.window)

    def of(self, x: Tensor) -> Tensor:
        """`x` [..., L] in [-1, 1] -> [..., bands, ceil(L / hop)], float32."""
        length = x.shape[-1]
        margin, frames = (self.window - self.hop) // 2, -(-length // self.hop)
        place = torch.arange(-margin, frames * self.hop + margin, device=x.device) % (2 * length)
        padded = x.float()[..., torch.minimum(place, 2 * length - 1 - place)]
        hann = torch.hann_window(self.window, device=x.device)
        bins = torch.fft.rfft(padded.unfold(-1, self.window, self.hop) * hann)
        power = bins.abs().square() @ self.filters.to(x.device).T
        return rearrange(power.clamp(min=FLOOR).log(), "... frames bands -> ... bands frames")


@lru_cache(maxsize=8)
def _filters(sample_rate: int, bands: int, window: int) -> Tensor:
    table = taf.melscale_fbanks(
        window // 2 + 1, 0.0, sample_rate / 2, bands, sample_rate, norm="slaney", mel_scale="slaney"
    )
    return rearrange(table, "bins bands -> bands bins")
