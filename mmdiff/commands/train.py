"""mmdiff train: a model of pictures or of sounds, as the data set is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from mmdiff.errors import UserError
from mmdiff.options import (
    BatchSize,
    Channels,
    DataDir,
    Device,
    DeviceOption,
    FrontEndOption,
    LearningRate,
    PresetName,
    SampleRate,
    Seconds,
    Stereo,
)


def train(
    dataset: Annotated[
        str,
        typer.Option(
            help="Pictures: mnist, fashion-mnist, kmnist, cifar10 or celeba. "
            "Sounds: fsdd or synthetic. Either: folder:PATH."
        ),
    ] = "mnist",
    preset: Annotated[
        PresetName | None,
        typer.Option(
            help="For pictures: fast makes good digits in an hour on two cores, thesis is the "
            "slow original.",
            show_default="fast",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="A folder of this run's own.", show_default="runs/ and the data set"),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Passes over the data.", show_default="the preset's"),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Optimiser steps, in place of epochs.")
    ] = None,
    batch: BatchSize = None,
    lr: LearningRate = None,
    size: Annotated[
        int | None,
        typer.Option(
            min=4,
            help="For pictures: their side in pixels.",
            show_default="the data's own; of a folder at most 64",
        ),
    ] = None,
    frontend: FrontEndOption = None,
    sample_rate: SampleRate = None,
    seconds: Seconds = None,
    channels: Channels = None,
    stereo: Stereo = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    data_dir: DataDir = None,
    device: DeviceOption = Device.auto,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
) -> None:
    """Train a model on pictures or sounds; Ctrl-C saves, and --resume goes on.

    The folder gets model.safetensors, samples and pictures of the progress, losses.csv and what
    TensorBoard shows.

    Examples:

    - `mmdiff train`

    - `mmdiff train --dataset fashion-mnist --epochs 10`

    - `mmdiff train --dataset folder:holiday/photos --size 32 --out runs/photos`

    - `mmdiff train --dataset folder:holiday/photos --size 32 --out runs/photos --resume`

    - `mmdiff train --dataset fsdd --frontend patch:32`

    - `mmdiff train --dataset folder:drums --sample-rate 44100 --seconds 1.5 --stereo`
    """
    for_pictures = {"preset": preset and preset.value, "size": size}
    for_sound = {
        "frontend": frontend,
        "sample_rate": sample_rate,
        "seconds": seconds,
        "channels": channels,
        "stereo": stereo or None,
    }
    shared: dict[str, Any] = {
        "dataset": dataset,
        "out": out or Path("runs", _name(dataset)),
        "data_dir": data_dir,
        "epochs": epochs,
        "steps": steps,
        "batch": batch,
        "lr": lr,
        "resume": resume,
        "device": device.value,
        "seed": seed,
    }
    if kind_of(dataset) == "sounds":
        from mmdiff.training.audio import train_audio

        _refuse(for_pictures, dataset, "sounds", "pictures")
        checkpoint = train_audio(**shared, **_given(for_sound))
    else:
        from mmdiff.training.images import train_images

        _refuse(for_sound, dataset, "pictures", "sounds")
        checkpoint = train_images(**shared, **{"preset": "fast", **_given(for_pictures)})
    print(f"wrote {checkpoint}")


def kind_of(dataset: str) -> Literal["pictures", "sounds"]:
    """What a data set holds: by its name, or what most files of a folder are by their suffixes.

    Raises:
        UserError: an unknown name; a folder that is missing or holds neither.
    """
    from mmdiff.audio import datasets as audio
    from mmdiff.audio.sound import SUFFIXES as SOUNDS
    from mmdiff.folders import find
    from mmdiff.image import datasets as image
    from mmdiff.image.folders import SUFFIXES as PICTURES

    name, _, path = dataset.partition(":")
    if name == "folder" and path:
        files = find(Path(path).expanduser(), (*PICTURES, *SOUNDS), "pictures or sounds")
        sounds = sum(file.lower().endswith(SOUNDS) for file in files)
        return "sounds" if 2 * sounds > len(files) else "pictures"
    if dataset in audio.NAMES:
        return "sounds"
    if dataset in image.NAMES:
        return "pictures"
    known = ", ".join(dict.fromkeys((*image.NAMES, *audio.NAMES)))
    raise UserError(f"unknown data set {dataset!r}; known are {known}.")


def _name(dataset: str) -> str:
    """A name, or the last one of a folder's whole path: `folder:.` and `folder:~` have one too."""
    return os.path.basename(os.path.abspath(os.path.expanduser(dataset.removeprefix("folder:"))))


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _refuse(options: dict[str, Any], dataset: str, holds: str, others: str) -> None:
    """Raises UserError if any of `options` is given: they are for `others`."""
    for name in _given(options):
        option = name.replace("_", "-")
        raise UserError(
            f"--{option} is for {others}, and the data set {dataset} holds {holds}: leave it out."
        )
