"""Handwritten digits by predicting the noise in them (Ho et al. 2020).

    python recipes/mnist_eps.py                  # the thesis's experiment; days without a GPU
    python recipes/mnist_eps.py --preset fast    # good digits in an hour on two CPU cores

The thesis's experiment: DeepInverse's DiffUNet (93.6 M parameters) on MNIST in batches of 28, Adam
at 1e-4, 100 epochs, mean squared error on eps, 1000 betas from 1e-4 to 0.02; then 28 digits by 1000
ancestral steps of variance beta. Images lie in [-1, 1] here, where the thesis left them in [0, 1],
and the times of a batch are spread evenly over 1..1000.

`--preset fast` is the library's own: a U-Net of 2.4 M parameters that knows the labels, min-SNR
weights, the optimiser Muon at a falling learning rate, averaged weights and bfloat16.

Another data set is another word, such as `--dataset fashion-mnist` or `--dataset folder:pictures`.
Several processes: `accelerate launch --multi_gpu --num_processes 2 recipes/mnist_eps.py`; without
--multi_gpu accelerate starts one where there are not several GPUs, with it also on a CPU.

The folder `--out` gets

    model.safetensors   the model: mmdiff.load and `mmdiff sample` read it
    samples.png         what it draws
    reverse.png         the reverse process: the start, steps on the way (200, 500, ...), the end
    reverse.gif         the same, animated
    losses.csv          the loss as it fell; validation.csv: by noise level, on held-out images
    progress/           every epoch or few: x0, noised at several t, and the denoised estimate
    samples/            as often: samples by a fast solver
    tensorboard/        all of this to watch while it runs
    resume/             what --resume needs to go on, exactly, after Ctrl-C, a crash or a kill
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmdiff.cli import run
from mmdiff.options import BatchSize, DataDir, Device, DeviceOption, LearningRate, PresetName
from mmdiff.training.images import train_images


def main(
    preset: Annotated[PresetName, typer.Option(help="Which experiment.")] = PresetName.thesis,
    dataset: Annotated[
        str, typer.Option(help="mnist, fashion-mnist, kmnist, cifar10, celeba or folder:PATH.")
    ] = "mnist",
    data_dir: DataDir = None,
    out: Annotated[Path, typer.Option(help="A folder of this run's own.")] = Path("runs/mnist_eps"),
    epochs: Annotated[int | None, typer.Option(min=1, help="In place of the preset's.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="In place of epochs.")] = None,
    batch: BatchSize = None,
    lr: LearningRate = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    device: DeviceOption = Device.auto,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
) -> None:
    """Train on images, watch it, and draw samples at the end."""
    checkpoint = train_images(
        preset=preset.value,
        dataset=dataset,
        out=out,
        data_dir=data_dir,
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
    run(app, "mnist_eps")
