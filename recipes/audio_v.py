"""Spoken digits, or any other sound, by v-prediction (Salimans & Ho 2022).

    python recipes/audio_v.py                      # spoken digits at 8 kHz, on two CPU cores
    python recipes/audio_v.py --frontend patch:32  # the same behind another front end
    python recipes/audio_v.py --dataset folder:music --sample-rate 48000 --seconds 5

The network sees the code of a front end, which makes the sequence shorter: blocks of samples
(patch), a Fourier transform (stft), a learned convolution (learned), or a lapped transform (mdct);
docs/frontends.md compares them. Noise, loss and sampler stay with the waveform: it learns
v = alpha eps - sigma x0 with alpha = cos(pi t / 2), sigma = sin(pi t / 2); 50 steps of
SDE-DPM-Solver++(2M), spun.

Several processes: `accelerate launch --multi_gpu --num_processes 2 recipes/audio_v.py`.
"""

from __future__ import annotations

from pathlib import Path

import torch
import typer

import mmdiff
from mmdiff.audio import Sound
from mmdiff.audio.presets import levels
from mmdiff.cli import run
from mmdiff.nn import FrontEnd, UNet
from mmdiff.nn.frontends import parse


def main(
    dataset: str = "fsdd",
    frontend: str = "mdct:8",
    sample_rate: int | None = None,
    seconds: float | None = None,
    out: Path = Path("runs/audio_v"),
    data_dir: Path | None = None,
    steps: int | None = None,
    resume: bool = False,
    device: str = "auto",
    seed: int = 0,
) -> None:
    """Train on sound, listen to it on the way, and draw samples at the end."""
    data, held_out = (
        Sound.open(dataset, split, data_dir, sample_rate=sample_rate, seconds=seconds)
        for split in ("train", "test")
    )
    torch.manual_seed(seed)
    codec = parse(frontend)  # x [B, C, L] -> [B, channels(C), about L / factor], and back
    channels = codec.channels(data.shape[0])
    widths = levels(data.shape[1], codec.factor, width=128)
    network = UNet(1, channels, channels, widths, conditions=data.conditions)
    model = mmdiff.Diffusion(
        FrontEnd(codec, network), mmdiff.Trigonometric(), prediction="v", times="logit_normal"
    )
    recipe = mmdiff.Recipe(
        model,
        epochs=130,
        steps=steps,
        batch=32,
        lr=3e-3,
        optimizer="muon",
        warmup=500,
        look_every=1600,
        sampling=mmdiff.Sampling(
            "dpmpp2msde",
            50,
            guidance=1.5 if data.conditions else None,
            spin=codec.factor if codec.factor > 1 else 0,
        ),
        seed=seed,
        made={"preset": "v", "frontend": frontend},
    )
    checkpoint = mmdiff.train(recipe, data, held_out, out, device=device, resume=resume)
    print(f"wrote {checkpoint}; draw more with: mmdiff sample {checkpoint}")


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    run(app, "audio_v")
