"""A training of less than a second, for tests to run or to launch.

python train_tiny.py OUT [--resume] [--steps 12] [--save-every 2] [--delay 0.1]
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from mmdiff import Diffusion, Info, LinearBeta
from mmdiff.nn import UNet
from mmdiff.tensorfile import read
from mmdiff.training.config import TrainingConfig
from mmdiff.training.trainer import Trainer

SETTINGS: dict[str, Any] = {"steps": 12, "batch": 8, "save_every": 2, "warmup": 3, "ema": 0.9}


class Waves(Dataset[dict[str, Any]]):
    """Sines of three frequencies, the label; 24 of them are three batches."""

    def __init__(self, count: int = 24, delay: float = 0.0) -> None:
        self.count, self.delay = count, delay

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        time.sleep(self.delay)
        label = index % 3
        phase = torch.arange(12) * (label + 1) / 12 + index / 24
        return {"x": torch.sin(2 * math.pi * phase)[None], "label": label}


class Noisy(nn.Module):
    """A backbone that draws random numbers of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.config: dict[str, Any] = {}
        self.layers = nn.Sequential(nn.Linear(12, 16), nn.Dropout(0.5), nn.Linear(16, 12))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.layers(x)


def unet(conditions: dict[str, int] | None = None) -> UNet:
    return UNet(1, 1, 1, (4, 8), blocks=1, patch=2, conditions=conditions)


def trainer(
    out: Path,
    resume: bool = False,
    data: Dataset[Any] | None = None,
    backbone: Callable[[], nn.Module] | None = None,
    device: str = "cpu",
    **settings: Any,
) -> Trainer:
    """A Trainer of a tiny model, the same each time, with some `SETTINGS` replaced."""
    torch.manual_seed(0)
    network = unet({"label": 3}) if backbone is None else backbone()
    model = Diffusion(network, LinearBeta(), "eps", "min_snr")
    config = TrainingConfig(**{**SETTINGS, **settings})
    info = Info((1, 12), labels=("low", "middle", "high"), dataset="waves")
    data = Waves() if data is None else data
    return Trainer(model, data, Waves(6), config, out, info, device, resume)


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
    """Weights, average, optimiser, model and figures are equal bit for bit."""
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
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--delay", type=float, default=0.0)
    for name in ("steps", "save_every", "accumulate"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=argparse.SUPPRESS)
    arguments = vars(parser.parse_args())
    torch.set_num_threads(1)
    data = Waves(delay=arguments.pop("delay"))
    trainer(data=data, **arguments).fit()


if __name__ == "__main__":
    main()
