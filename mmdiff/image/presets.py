"""Recipes for pictures: the library's own, and the thesis's."""

from __future__ import annotations

from dataclasses import replace

import torch

from mmdiff.diffusion import Diffusion
from mmdiff.image.diffunet import DiffUNet, check_sides
from mmdiff.modality import Data
from mmdiff.nn import Transformer, UNet
from mmdiff.noise import as_seed
from mmdiff.recipe import Recipe
from mmdiff.sampling import Sampling
from mmdiff.schedules import LinearBeta, Trigonometric

RANGE = (-1.0, 1.0)


def fast(data: Data, seed: int = 0) -> Recipe:
    """Good digits in about an hour on two CPU cores: a U-Net of 2.4 M parameters, told the labels.

    eps, 1000 betas, min-SNR weights, the optimiser Muon at a falling learning rate, weights
    averaged.
    """
    channels, *sides = data.shape
    torch.manual_seed(as_seed(seed))
    wide = (64, 128) if max(sides) <= 32 else (64, 128, 256)
    backbone = UNet(2, channels, channels, wide, patch=2, conditions=data.conditions)
    return Recipe(
        Diffusion(backbone, LinearBeta(), "eps", "min_snr"),
        epochs=20,
        batch=64,
        lr=3e-3,
        optimizer="muon",
        warmup=200,
        sampling=Sampling("dpmpp2msde", 25, clip=RANGE),
        seed=seed,
        made={"preset": "fast"},
    )


def thesis(data: Data, seed: int = 0) -> Recipe:
    """DDPM on deepinv's DiffUNet, 93.6 M parameters, with every constant of the thesis.

    No labels, no average of the weights, float32; 28 samples by 1000 ancestral steps.

    Raises:
        ValueError: pictures of a size that the network cannot take.
    """
    channels, *sides = data.shape
    check_sides(*sides)
    torch.manual_seed(as_seed(seed))
    backbone = DiffUNet(channels, channels)
    return Recipe(
        Diffusion(backbone, LinearBeta(1000, 1e-4, 0.02), "eps", hide=0.0),
        epochs=100,
        batch=28,
        lr=1e-4,
        optimizer="adam",
        decay="constant",
        ema=None,
        max_norm=None,
        precision="no",
        sampling=Sampling("ddpm", 1000),
        preview=Sampling("dpmpp2msde", 25),
        samples=28,
        seed=seed,
        made={"preset": "thesis"},
    )


def transformer(data: Data, seed: int = 0) -> Recipe:
    """A transformer of 4.6 M parameters over patches of 4 x 4 pixels, trained as `fast` is.

    It predicts x0, by the loss of v, as is best for large patches (Li & He 2025), on the half
    circle, at noise levels where signal and noise are alike. It draws pictures of any size.
    """
    channels = data.shape[0]
    torch.manual_seed(as_seed(seed))
    backbone = Transformer(2, channels, channels, 192, 6, patch=4, conditions=data.conditions)
    model = Diffusion(backbone, Trigonometric(), "x0", "v", times="logit_normal")
    return replace(fast(data, seed), model=model, made={"preset": "transformer"})
