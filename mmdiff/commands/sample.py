"""mmdiff sample: pictures or sounds from a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmdiff.options import (
    Batch,
    Checkpoint,
    Device,
    DeviceOption,
    GuidanceOption,
    Overwrite,
    Seed,
    SolverOption,
    Spin,
    Steps,
)

if TYPE_CHECKING:
    from torch import Tensor


def sample(
    checkpoint: Checkpoint,
    label: Annotated[
        str | None, typer.Option(help="Draw this class only; without it the classes take turns.")
    ] = None,
    speaker: Annotated[
        str | None, typer.Option(help="This speaker only; without it the speakers take turns.")
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(
            "-n",
            "--count",
            min=1,
            max=1_000_000,
            help="How many samples.",
            show_default="64 pictures, or a sound of each class",
        ),
    ] = None,
    solver: SolverOption = None,
    steps: Steps = None,
    guidance: GuidanceOption = None,
    spin: Spin = None,
    seed: Seed = 0,
    out: Annotated[
        str | None,
        typer.Option(
            help="X.png: a grid, or waveforms and spectrograms. X.gif: how pictures come out of "
            "the noise. X.wav: sounds, one after another. X/: one file a sample.",
            show_default="samples.png or samples.wav",
        ),
    ] = None,
    device: DeviceOption = Device.auto,
    batch: Batch = None,
    overwrite: Overwrite = False,
) -> None:
    """Draw samples from a model and write them as pictures or as sound.

    Examples:

    - `mmdiff sample digits`

    - `mmdiff sample digits --label 7 -n 16 --guidance 2 --out sevens.png`

    - `mmdiff sample digits --out digits.gif --overwrite`

    - `mmdiff sample runs/mine/model.safetensors -n 1000 --seed 1 --out samples/`

    - `mmdiff sample speech --label 7 --speaker george --out seven.wav`

    - `mmdiff sample speech -n 10 --out counting.wav`

    - `mmdiff sample speech -n 20 --out counting.png`
    """
    from tqdm import tqdm

    from mmdiff.notes import generated
    from mmdiff.opening import choose_samples, open_model
    from mmdiff.outputs import Destination
    from mmdiff.sampling import in_parts
    from mmdiff.writers import PictureWriter, SoundWriter, Writer

    destination = None if out is None else Destination.parse(out)
    opened = open_model(checkpoint, device, solver, steps, guidance, spin)
    destination = destination or Destination.parse(f"samples.{'wav' if opened.sound else 'png'}")
    destination.check(opened.sound)
    info = opened.info
    wanted = choose_samples(info, checkpoint, label, speaker, count)
    name = "/".join(Path(checkpoint).with_suffix("").parts[-2:])
    note = generated(name, seed, opened.solver, opened.guidance)
    if opened.spin:
        note["Spin"] = str(opened.spin)
    steps = opened.solver.steps
    writer: Writer
    if opened.sound:
        writer = SoundWriter(destination, wanted, note, overwrite)
    else:
        writer = PictureWriter(destination, wanted, note, steps, overwrite)
    size = batch or opened.batch
    with tqdm(total=-(-wanted.count // size) * steps, unit="step", disable=None) as bar:

        def on_step(i: int, t: float, x: Tensor, x0: Tensor) -> None:
            writer.step(i, x)
            bar.update()

        for x in in_parts(
            opened.model,
            (wanted.count, *info.shape),
            opened.solver,
            seed,
            batch=size,
            guidance=opened.guidance,
            on_step=on_step,
            clip=None if opened.sound else info.data_range,
            spin=opened.spin,
            **wanted.conditions(),
        ):
            writer.batch(x)
    writer.finish()
    print(f"wrote {destination.path}")
