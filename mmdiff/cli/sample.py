"""mmdiff sample: samples of a model, as files."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmdiff.cli.options import (
    SIDES,
    Batch,
    Checkpoint,
    DeviceOption,
    GuidanceOption,
    Overwrite,
    Seed,
    SolverOption,
    Spin,
    Steps,
    sides,
)

if TYPE_CHECKING:
    from torch import Tensor


def sample(
    checkpoint: Checkpoint,
    label: Annotated[
        str | None,
        typer.Option(
            help="Draw this class only, by its name or number; without it the classes take turns."
        ),
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
            show_default="64 pictures, 10 pairs, or a sound or video of each class",
        ),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            min=0.01, help="Of sounds and videos: how long.", show_default="as in the training"
        ),
    ] = None,
    size: Annotated[
        Any,
        typer.Option(
            parser=sides,
            metavar=SIDES,
            help="Of pictures and videos: their size in pixels.",
            show_default="as in the training",
        ),
    ] = None,
    given: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="For joint models: draw what goes with this picture, video or sound.",
        ),
    ] = None,
    vary: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw variations of this file."),
    ] = None,
    strength: Annotated[
        float,
        typer.Option(min=0.01, max=1, help="How far --vary goes: 1 leaves nothing of the file."),
    ] = 0.6,
    solver: SolverOption = None,
    steps: Steps = None,
    guidance: GuidanceOption = None,
    spin: Spin = None,
    seed: Seed = 0,
    out: Annotated[
        str | None,
        typer.Option(
            help="X.png: a picture of all, such as a grid, waveforms and spectrograms, or strips. "
            "X.gif: how they come out of the noise. X.wav, X.flac (of 24 bits): sounds, one after "
            "another. X.gif, X.webp, X.apng, X.mp4: videos, side by side. X/: one file a sample.",
            show_default="samples.png, samples.wav or samples.gif",
        ),
    ] = None,
    device: DeviceOption = "auto",
    batch: Batch = None,
    overwrite: Overwrite = False,
) -> None:
    """Draw samples from a model and write them as pictures, sound or video.

    Examples:

    - `mmdiff sample digits`

    - `mmdiff sample digits --label 7 -n 16 --guidance 2 --out sevens.png`

    - `mmdiff sample digits --out digits.gif --overwrite`

    - `mmdiff sample digits --vary three.png --label 8 -n 10 --out eights.png`

    - `mmdiff sample runs/mine/model.safetensors -n 1000 --seed 1 --out samples/`

    - `mmdiff sample speech --label 7 --speaker george --out seven.wav`

    - `mmdiff sample speech -n 10 --out counting.flac`

    - `mmdiff sample speech -n 20 --seconds 1 --out counting.png`

    - `mmdiff sample duet -n 10 --out duet.mp4`

    - `mmdiff sample duet --given seven.png --out seven.wav`

    - `mmdiff sample bounce --given silent.gif --out heard.mp4`
    """
    from tqdm import tqdm

    from mmdiff.cli.across import across
    from mmdiff.cli.opening import open_model, settings
    from mmdiff.cli.outputs import Destination
    from mmdiff.cli.plain import arguments
    from mmdiff.cli.wanted import choose_samples
    from mmdiff.cli.writers import Writer
    from mmdiff.errors import UserError
    from mmdiff.notes import generated
    from mmdiff.restore.tasks import noised
    from mmdiff.sampling import drawn, in_parts, steps_of

    model = open_model(checkpoint, device)
    told = {"label": label, "speaker": speaker}
    asked = {name: kind for name, kind in model.conditions.items() if told.get(name) is not None}
    kinds = {**model.usually_told, **asked}
    pair = None if given is None else across(model, given, out, checkpoint)
    if pair is not None:  # what is given says what it is: no classes take turns
        kinds, model = asked, pair.view
    shape, modality = model.info.shape, model.info.modality if pair is None else pair.modality
    destination = Destination.parse(
        f"samples{modality.writes[0]}" if out is None else out,
        (".png", ".gif", *modality.writes),
        modality.title,
    )
    if given is not None and (seconds, size) != (None, None):
        raise UserError(
            f"what goes with {given} is as large and as long as in the training: leave --size and "
            "--seconds out."
        )
    if seconds is not None and vary is not None:
        raise UserError(f"a variation is as long as {vary}: leave --seconds out.")
    if seconds is not None:
        with arguments():
            shape = modality.lasting(shape, seconds)
    with arguments():
        shape = shape if size is None else modality.sized(shape, size)
        varied = None if vary is None else modality.read(vary, shape)
    shape = shape if varied is None else tuple(varied.shape)
    sampling = settings(
        model, shape, checkpoint, steps=steps, guidance=guidance, spin=spin,
        solver=solver and solver.value,
    )  # fmt: skip
    wanted = choose_samples(kinds, told, count, modality.count, checkpoint)
    note = generated("/".join(Path(checkpoint).with_suffix("").parts[-2:]), seed, sampling)
    how: dict[str, Any] = {**wanted.values, **(pair.told if pair else {})}
    if given is not None:
        note |= {"Given": given.name}
    if vary is not None and varied is not None:
        how |= {"noise": noised(model, varied, wanted.count, strength, seed), "start": strength}
        how |= sampling.arguments(seed)
        note |= {"Variation of": vary.name, "Strength": f"{strength:g}"}
    if vary is None:
        draw: Any = partial(drawn, sampling=sampling, seed=seed)
        steps = steps_of(model, sampling)
    else:
        draw, steps = in_parts, len(sampling.method().plan(model.schedule, strength))
    writer = Writer(destination, modality, shape, wanted, note, steps, overwrite)
    size = batch or modality.batch
    total = -(-wanted.count // size) * steps
    with arguments(), tqdm(total=total, unit="step", disable=None) as bar:

        def on_step(i: int, t: float, x: Tensor, x0: Tensor) -> None:
            if writer.shows(i):
                writer.state(i, model.decode(x, shape[1:]))
            bar.update()

        for x in draw(model, (wanted.count, *shape), batch=size, on_step=on_step, **how):
            writer.batch(x if pair is None else pair.whole(x))
    writer.finish()
    print(f"wrote {destination.path}")
