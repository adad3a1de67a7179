"""The bundled models draw what they always drew.

The file was made on one machine; another adds up in another order. A model that is trained anew
needs new tensors under its name.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import mmdiff
from mmdiff import DDIM, DDPM, DPMpp2M, DPMpp2MSDE, Heun, Spin
from mmdiff.diffusion import Diffusion

GOLDEN = Path(__file__).parent / "golden" / "bundled.safetensors"
LABEL = torch.arange(10)
PICTURE, SOUND = (1, 28, 28), (1, 5120)

load = cache(mmdiff.load)

DRAWS: dict[str, Callable[[Diffusion], Tensor]] = {
    "digits.dpmpp2msde": lambda model: mmdiff.sample(
        model, (10, *PICTURE), DPMpp2MSDE(25), seed=0, label=LABEL, clip=(-1, 1)
    ),
    "digits.ddpm": lambda model: mmdiff.sample(
        model, (4, *PICTURE), DDPM(50), seed=3, label=LABEL[:4]
    ),
    "digits.heun_guided": lambda model: mmdiff.sample(
        model, (4, *PICTURE), Heun(10), seed=5, label=LABEL[:4], guidance=2.0, clip=(-1, 1)
    ),
    "speech.ddim_guided": lambda model: mmdiff.sample(
        model, (3, *SOUND), DDIM(20), seed=0, label=LABEL[:3], speaker=LABEL[:3], guidance=1.5
    ),
    "speech.dpmpp2m_spin": lambda model: mmdiff.sample(
        model, (2, *SOUND), DPMpp2M(10), seed=7, label=LABEL[:2], speaker=LABEL[:2],
        steer=(Spin(16, 7),),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DRAWS)
def test_draws_what_it_drew(name: str) -> None:
    wanted = load_file(GOLDEN)[name]
    away = (DRAWS[name](load(name.split(".")[0])) - wanted).abs()
    assert away.mean() < 1e-4
    assert away.max() < 2e-3


def test_every_tensor_of_the_file_is_drawn() -> None:
    assert set(load_file(GOLDEN)) == set(DRAWS)
