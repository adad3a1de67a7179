"""Recipes for videos."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from mmdiff.diffusion import Diffusion
from mmdiff.modality import Data
from mmdiff.nn import Transformer, UNet
from mmdiff.noise import as_seed
from mmdiff.recipe import Recipe
from mmdiff.sampling import Sampling
from mmdiff.schedules import Trigonometric


def v(data: Data, seed: int = 0) -> Recipe:
    """Moving digits in about an hour on two CPU cores: a U-Net of three dimensions, 3.9 M weights.

    By the loss of v on the half circle (Salimans & Ho 2022); the network names x0 (Li & He 2025).
    Cubes of two pixels and frames are one position of it: all values of coarser ones would have to
    fit through the channels of one position, which is learned far slower.
    """
    channels = data.shape[0]
    torch.manual_seed(as_seed(seed))
    network = UNet(3, channels, channels, (32, 64, 128), 1, (False, True, True), 2, data.conditions)
    return Recipe(
        Diffusion(network, Trigonometric(), "x0", "v", times=(0.8, 0.7)),
        epochs=5,
        batch=32,
        lr=3e-3,
        optimizer="muon",
        warmup=200,
        look_every=2000,
        sampling=Sampling(
            "dpmpp2msde", 25, guidance=3.0 if data.conditions else None, clip=(-1.0, 1.0)
        ),
        samples=20,
        seed=seed,
        made={"preset": "v"},
    )


def transformer(data: Data, seed: int = 0) -> Recipe:
    """The same by a transformer of 4.7 M parameters over patches of 2 frames and 8 x 8 pixels.

    Patches of space and time are tokens of one sequence, as of Sora; it draws clips of any size and
    length.
    """
    channels, modality = data.shape[0], data.modality
    recipe = v(data, seed)
    torch.manual_seed(as_seed(seed))
    model: Any = recipe.model
    network = Transformer(
        3, channels, channels, 192, 6, patch=(2, 8, 8),
        spacing=(1 / modality.rate, 1.0, 1.0), conditions=data.conditions,
    )  # fmt: skip
    model = Diffusion(network, model.schedule, "x0", "v", times=model.times)
    return replace(recipe, model=model, made={"preset": "transformer"})
