"""Moving digits, or any other videos, by the loss of v (Salimans & Ho 2022).

    python recipes/video_v.py                      # digits in a box, an hour on two CPU cores
    python recipes/video_v.py --dataset folder:clips --frames 16 --fps 10

A U-Net of three dimensions sees cubes of two pixels and frames as one position each, and names x0
(Li & He 2025). Its errors count as those of v = alpha eps - sigma x0, with alpha = cos(pi t / 2),
sigma = sin(pi t / 2). 25 steps of SDE-DPM-Solver++(2M).

The model then animates a picture, or goes on with a film:
`mmdiff restore runs/video_v/model.safetensors seven.png --continue 1.6`.

Several processes: `accelerate launch --multi_gpu --num_processes 2 recipes/video_v.py`.
"""

from __future__ import annotations

from pathlib import Path

import torch
import typer

import mmdiff
from mmdiff.cli import run
from mmdiff.nn import UNet
from mmdiff.video import Video


def main(
    dataset: str = "moving-mnist",
    frames: int = 16,
    fps: float | None = None,
    out: Path = Path("runs/video_v"),
    data_dir: Path | None = None,
    steps: int | None = None,
    resume: bool = False,
    device: str = "auto",
    seed: int = 0,
) -> None:
    """Train on videos, watch them on the way, and draw samples at the end."""
    how = {"frames": frames, "fps": fps}
    data, held_out = (Video.open(dataset, split, data_dir, **how) for split in ("train", "test"))
    torch.manual_seed(seed)
    channels = data.shape[0]  # x_t [B, C, T, H, W], t [B] -> x0 [B, C, T, H, W]
    network = UNet(3, channels, channels, (32, 64, 128), 1, (False, True, True), 2, data.conditions)
    model = mmdiff.Diffusion(
        network, mmdiff.Trigonometric(), prediction="x0", weighting="v", times=(0.8, 0.7)
    )
    recipe = mmdiff.Recipe(
        model,
        epochs=5,
        steps=steps,
        batch=32,
        lr=3e-3,
        optimizer="muon",
        warmup=200,
        look_every=2000,
        sampling=mmdiff.Sampling(
            "dpmpp2msde", 25, guidance=3.0 if data.conditions else None, clip=(-1.0, 1.0)
        ),
        samples=20,
        seed=seed,
        made={"preset": "v"},
    )
    checkpoint = mmdiff.train(recipe, data, held_out, out, device=device, resume=resume)
    print(f"wrote {checkpoint}; draw more with: mmdiff sample {checkpoint}")


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    run(app, "video_v")
