"""The recipes for sound from sound: an enhancer, an upsampler and a vocoder.

Each works on a code of which its task tells it much already. So what is left to draw is little, and
one step does. Where the source has phases, the code is a complex spectrum; where there are none, it
is magnitudes alone. The networks are local: any length, in windows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from mmdiff.audio.mel_magnitudes import MelMagnitudes
from mmdiff.diffusion import Diffusion
from mmdiff.nn import STFT, Gated, Magnitudes, Residual, TimeFrequency, UNet
from mmdiff.noise import as_seed
from mmdiff.prediction import Weighting
from mmdiff.recipe import Recipe
from mmdiff.sampling import Sampling
from mmdiff.schedules import Trigonometric

BLOCK = 0.016  # seconds, of one position of a code
WIDTHS = {
    "enhance": (64, 96, 128),
    "upsample": (96, 112, 128),  # of which the half below is known
    "vocode": (128, 144, 176),
}

_FRAMES = 2  # of a spectrum in a block; windows of twice that show the harmonics of a voice
_ROUNDS = 24  # of the search for phases
_BELOW = 15 / 16  # of half the lower rate: what a resampling filter leaves as it was


def enhance(data: Any, seed: int = 0) -> Recipe:
    """What a recording's spectrum lacks of the clean sound's, by weighing it."""
    torch.manual_seed(as_seed(seed))
    hop = 2 * round(BLOCK * data.sample_rate / 2)
    network = TimeFrequency(data.shape[0], hop + 1, 3, WIDTHS["enhance"])
    # However faint the noise is, as much of it is to be found.
    return _recipe(
        "residual", data, Residual(STFT(2 * hop, hop)), Gated(network, ["source"]), seed,
        weighting="relative", batch=8,
    )  # fmt: skip


def upsample(data: Any, seed: int = 0) -> Recipe:
    """The magnitudes above half of the lower rate; all below comes back from the source."""
    stft = _stft(data)
    first = int(_BELOW * stft.n_fft * data.task.low / 2 / data.task.sample_rate)
    return _magnitudes(data, Magnitudes(stft, _FRAMES, first, _ROUNDS), seed)


def vocode(data: Any, seed: int = 0) -> Recipe:
    """The magnitudes of a sound whose mel frames are told."""
    codec = MelMagnitudes(_stft(data), data.task.mel, _FRAMES, data.scale, _ROUNDS)
    return _magnitudes(data, codec, seed)


def _stft(data: Any) -> STFT:
    hop = round(BLOCK * data.sample_rate / _FRAMES)
    return STFT(4 * hop, hop)


def _magnitudes(data: Any, codec: Any, seed: int) -> Recipe:
    torch.manual_seed(as_seed(seed))
    inside = codec.channels(data.shape[0])
    told = {name: kind.inside(codec.inner) for name, kind in data.conditions.items()}
    network = UNet(1, inside, 2 * inside, WIDTHS[data.task.name], conditions=told, local=True)
    return _recipe("magnitudes", data, codec, Gated(network, []), seed)


def _recipe(
    name: str,
    data: Any,
    codec: Any,
    network: nn.Module,
    seed: int,
    weighting: Weighting = "uniform",
    batch: int = 16,
) -> Recipe:
    model = Diffusion(
        network, Trigonometric(), "v", weighting, times="late", hide=0, codec=codec,
        conditions=data.conditions,
    )  # fmt: skip
    return Recipe(
        model,
        epochs=50,
        batch=batch,
        lr=2e-3,
        optimizer="muon",
        warmup=200,
        ema=0.999,
        look_every=1000,
        sampling=Sampling("ddim", 1),
        samples=8,
        seed=seed,
        made={"preset": name},
    )
