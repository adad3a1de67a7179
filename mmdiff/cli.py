"""The command line: mmdiff sample | train | evaluate | info.

torch and all that needs it is imported inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmdiff import __version__
from mmdiff.errors import Interrupted, UserError
from mmdiff.options import (
    Batch,
    Checkpoint,
    DataDir,
    Device,
    DeviceOption,
    GuidanceOption,
    PresetName,
    Seed,
    SolverName,
    SolverOption,
    Steps,
)

if TYPE_CHECKING:
    from torch import Tensor

    from mmdiff.solvers import Solver
    from mmdiff.training.checkpoints import Pretrained


app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Train diffusion models and sample from them.",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """The program `mmdiff`; `arguments` are those of the process if None."""
    run(app, "mmdiff", arguments)


def run(program: typer.Typer, name: str, arguments: Sequence[str] | None = None) -> None:
    """Run `program` and exit: 0 done, 1 an error to cure, 2 wrong usage, 130 interrupted."""
    try:
        program(args=arguments, prog_name=name)
    except Interrupted as stop:
        print(f"{name}: {stop}", file=sys.stderr)
        sys.exit(130)
    except (UserError, OSError, MemoryError) as error:
        sys.exit(f"{name}: {_sentence(error)}")
    except RuntimeError as error:  # torch's, for a GPU and for the CPU
        if "out of memory" not in str(error) and "can't allocate memory" not in str(error):
            raise
        sys.exit(f"{name}: there is not enough memory: use a smaller --batch.")


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return ": ".join(str(part) for part in (error.filename, error.strerror) if part) + "."
    return " ".join(str(error).split()) or "there is not enough memory: use a smaller --batch."


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"mmdiff {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version."),
    ] = False,
) -> None:
    pass


@app.command()
def sample(
    checkpoint: Checkpoint,
    label: Annotated[
        str | None, typer.Option(help="Draw this class only; without it the classes take turns.")
    ] = None,
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="How many samples.")] = 64,
    solver: SolverOption = SolverName.dpmpp2msde,
    steps: Steps = 25,
    guidance: GuidanceOption = None,
    seed: Seed = 0,
    out: Annotated[
        str,
        typer.Option(
            help="X.png: one grid. X.gif: how it comes out of the noise. X/: one file a sample."
        ),
    ] = "samples.png",
    device: DeviceOption = Device.auto,
    batch: Batch = 256,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files.")] = False,
) -> None:
    """Draw samples from a model and write them as pictures.

    Examples:

    - `mmdiff sample digits`

    - `mmdiff sample digits --label 7 -n 16 --guidance 2 --out sevens.png`

    - `mmdiff sample digits --out digits.gif --overwrite`

    - `mmdiff sample runs/mine/model.safetensors -n 1000 --seed 1 --out samples/`
    """
    from tqdm import tqdm

    import mmdiff
    from mmdiff.notes import generated
    from mmdiff.outputs import Destination, Writer, sample_names

    destination = Destination.parse(out)
    model, method = _open(checkpoint, device, solver, steps, guidance)
    shape = model.info.shape
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise UserError(f"{checkpoint} makes signals of shape {shape}, which are not pictures.")
    index, texts = _labels(model, checkpoint, label, count)
    name = "/".join(Path(checkpoint).with_suffix("").parts[-2:])
    note = generated(name, seed, method, guidance)
    writer = Writer(destination, sample_names(texts, count), note, model.info, steps, overwrite)
    with tqdm(total=-(-count // batch) * steps, unit="step", disable=None) as bar:

        def on_step(i: int, t: float, x: Tensor, x0: Tensor) -> None:
            writer.step(i, x)
            bar.update()

        for first in range(0, count, batch):
            size = min(batch, count - first)
            x = mmdiff.sample(
                model,
                (size, *shape),
                method,
                seed=seed,
                guidance=guidance,
                on_step=on_step,
                first=first,
                clip=model.info.data_range,
                label=None if index is None else index[first : first + size],
            )
            writer.batch(x)
    writer.finish()
    print(f"wrote {destination.path}")


@app.command()
def train(
    dataset: Annotated[
        str,
        typer.Option(help="mnist, fashion-mnist, kmnist, cifar10, celeba or folder:PATH."),
    ] = "mnist",
    preset: Annotated[
        PresetName,
        typer.Option(help="fast: good digits in an hour on two cores. thesis: the slow original."),
    ] = PresetName.fast,
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
    size: Annotated[
        int | None,
        typer.Option(min=4, help="Side of the images in pixels.", show_default="the data's own"),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    data_dir: DataDir = None,
    device: DeviceOption = Device.auto,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
) -> None:
    """Train a model on images; Ctrl-C saves, and --resume goes on.

    The folder gets model.safetensors, samples and pictures of the progress, losses.csv and what
    TensorBoard shows.

    Examples:

    - `mmdiff train`

    - `mmdiff train --dataset fashion-mnist --epochs 10`

    - `mmdiff train --dataset folder:holiday/photos --size 32 --out runs/photos`

    - `mmdiff train --dataset folder:holiday/photos --size 32 --out runs/photos --resume`
    """
    from mmdiff.training.images import train_images

    checkpoint = train_images(
        preset=preset.value,
        dataset=dataset,
        out=out or Path("runs", Path(dataset.removeprefix("folder:")).name),
        data_dir=data_dir,
        size=size,
        epochs=epochs,
        steps=steps,
        resume=resume,
        device=device.value,
        seed=seed,
    )
    print(f"wrote {checkpoint}")


@app.command()
def evaluate(
    checkpoint: Checkpoint,
    count: Annotated[
        int, typer.Option("-n", "--count", min=2, max=60_000, help="How many samples.")
    ] = 10_000,
    solver: SolverOption = SolverName.dpmpp2msde,
    steps: Steps = 25,
    guidance: GuidanceOption = None,
    seed: Seed = 0,
    data_dir: DataDir = None,
    device: DeviceOption = Device.auto,
    batch: Batch = 256,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of lines.")] = False,
) -> None:
    """Judge a model of digits: accuracy of its labels, Fréchet distance to MNIST's test images.

    Examples:

    - `mmdiff evaluate digits`

    - `mmdiff evaluate runs/mine/model.safetensors -n 1000 --solver ddim --steps 50 --json`
    """
    from mmdiff.metrics.images import evaluate_digit_model

    model, method = _open(checkpoint, device, solver, steps, guidance)
    try:
        report = evaluate_digit_model(
            model,
            method,
            count,
            guidance=guidance,
            seed=seed,
            data_dir=data_dir,
            batch=batch,
            progress=sys.stderr.isatty(),
        )
    except ValueError as error:  # such as samples that are not finite
        raise UserError(str(error)) from error
    print(json.dumps(report.as_dict(), indent=2) if as_json else report.as_text())


@app.command()
def info(checkpoint: Checkpoint) -> None:
    """Show what a checkpoint holds and how it was made.

    Examples:

    - `mmdiff info digits`

    - `mmdiff info runs/mine/model.safetensors`
    """
    from mmdiff.training.checkpoints import find, load

    path = find(checkpoint)
    model = load(path)
    about = model.info
    backbone: Any = model.backbone
    schedule = model.schedule.config()
    rows = {
        "file": f"{path} ({path.stat().st_size:,} bytes)",
        "backbone": f"{type(backbone).__name__}({_arguments(backbone.config)})",
        "parameters": f"{sum(p.numel() for p in backbone.parameters()):,}",
        "schedule": f"{schedule.pop('name')}({_arguments(schedule)})",
        "prediction": f"{model.prediction}, weighting {model.weighting}",
        "shape": " x ".join(map(str, about.shape)),
        "range": "{:g} to {:g}".format(*about.data_range),
        "labels": ", ".join(about.labels) or "none",
        "data set": about.dataset or "not recorded",
        **{f"made: {key}": str(value) for key, value in about.made.items()},
    }
    width = max(map(len, rows))
    for key, value in rows.items():
        print(f"{key:{width}}  {value}")


def _arguments(config: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in config.items())


def _open(
    checkpoint: str, device: Device, solver: SolverName, steps: int, guidance: float | None
) -> tuple[Pretrained, Solver]:
    """The model on its device and the solver, tried on its schedule before any work begins."""
    import torch

    import mmdiff

    available = torch.cuda.is_available()
    if device is Device.cuda and not available:
        raise UserError("torch finds no CUDA device here: use --device cpu.")
    place = ("cuda" if available else "cpu") if device is Device.auto else device.value
    model = mmdiff.load(checkpoint, device=place)
    method = mmdiff.SOLVERS[solver.value](steps)
    try:
        method.plan(model.schedule)
        mmdiff.Guidance(1.0 if guidance is None else guidance)
    except ValueError as error:
        raise UserError(str(error)) from None
    if guidance is not None and not model.info.labels:
        raise UserError(f"{checkpoint} knows no labels to be guided by: leave --guidance out.")
    return model, method


def _labels(
    model: Pretrained, checkpoint: str, label: str | None, count: int
) -> tuple[Tensor | None, list[str] | None]:
    """The label of every sample, as int64 [count] for the model and by name."""
    import torch

    known = model.info.labels
    if not known:
        if label is not None:
            raise UserError(f"{checkpoint} was trained without labels: leave --label out.")
        return None, None
    if label is None:
        index = torch.arange(count) % len(known)
    elif label in known:
        index = torch.full((count,), known.index(label))
    else:
        raise UserError(f"{checkpoint} has no label {label!r}; it knows {', '.join(known)}.")
    device = next(model.parameters()).device
    return index.to(device), [known[i] for i in index.tolist()]
