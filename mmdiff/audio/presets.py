"""The recipes for sound: a U-Net or a transformer behind a front end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import torch

from mmdiff.audio.modality import Sound
from mmdiff.diffusion import Diffusion
from mmdiff.errors import UserError
from mmdiff.modality import Data
from mmdiff.nn import FrontEnd, Transformer, UNet
from mmdiff.nn.frontends import parse
from mmdiff.noise import as_seed
from mmdiff.recipe import Recipe
from mmdiff.sampling import Sampling
from mmdiff.schedules import Trigonometric

FRONTEND = "mdct:8"  # which docs/frontends.md comes to
WIDTH = 128

_COARSEST = 32  # positions, at most, on a U-Net's last level
_BASE = 64  # samples that a position of the base width stands for
_WIDEST = 4.0  # times the base width
_MULTIPLE = 16  # divides every width


def v(data: Data, frontend: str = FRONTEND, width: int = WIDTH, seed: int = 0) -> Recipe:
    """v on the half circle (Salimans & Ho 2022), which needs no care about loudness.

    A U-Net of one dimension, deeper for longer clips, told what the data tell; the optimiser Muon
    at a falling learning rate, averaged weights, noise levels drawn where signal and noise are
    alike.

    Args:
        data: of sounds.
        frontend: a name that `mmdiff.nn.frontends.parse` knows.
        width: of the U-Net where a position stands for 64 samples, see `levels`.
        seed: of the weights and of the training.

    Raises:
        UserError: a front end that takes more samples at a time than a clip has.
        ValueError: an unknown front end.
    """
    channels, _ = data.shape
    lengths = [length for _, length in getattr(data, "shapes", [data.shape])]
    torch.manual_seed(as_seed(seed))
    codec = parse(frontend)
    if codec.factor > min(lengths):
        raise UserError(
            f"the front end {frontend} takes {codec.factor:,} samples at a time, and a clip has "
            f"only {min(lengths):,}: use one with a smaller number, or longer clips."
        )
    inside = codec.channels(channels)
    widths = levels(max(lengths), codec.factor, width)
    told = {name: kind.inside(codec) for name, kind in data.conditions.items()}
    network = UNet(1, inside, inside, widths, conditions=told)
    front = FrontEnd(codec, network, data.conditions)
    model = Diffusion(front, Trigonometric(), "v", times="logit_normal")
    return Recipe(
        model,
        epochs=130,
        batch=32,
        lr=3e-3,
        optimizer="muon",
        warmup=500,
        look_every=1600,
        sampling=Sampling(
            "dpmpp2msde",
            50,
            guidance=1.5 if any(kind.choices for kind in data.conditions.values()) else None,
            spin=codec.factor if codec.factor > 1 else 0,
        ),
        seed=seed,
        made={"preset": "v", "frontend": frontend, "width": width},
    )


def levels(length: int, factor: int, width: int) -> list[int]:
    """Widths of a U-Net's levels for clips of `length` samples.

    The first level has length / factor positions, each further one half as many, until at most 32
    are left: the longer the clip, the deeper the network. A level is `width` wide where a position
    stands for 64 samples, and wider by the root of 2 where it stands for twice as many, up to four
    times: so a level costs what the next one does.

    With a width of 128, 5120 samples behind a factor of 16 make (64, 96, 128, 176, 256), and 5 s at
    48 kHz five more levels, of up to 512.

    Args:
        length: of a clip, in samples.
        factor: of the front end, samples for each position of what it makes.
        width: as above; widths are rounded to multiples of 16.
    """
    positions, samples = -(-length // factor), factor
    widths = []
    while True:
        wide = width * min(_WIDEST, (samples / _BASE) ** 0.5)
        widths.append(max(1, round(wide / _MULTIPLE)) * _MULTIPLE)
        if positions <= _COARSEST:
            return widths
        positions, samples = -(-positions // 2), 2 * samples


def transformer(data: Data, frontend: str = "mdct:32", seed: int = 0) -> Recipe:
    """A transformer of 4.6 M parameters, a token for each position of the code, trained as `v` is.

    It predicts x0, by the loss of v (Li & He 2025). Its cost grows with the square of the number of
    tokens: frames are longer than those of `v`. Tokens know their times in seconds.

    Args:
        data: of sounds.
        frontend: a name that `mmdiff.nn.frontends.parse` knows.
        seed: of the weights and of the training.

    Raises:
        UserError: a front end that takes more samples at a time than a clip has.
        ValueError: an unknown front end.
    """
    recipe = v(data, frontend, seed=seed)
    front: Any = cast(Diffusion, recipe.model).backbone
    codec, channels = front.codec, front.backbone.config["in_channels"]
    frame = codec.factor / cast(Sound, data.modality).sample_rate
    torch.manual_seed(as_seed(seed))
    network = Transformer(
        1,
        channels,
        channels,
        192,
        6,
        patch=1,
        spacing=[frame],
        conditions=front.backbone.conditions,
    )
    front = FrontEnd(codec, network, data.conditions)
    model = Diffusion(front, Trigonometric(), "x0", "v", times="logit_normal")
    return replace(recipe, model=model, made={"preset": "transformer", "frontend": frontend})
