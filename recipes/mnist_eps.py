"""Handwritten digits by predicting the noise in them (Ho et al. 2020): the thesis's experiment.

    python recipes/mnist_eps.py                # 100 epochs; days without a GPU
    mmdiff train                               # the library's own: good digits in an hour

DeepInverse's DiffUNet (93.6 M parameters) learns eps in x_t = alpha x0 + sigma eps, by the mean
squared error and Adam; then 28 digits come by 1000 ancestral steps of variance beta. Images lie in
[-1, 1] here, where the thesis left them in [0, 1], and the times of a batch are spread evenly.

Another data set is another word, such as `--dataset fashion-mnist` or `--dataset folder:pictures`.
Several processes: `accelerate launch --multi_gpu --num_processes 2 recipes/mnist_eps.py`.
"""

from __future__ import annotations

from pathlib import Path

import torch
import typer

import mmdiff
from mmdiff.cli import run
from mmdiff.image import DiffUNet, Pictures


def main(
    dataset: str = "mnist",
    out: Path = Path("runs/mnist_eps"),
    data_dir: Path | None = None,
    steps: int | None = None,
    resume: bool = False,
    device: str = "auto",
    seed: int = 0,
) -> None:
    """Train on pictures, watch it, and draw samples at the end."""
    data, held_out = (Pictures.open(dataset, split, data_dir) for split in ("train", "test"))
    torch.manual_seed(seed)
    network = DiffUNet(data.shape[0], data.shape[0])  # x_t [B, C, H, W], t [B] -> eps [B, C, H, W]
    schedule = mmdiff.LinearBeta(timesteps=1000, beta_start=1e-4, beta_end=0.02)
    model = mmdiff.Diffusion(network, schedule, prediction="eps", hide=0.0)
    recipe = mmdiff.Recipe(
        model,
        epochs=100,
        steps=steps,
        batch=28,
        lr=1e-4,
        optimizer="adam",
        decay="constant",
        ema=None,
        max_norm=None,
        precision="no",
        sampling=mmdiff.Sampling("ddpm", 1000),
        preview=mmdiff.Sampling("dpmpp2msde", 25),
        samples=28,
        seed=seed,
        made={"preset": "thesis"},
    )
    checkpoint = mmdiff.train(recipe, data, held_out, out, device=device, resume=resume)
    print(f"wrote {checkpoint}; draw more with: mmdiff sample {checkpoint}")


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    run(app, "mnist_eps")
