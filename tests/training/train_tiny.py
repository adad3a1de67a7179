"""A training of less than a second, for tests to run or to launch.

python train_tiny.py OUT [--resume] [--whole] [--steps 12] [--save-every 2] [--delay 0.1] [--costly]
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from mmdiff import Class, Diffusion, LinearBeta, Recipe, Sampling, train
from mmdiff.conditions import Condition
from mmdiff.image.modality import Pictures
from mmdiff.modality import Modality
from mmdiff.nn import UNet
from mmdiff.tensorfile import read
from mmdiff.training.trainer import Trainer

LABEL = Class(3, ("low", "middle", "high"))
SETTINGS: dict[str, Any] = {
    "steps": 12,
    "batch": 8,
    "save_every": 2,
    "look_every": 1,
    "warmup": 3,
    "ema": 0.9,
    "precision": "no",
    "samples": 6,
    "sampling": Sampling("dpmpp2m", 3),
}


class Waves(Dataset[dict[str, Any]]):
    """Sines of three frequencies, the label; 24 of them are three batches.

    As `mmdiff.modality.Data` asks; without a modality they are no pictures and no sounds.
    """

    name = "waves"
    identity = "5ea"

    def __init__(
        self,
        count: int = 24,
        shape: tuple[int, ...] = (1, 12),
        modality: Modality | None = None,
        delay: float = 0.0,
        costly: bool = False,
    ) -> None:
        self.count, self.shape, self.modality = count, shape, modality
        self.delay, self.costly = delay, costly
        self.conditions: Mapping[str, Condition] = {"label": LABEL}

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.visit(index, 0)

    def visit(self, index: int, count: int) -> dict[str, Any]:
        """Each visit begins elsewhere in the wave."""
        time.sleep(self.delay)
        label, side = index % 3, self.shape[-1]
        phase = torch.arange(side) * (label + 1) / side + index / 24 + count / 7
        top = self.modality.data_range[1] if self.modality else 1.0
        return {"x": (top * torch.sin(2 * math.pi * phase)).expand(self.shape), "label": label}


class Noisy(nn.Module):
    """A backbone that draws random numbers of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.config: dict[str, Any] = {}
        self.layers = nn.Sequential(nn.Linear(12, 16), nn.Dropout(0.5), nn.Linear(16, 12))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.layers(x)


def unet(conditions: Mapping[str, Condition] | None = None, dims: int = 1, signal: int = 1) -> UNet:
    return UNet(dims, signal, signal, (4, 8), blocks=1, patch=2, conditions=conditions)


def recipe(model: nn.Module | None = None, **settings: Any) -> Recipe:
    """A recipe of a tiny model, the same each time, with some `SETTINGS` replaced."""
    if model is None:
        torch.manual_seed(0)
        model = Diffusion(unet({"label": LABEL}), LinearBeta(), "eps", "min_snr")
    return Recipe(model, **{**SETTINGS, **settings})


def trainer(
    out: Path | str,
    resume: bool = False,
    data: Dataset[Any] | None = None,
    held_out: Dataset[Any] | None = None,
    device: str = "cpu",
    model: nn.Module | None = None,
    **settings: Any,
) -> Trainer:
    data = Waves() if data is None else data
    held_out = Waves(6) if held_out is None else held_out
    return Trainer(recipe(model, **settings), data, held_out, out, device, resume)


def train_pictures(out: Path, **settings: Any) -> Path:
    """All that `train` does, on small grey pictures."""
    torch.manual_seed(0)
    model = Diffusion(unet({"label": LABEL}, dims=2), LinearBeta(), "eps")
    data, held_out = (Waves(count, (1, 8, 8), Pictures()) for count in (24, 6))
    return train(recipe(model, **settings), data, held_out, out, device="cpu")


def state(out: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Everything that a run saved to go on from, but for how long it took."""
    tensors, description = read(out / "resume" / "state.safetensors")
    del description["minutes"]
    return tensors, description


def figures(out: Path, name: str) -> list[list[str]]:
    """The rows of a CSV file without those columns that are times."""
    with (out / name).open(newline="") as file:
        rows = list(csv.reader(file))
    kept = [i for i, title in enumerate(rows[0]) if title not in ("minutes", "samples_per_second")]
    return [[row[i] for i in kept] for row in rows]


def assert_same_run(out: Path, reference: Path) -> None:
    """Weights, average, optimiser, model and validation are equal bit for bit."""
    tensors, description = state(out)
    expected, expected_description = state(reference)
    assert description == expected_description
    assert tensors.keys() == expected.keys()
    for name, tensor in tensors.items():
        assert torch.equal(tensor, expected[name]), name
    weights, _ = read(out / "model.safetensors")
    for name, tensor in read(reference / "model.safetensors")[0].items():
        assert torch.equal(tensor, weights[name]), name
    assert figures(out, "validation.csv") == figures(reference, "validation.csv")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    for name in ("resume", "whole", "costly"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--delay", type=float, default=0.0)
    for name in ("steps", "save_every", "accumulate"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=argparse.SUPPRESS)
    arguments = vars(parser.parse_args())
    torch.set_num_threads(1)
    out, resume, whole = (arguments.pop(name) for name in ("out", "resume", "whole"))
    options = {name: arguments.pop(name) for name in ("delay", "costly")}
    if whole:
        train_pictures(out, **arguments)
    else:
        trainer(out, resume, Waves(**options), **arguments).fit()


if __name__ == "__main__":
    main()
