"""The recipes for sound from sound: an enhancer, an upsampler and a vocoder.

Each works on a code: MDCT coefficients, of which a model's task tells it much already. So what is
left to draw is little, and few steps do. The networks are local: any length, in windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from mmdiff.audio.priorgrad import PriorGrad
from mmdiff.diffusion import Diffusion
from mmdiff.modality import Data
from mmdiff.nn import MDCT, Companded, Gated, Residual, UNet
from mmdiff.noise import as_seed
from mmdiff.recipe import Recipe
from mmdiff.sampling import Sampling
from mmdiff.schedules import Trigonometric

BLOCK = 0.016  # seconds: frames of twice that show the harmonics of a voice
WIDTHS = (128, 144, 176)


def enhance(data: Any, seed: int = 0) -> Recipe:
    """What a recording's coefficients lack of the clean sound's, by weighing them."""
    return _recipe("residual", data, Residual(MDCT(_bands(data))), 1, seed, ["source"])


def upsample(data: Any, seed: int = 0) -> Recipe:
    """The coefficients above half of the lower rate; all below come back from the source."""
    bands = _bands(data)
    known = bands * data.task.low // data.task.sample_rate
    return _recipe("residual", data, Residual(Companded(MDCT(bands)), known), 4, seed)


def vocode(data: Any, seed: int = 0) -> Recipe:
    """All of a sound, drawn from noise of the spectrum that its mel frames tell."""
    return _recipe("priorgrad", data, PriorGrad(MDCT(_bands(data)), data.task.mel), 16, seed)


def _bands(data: Any) -> int:
    """Coefficients of a block, an even number."""
    return 2 * round(BLOCK * data.sample_rate / 2)


def _recipe(
    name: str, data: Data, codec: Any, steps: int, seed: int, weighed: Sequence[str] = ()
) -> Recipe:
    torch.manual_seed(as_seed(seed))
    inside = codec.channels(data.shape[0])
    told = {name: kind.inside(codec.inner) for name, kind in data.conditions.items()}
    outputs = inside * (2 + len(weighed) if weighed else 1)
    network: Any = UNet(1, inside, outputs, WIDTHS, conditions=told, local=True)
    if weighed:
        network = Gated(network, list(weighed))
    model = Diffusion(
        network, Trigonometric(), "v", times="late", hide=0, codec=codec, conditions=data.conditions
    )
    return Recipe(
        model,
        epochs=50,
        batch=16,
        lr=2e-3,
        optimizer="muon",
        warmup=200,
        ema=0.999,
        look_every=1000,
        sampling=Sampling("ddim", steps),
        samples=8,
        seed=seed,
        made={"preset": name},
    )
