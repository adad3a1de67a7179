"""mmdiff evaluate: how good a model is."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmdiff.cli.options import (
    Batch,
    Checkpoint,
    DataDir,
    DeviceOption,
    GuidanceOption,
    Seed,
    SolverOption,
    Spin,
    Steps,
)

if TYPE_CHECKING:
    from mmdiff.diffusion import Diffusion
    from mmdiff.metrics.bounce import BounceReport
    from mmdiff.metrics.conversions import ConversionReport
    from mmdiff.metrics.images import ImageReport
    from mmdiff.metrics.joint import JointReport
    from mmdiff.metrics.sounds import SoundReport
    from mmdiff.metrics.speech import SpeechReport
    from mmdiff.metrics.video import VideoReport
    from mmdiff.sampling import Sampling

    Report = BounceReport | ImageReport | JointReport | SoundReport | SpeechReport | VideoReport


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
            show_default="10,000 pictures; 1,000 spoken digits, videos or pairs of digits; 300 "
            "bounces; of other sounds as many as are held out, up to 1,000, and of sounds of "
            "sounds up to 100",
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
    device: DeviceOption = "auto",
    batch: Batch = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of lines.")] = False,
) -> None:
    """Judge a model of digits or of any sound beside real ones that it never saw.

    Pairs of digits: how often they agree, and each is read right that was made from the other.
    Bounces: how often touches are heard, tones seen, and the pitch is that of the digit.
    Digits, written or spoken: accuracy, Fréchet distance, and what was memorised. Videos of digits:
    accuracy, Fréchet distance, whether they stay one digit, and how they move. Sounds: how loud
    they are, their spectrum where they are no digits, and what the front end's frames leave in them
    and do in one pass of the network. Sounds of sounds, as an enhancer's: what it was told and what
    came of it, beside the true one.

    Examples:

    - `mmdiff evaluate digits`

    - `mmdiff evaluate speech -n 300`

    - `mmdiff evaluate runs/mnist/model.safetensors -n 1000 --solver ddim --steps 50 --json`

    - `mmdiff evaluate runs/sounds/model.safetensors --spin 16`

    - `mmdiff evaluate runs/sounds/model.safetensors --dataset folder:other-sounds`

    - `mmdiff evaluate runs/enhancer/model.safetensors --dataset folder:clean-voices`
    """
    from mmdiff.cli.opening import open_model, settings
    from mmdiff.cli.plain import arguments
    from mmdiff.errors import UserError

    model = open_model(checkpoint, device)
    sampling = settings(
        model, model.info.shape, checkpoint, steps=steps, guidance=guidance, spin=spin,
        solver=solver and solver.value,
    )  # fmt: skip
    modality = model.info.modality
    judge = _conversions if model.info.task is not None else _JUDGES.get(modality.title)
    if judge is None:
        raise UserError(f"{checkpoint} makes {modality.title}, which nothing here can judge yet.")
    how: dict[str, Any] = {
        "seed": seed,
        "data_dir": data_dir,
        "batch": batch or modality.batch,
        "progress": sys.stderr.isatty(),
    }
    with arguments():  # such as samples that are not finite
        report = judge(model, sampling, count, dataset, how)
    print(json.dumps(report.as_dict(), indent=2) if as_json else report.as_text())


def _pictures(
    model: Diffusion,
    sampling: Sampling,
    count: int | None,
    dataset: str | None,
    how: dict[str, Any],
) -> ImageReport:
    from mmdiff.errors import UserError
    from mmdiff.metrics.images import evaluate_digit_model

    if dataset is not None:
        raise UserError("digits are compared with mnist: leave --dataset out.")
    return evaluate_digit_model(model, sampling, count or 10_000, **how)


def _sounds(
    model: Diffusion,
    sampling: Sampling,
    count: int | None,
    dataset: str | None,
    how: dict[str, Any],
) -> SoundReport | SpeechReport:
    from mmdiff.metrics.sounds import evaluate_sound_model
    from mmdiff.metrics.speech import evaluate_speech_model, says_digits

    if dataset in (None, "fsdd") and says_digits(model):
        return evaluate_speech_model(model, sampling, count or 1_000, **how)
    return evaluate_sound_model(model, sampling, count, dataset, **how)


def _pairs(
    model: Diffusion,
    sampling: Sampling,
    count: int | None,
    dataset: str | None,
    how: dict[str, Any],
) -> BounceReport | JointReport:
    from mmdiff.errors import UserError
    from mmdiff.joint import Joint
    from mmdiff.metrics.bounce import evaluate_bounce
    from mmdiff.metrics.joint import evaluate_duet

    if dataset is not None:
        raise UserError("pairs are compared with the data of their recipe: leave --dataset out.")
    if isinstance(model, Joint) and "video" in model.parts:
        return evaluate_bounce(model, sampling, count or 300, **how)
    return evaluate_duet(model, sampling, count or 1_000, **how)


def _conversions(
    model: Diffusion,
    sampling: Sampling,
    count: int | None,
    dataset: str | None,
    how: dict[str, Any],
) -> ConversionReport:
    from mmdiff.errors import UserError
    from mmdiff.metrics.conversions import evaluate_conversion

    if dataset is None:
        raise UserError("name the clean sounds to judge it on: --dataset folder:PATH.")
    return evaluate_conversion(model, sampling, dataset, count, **how)


def _videos(
    model: Diffusion,
    sampling: Sampling,
    count: int | None,
    dataset: str | None,
    how: dict[str, Any],
) -> VideoReport:
    from mmdiff.errors import UserError
    from mmdiff.metrics.video import evaluate_video_model

    if dataset is not None:
        raise UserError("moving digits are compared with moving-mnist: leave --dataset out.")
    return evaluate_video_model(model, sampling, count or 1_000, **how)


# By what a modality is called.
_JUDGES: dict[str, Callable[..., Report]] = {
    "pairs": _pairs,
    "pictures": _pictures,
    "sounds": _sounds,
    "videos": _videos,
}
