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
    from mmdiff.metrics.sounds import SoundReport
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
            show_default="10,000 pictures, 1,000 spoken digits, of other sounds as many as are "
            "held out, up to 1,000",
        ),
    ] = None,
    solver: SolverOption = None,
    steps: Steps = None,
    guidance: GuidanceOption = None,
    spin: Spin = None,
    seed: Seed = 0,
    dataset: Annotated[
        str | None,
        typer.Option(
            help="For sound: what to compare with, fsdd, synthetic or folder:PATH.",
            show_default="what the model was trained on",
        ),
    ] = None,
    data_dir: DataDir = None,
    device: DeviceOption = Device.auto,
    batch: Batch = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of lines.")] = False,
) -> None:
    """Judge a model of digits or of any sound beside real ones that it never saw.

    Digits, written or spoken: accuracy, Fréchet distance, and what was memorised. Sounds: how loud
    they are, their spectrum where they are no digits, and what the front end's frames leave in them
    and do in one pass of the network.

    Examples:

    - `mmdiff evaluate digits`

    - `mmdiff evaluate speech -n 300`

    - `mmdiff evaluate runs/mnist/model.safetensors -n 1000 --solver ddim --steps 50 --json`

    - `mmdiff evaluate runs/sounds/model.safetensors --spin 16`

    - `mmdiff evaluate runs/sounds/model.safetensors --dataset folder:other-sounds`
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
    report: ImageReport | SoundReport | SpeechReport
    try:
        if not opened.sound:
            from mmdiff.metrics.images import evaluate_digit_model

            if dataset is not None:
                raise UserError(
                    f"{checkpoint} makes pictures, and --dataset is for sound: leave it out."
                )
            report = evaluate_digit_model(opened.model, opened.solver, count or 10_000, **shared)
        else:
            from mmdiff.metrics.sounds import evaluate_sound_model
            from mmdiff.metrics.speech import evaluate_speech_model, says_digits

            shared["spin"] = opened.spin
            if dataset in (None, "fsdd") and says_digits(opened.info):
                report = evaluate_speech_model(
                    opened.model, opened.solver, count or 1_000, **shared
                )
            else:
                report = evaluate_sound_model(opened.model, opened.solver, count, dataset, **shared)
    except ValueError as error:  # such as samples that are not finite
        raise UserError(str(error)) from error
    print(json.dumps(report.as_dict(), indent=2) if as_json else report.as_text())
