"""mmdiff evaluate: how good a model is."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmdiff.options import (
    Batch,
    Checkpoint,
    DataDir,
    Device,
    DeviceOption,
    GuidanceOption,
    Seed,
    SolverOption,
    Spin,
    Steps,
)

if TYPE_CHECKING:
    from mmdiff.metrics.images import ImageReport
    from mmdiff.metrics.speech import SpeechReport


def evaluate(
    checkpoint: Checkpoint,
    count: Annotated[
        int | None,
        typer.Option(
            "-n",
            "--count",
            min=2,
            max=60_000,
            help="How many samples.",
            show_default="10,000 pictures or 1,000 sounds",
        ),
    ] = None,
    solver: SolverOption = None,
    steps: Steps = None,
    guidance: GuidanceOption = None,
    spin: Spin = None,
    seed: Seed = 0,
    data_dir: DataDir = None,
    device: DeviceOption = Device.auto,
    batch: Batch = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of lines.")] = False,
) -> None:
    """Judge a model of digits, written or spoken: accuracy, Fréchet distance to real ones.

    Examples:

    - `mmdiff evaluate digits`

    - `mmdiff evaluate speech -n 300`

    - `mmdiff evaluate runs/mine/model.safetensors -n 1000 --solver ddim --steps 50 --json`
    """
    from mmdiff.errors import UserError
    from mmdiff.opening import open_model

    opened = open_model(checkpoint, device, solver, steps, guidance, spin)
    shared: dict[str, Any] = {
        "guidance": opened.guidance,
        "seed": seed,
        "data_dir": data_dir,
        "batch": batch or opened.batch,
        "progress": sys.stderr.isatty(),
    }
    report: ImageReport | SpeechReport
    try:
        if opened.sound:
            from mmdiff.metrics.speech import evaluate_speech_model

            report = evaluate_speech_model(
                opened.model, opened.solver, count or 1_000, spin=opened.spin, **shared
            )
        else:
            from mmdiff.metrics.images import evaluate_digit_model

            report = evaluate_digit_model(opened.model, opened.solver, count or 10_000, **shared)
    except ValueError as error:  # such as samples that are not finite
        raise UserError(str(error)) from error
    print(json.dumps(report.as_dict(), indent=2) if as_json else report.as_text())
