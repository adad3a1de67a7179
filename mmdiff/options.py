"""Options that several commands share, and the words that they take; nothing slow to import."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class SolverName(StrEnum):
    """The keys of `mmdiff.solvers.SOLVERS`, known here without importing it."""

    ddpm = "ddpm"
    ddim = "ddim"
    heun = "heun"
    dpmpp2m = "dpmpp2m"
    dpmpp2msde = "dpmpp2msde"


class PresetName(StrEnum):
    """The keys of `mmdiff.training.images.PRESETS`."""

    thesis = "thesis"
    fast = "fast"


class Device(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


Checkpoint = Annotated[
    str,
    typer.Argument(
        metavar="CHECKPOINT", help="The name of a bundled model, such as digits, or a path."
    ),
]
# None in any of these four is what the checkpoint recommends, see `mmdiff.opening.Settings`.
SolverOption = Annotated[
    SolverName | None,
    typer.Option(
        "--solver",
        help="How to go from noise to data.",
        show_default="what the model recommends, else dpmpp2msde",
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        min=1, help="Steps of the solver.", show_default="what the model recommends, else 25"
    ),
]
GuidanceOption = Annotated[
    float | None,
    typer.Option(
        "--guidance",
        min=0,
        help="Strength of classifier-free guidance; 1 switches it off, 2 is much.",
        show_default="what the model recommends, else off",
    ),
]
Spin = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Cycle spinning, for sound: before each call of the network shift by 0 to SPIN - 1 "
        "samples, and back after it; 0 switches it off.",
        show_default="what the model recommends, else 0",
    ),
]
Seed = Annotated[int, typer.Option(help="The same seed gives the same samples.")]
DeviceOption = Annotated[Device, typer.Option("--device", help="auto takes a GPU if there is one.")]
Batch = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Samples at a time; takes memory, changes nothing.",
        show_default="256 pictures or 50 sounds",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files.")]

DataDir = Annotated[
    Path | None,
    typer.Option(help="Where the data sets are.", show_default="$MMDIFF_DATA, else ./data"),
]

# Of training; None is the preset's.
BatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch",
        min=1,
        help="Samples in a step; fewer take less memory.",
        show_default="the preset's",
    ),
]
LearningRate = Annotated[
    float | None,
    typer.Option("--lr", help="The learning rate, at its highest.", show_default="the preset's"),
]

# Of training on sound; None is what `mmdiff.training.audio.train_audio` chooses.
FrontEndOption = Annotated[
    str | None,
    typer.Option(
        "--frontend",
        help="For sound: raw, patch:P, stft:N, learned:S or mdct:M, see mmdiff.audio.frontends.",
        show_default="mdct:8",
    ),
]
SampleRate = Annotated[
    int | None,
    typer.Option(min=1, help="For sound: resample to this, in Hz.", show_default="the data's own"),
]
Seconds = Annotated[
    float | None,
    typer.Option(
        min=0.01, help="For sound: length of a clip.", show_default="0.64 for fsdd, else 1.5"
    ),
]
Channels = Annotated[
    int | None,
    typer.Option(
        min=32,
        help="For sound: width of the network where a position is 64 samples.",
        show_default="the preset's",
    ),
]
Stereo = Annotated[bool, typer.Option("--stereo", help="For sound: two channels, else one.")]
