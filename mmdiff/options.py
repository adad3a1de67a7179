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
SolverOption = Annotated[SolverName, typer.Option("--solver", help="How to go from noise to data.")]
Steps = Annotated[int, typer.Option(min=1, help="Steps of the solver.")]
GuidanceOption = Annotated[
    float | None,
    typer.Option(
        "--guidance", min=0, help="Strength of classifier-free guidance; 1 is none, 2 is much."
    ),
]
Seed = Annotated[int, typer.Option(help="The same seed gives the same samples.")]
DeviceOption = Annotated[Device, typer.Option("--device", help="auto takes a GPU if there is one.")]
Batch = Annotated[
    int, typer.Option(min=1, help="Samples at a time; takes memory, changes nothing.")
]

DataDir = Annotated[
    Path | None,
    typer.Option(help="Where the data sets are.", show_default="$MMDIFF_DATA, else ./data"),
]
