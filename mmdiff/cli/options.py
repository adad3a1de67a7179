"""Options that several commands share, and the words that they take; nothing slow to import."""

from __future__ import annotations

import re
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


class PrecisionName(StrEnum):
    """The values of `mmdiff.recipe.Precision`, likewise."""

    auto = "auto"
    bf16 = "bf16"
    no = "no"


SIDES = "SIDE|HEIGHTxWIDTH"


def sides(text: str) -> tuple[int, int]:
    """28, or 16x24: the height and the width."""
    if not re.fullmatch(r"\d+(x\d+)?", text):
        raise typer.BadParameter("give a side such as 28, or height and width such as 16x24")
    found = [int(side) for side in text.split("x")]
    return found[0], found[-1]


Checkpoint = Annotated[
    str,
    typer.Argument(
        metavar="CHECKPOINT", help="The name of a bundled model, such as digits, or a path."
    ),
]
# None in any of these four is what the checkpoint recommends.
_RECOMMENDED = "what the model recommends"
SolverOption = Annotated[
    SolverName | None,
    typer.Option("--solver", help="How to go from noise to data.", show_default=_RECOMMENDED),
]
Steps = Annotated[
    int | None, typer.Option(min=1, help="Steps of the solver.", show_default=_RECOMMENDED)
]
GuidanceOption = Annotated[
    float | None,
    typer.Option(
        "--guidance",
        min=0,
        help="Strength of classifier-free guidance; 1 switches it off, 2 is much.",
        show_default=_RECOMMENDED,
    ),
]
Spin = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Cycle spinning: before each call of the network shift by 0 to SPIN - 1 positions, "
        "and back after it; 0 switches it off.",
        show_default=_RECOMMENDED,
    ),
]
Seed = Annotated[int, typer.Option(help="The same seed gives the same samples.")]
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device", help="auto takes a GPU if there is one; else any that torch knows, as cuda:1."
    ),
]
Batch = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Samples at a time; takes memory, changes nothing.",
        show_default="256 pictures, 50 sounds or 16 videos",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files.")]

DataDir = Annotated[
    Path | None,
    typer.Option(help="Where the data sets are.", show_default="$MMDIFF_DATA, else ./data"),
]
