"""Spoken digits, or any other sound, by v-prediction (Salimans & Ho 2022).

    python recipes/audio_v.py                      # spoken digits at 8 kHz, on two CPU cores
    python recipes/audio_v.py --frontend patch:32  # the same behind another front end
    python recipes/audio_v.py --dataset folder:music --sample-rate 48000 --seconds 5 --stereo

What goes through the network is the code of a front end, which makes the sequence shorter: blocks
of samples (patch), a Fourier transform (stft), a learned convolution (learned), or a lapped
transform (mdct), which is as short as patches; `benchmarks/frontends.md` compares them. Longer
blocks train faster, shorter ones sound better, down to about 8 samples.
Noise, loss and sampler stay with the waveform: v = alpha eps - sigma x0 with alpha = cos(pi t / 2)
and sigma = sin(pi t / 2), mean squared error, 50 steps of DDIM.

The network is a one-dimensional U-Net, deeper for longer clips, that knows the label (a folder's
subfolders are the labels) and the speaker where there are any. Training is in bfloat16 by the
optimiser Muon, with a falling learning rate and averaged weights.

Several processes: `accelerate launch --multi_gpu --num_processes 2 recipes/audio_v.py`.

The folder `--out` gets

    model.safetensors   the model: mmdiff.load and `mmdiff sample` read it
    samples.png         samples beside real clips: waveforms and mel spectrograms
    samples/            a WAV file for each sample of the finished model, and on the way there
                        epoch_020.wav, ...: one sample of each label after the other
    progress/           the same as pictures, beside real clips
    losses.csv          the loss as it fell; validation.csv: by noise level, on held-out clips
    tensorboard/        all of this to watch and listen to while it runs
    resume/             what --resume needs to go on, exactly, after Ctrl-C, a crash or a kill
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmdiff.cli import run
from mmdiff.options import (
    BatchSize,
    DataDir,
    Device,
    DeviceOption,
    LearningRate,
    SampleRate,
    Seconds,
    Stereo,
)
from mmdiff.training.audio import FRONTEND, PRESET, train_audio


def main(
    frontend: Annotated[
        str, typer.Option(help="raw, patch:32, stft, learned or mdct:8; other numbers too.")
    ] = FRONTEND,
    dataset: Annotated[str, typer.Option(help="fsdd, synthetic or folder:PATH.")] = "fsdd",
    data_dir: DataDir = None,
    sample_rate: SampleRate = None,
    seconds: Seconds = None,
    stereo: Stereo = False,
    channels: Annotated[
        int, typer.Option(min=32, help="Width of the network where a position is 64 samples.")
    ] = PRESET.width,
    out: Annotated[Path, typer.Option(help="A folder of this run's own.")] = Path("runs/audio_v"),
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the data.")] = PRESET.epochs,
    steps: Annotated[int | None, typer.Option(min=1, help="In place of epochs.")] = None,
    batch: BatchSize = None,
    lr: LearningRate = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    device: DeviceOption = Device.auto,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
) -> None:
    """Train on sound, listen to it on the way, and draw samples at the end."""
    checkpoint = train_audio(
        frontend=frontend,
        dataset=dataset,
        out=out,
        data_dir=data_dir,
        sample_rate=sample_rate,
        seconds=seconds,
        channels=channels,
        stereo=stereo,
        epochs=epochs,
        steps=steps,
        batch=batch,
        lr=lr,
        resume=resume,
        device=device.value,
        seed=seed,
    )
    print(f"wrote {checkpoint}; draw more with: mmdiff sample {checkpoint}")


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    run(app, "audio_v")
