"""mmdiff train: a model of a data set, whatever it holds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmdiff.cli.options import SIDES, DataDir, DeviceOption, PrecisionName, sides

if TYPE_CHECKING:
    from mmdiff.modality import Data
    from mmdiff.recipe import Recipe

FEWEST = 2_000  # steps of a training that may show more than noise
USUAL = 10_000

_PRESETS = "the preset's"


def train(
    dataset: Annotated[
        str,
        typer.Option(
            help="Pictures: mnist, fashion-mnist, kmnist, cifar10 or celeba. "
            "Sounds: fsdd or synthetic. Videos: moving-mnist. Any: folder:PATH."
        ),
    ] = "mnist",
    pair: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="DATASET DATASET",
            help="Instead of a data set: pairs of what has the same class in two of them, or where "
            "there are no classes the same file name, for a joint model. Options go to those of "
            "the two that take them.",
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="For pictures: fast makes good digits in an hour on two cores, thesis is the "
            "slow original. For sounds and videos: v. For each of the three: transformer.",
            show_default="fast or v",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="A folder of this run's own.", show_default="runs/ and the data set"),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the data.", show_default=_PRESETS)
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Optimiser steps, in place of epochs.")
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            min=1, help="Samples in a step; fewer take less memory.", show_default=_PRESETS
        ),
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option(help="The learning rate, at its highest.", show_default=_PRESETS),
    ] = None,
    size: Annotated[
        Any,
        typer.Option(
            parser=sides,
            metavar=SIDES,
            help="For pictures and videos: their size in pixels.",
            show_default="the data's own; of a folder at most 64",
        ),
    ] = None,
    flip: Annotated[
        bool, typer.Option("--flip", help="For pictures: mirror half of them.")
    ] = False,
    crop: Annotated[
        bool, typer.Option("--crop", help="For pictures: cut them anywhere, not in the middle.")
    ] = False,
    native: Annotated[
        bool,
        typer.Option(
            "--native",
            help="For pictures of a folder: keep their proportions. For sounds: what is shorter "
            "than --seconds stays so. A batch is of one size.",
        ),
    ] = False,
    frames: Annotated[
        int | None,
        typer.Option(min=1, help="For videos: how many a clip has.", show_default="16"),
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(
            min=0.01, max=1000, help="For videos: frames a second.", show_default="the data's own"
        ),
    ] = None,
    frontend: Annotated[
        str | None,
        typer.Option(
            help="For sound: raw, patch:P, stft:N, learned:S or mdct:M, see docs/frontends.md.",
            show_default="mdct:8",
        ),
    ] = None,
    sample_rate: Annotated[
        int | None,
        typer.Option(
            min=1, help="For sound: resample to this, in Hz.", show_default="the data's own"
        ),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            help="For sound: length of a clip.",
            show_default="0.64 for fsdd, else 1.5; as long as its video in a pair",
        ),
    ] = None,
    channels: Annotated[
        int | None,
        typer.Option(
            min=32,
            help="For sound: width of the network where a position is 64 samples.",
            show_default=_PRESETS,
        ),
    ] = None,
    stereo: Annotated[
        bool, typer.Option("--stereo", help="For sound: two channels, else one.")
    ] = False,
    task: Annotated[
        str | None,
        typer.Option(
            metavar="enhance|upsample:RATE|vocode",
            help="For sound: make it of a noisy recording, of one at a lower rate in Hz, or of its "
            "mel spectrogram.",
            show_default="of nothing",
        ),
    ] = None,
    noise: Annotated[
        str | None,
        typer.Option(
            metavar="folder:PATH",
            help="For --task enhance: recorded noise.",
            show_default="of all colours alone",
        ),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(metavar="CHECKPOINT", help="Begin with the weights of this model that fit."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    precision: Annotated[
        PrecisionName | None,
        typer.Option(
            help="bf16 is bfloat16, no is float32; auto is bf16 where the hardware has it.",
            show_default=_PRESETS,
        ),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(min=0, help="How many samples a finished run leaves.", show_default=_PRESETS),
    ] = None,
    data_dir: DataDir = None,
    device: DeviceOption = "auto",
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
) -> None:
    """Train a model on pictures, sounds or videos; Ctrl-C saves, and --resume goes on.

    The folder gets model.safetensors, samples and pictures of the progress, losses.csv and what
    TensorBoard shows.

    Examples:

    - `mmdiff train`

    - `mmdiff train --dataset fashion-mnist --epochs 10`

    - `mmdiff train --dataset folder:holiday/photos --size 32x48 --flip --out runs/photos`

    - `mmdiff train --dataset folder:holiday/photos --size 32x48 --flip --out runs/photos --resume`

    - `mmdiff train --dataset folder:holiday/photos --size 64 --native --preset transformer`

    - `mmdiff train --dataset folder:my-digits --size 28 --init digits --steps 2000`

    - `mmdiff train --dataset fsdd --frontend patch:32`

    - `mmdiff train --dataset folder:drums --sample-rate 44100 --seconds 1.5 --stereo`

    - `mmdiff train --dataset folder:voices --task enhance --noise folder:noises`

    - `mmdiff train --dataset folder:voices --task upsample:8000 --sample-rate 16000`

    - `mmdiff train --dataset folder:clips --frames 16 --fps 10`

    - `mmdiff train --pair folder:faces folder:voices`

    - `mmdiff train --pair folder:films folder:films --size 32 --frames 16 --fps 10`
    """
    from dataclasses import replace

    from mmdiff import devices
    from mmdiff.cli.data import modality_of, open_both, open_pairs
    from mmdiff.cli.plain import arguments
    from mmdiff.data.folders import is_run
    from mmdiff.errors import Interrupted, UserError
    from mmdiff.modality import recipe_of
    from mmdiff.training.train import initialise
    from mmdiff.training.train import train as run

    opening = _given(
        size=size, frames=frames, fps=fps, sample_rate=sample_rate, seconds=seconds,
        channels=2 if stereo else None, native=native or None, task=task, noise=noise,
    )  # fmt: skip
    augmentation = _given(flip=flip or None, crop=crop or None)
    making = _given(frontend=frontend, width=channels)
    out = out or Path("runs", "-".join(map(_name, pair or (dataset,))))
    if is_run(out) and not resume:
        raise UserError(f"{out} holds a run: go on with it (--resume), or choose another --out.")
    place = devices.choose(device)
    data: Data
    held_out: Data
    if pair:
        data, held_out = open_pairs(pair, data_dir, {**opening, **making}, augmentation)
        modality = type(data.modality)
    else:
        modality, why = modality_of(dataset, preset, {**opening, **augmentation, **making})
        if why:
            print(why)
        data, held_out = open_both(modality, dataset, data_dir, opening, augmentation)
    with arguments():
        recipe = recipe_of(modality, preset, data, seed=seed, **making)
        chosen = _given(
            epochs=epochs, batch=batch, lr=lr, samples=samples,
            precision=precision and precision.value,
        )  # fmt: skip
        length = steps or (None if epochs else recipe.steps)
        recipe = replace(recipe, steps=length, **chosen)
    if init and not resume:
        print(initialise(recipe.model, init))
    _announce(recipe, len(data), place, fresh=init is None)
    try:
        checkpoint = run(recipe, data, held_out, out, device=place, resume=resume)
    except Interrupted as stop:
        raise Interrupted(f"{stop} The same command with --resume does.") from None
    print(f"wrote {out / checkpoint.name}")


def _announce(recipe: Recipe, items: int, device: Any, fresh: bool) -> None:
    """Say what the training will be."""
    from mmdiff.precision import explain

    steps = recipe.length(items)
    print(f"{steps:,} steps of {recipe.batch} on {device} in {explain(recipe.precision, device)}")
    if steps < FEWEST and fresh:
        print(f"so few steps will end in noise: use --steps {USUAL}")


def _name(dataset: str) -> str:
    """A name, or the last one of a folder's whole path: `folder:.` and `folder:~` have one too."""
    return os.path.basename(os.path.abspath(os.path.expanduser(dataset.removeprefix("folder:"))))


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
