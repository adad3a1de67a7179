"""mmdiff restore: a damaged picture, sound or video, repaired."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mmdiff.cli.options import Checkpoint, DeviceOption, Overwrite, Seed, Steps


def _damage(*name: str, help: str, metavar: str | None = None, **limits: Any) -> Any:
    """An option that says what is wrong; a command has one of them."""
    panel = "What is wrong, one of these"
    return typer.Option(*name, help=help, metavar=metavar, rich_help_panel=panel, **limits)


def restore(
    checkpoint: Checkpoint,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="What is damaged, or is to go on or be varied.")
    ],
    mask: Annotated[
        Path | None,
        _damage(
            metavar="PICTURE",
            help="Draw anew where this picture is white; of a video, in every frame.",
        ),
    ] = None,
    gap: Annotated[
        list[str] | None,
        _damage(
            metavar="FROM:TO", help="Draw these seconds of a sound or video anew; may be repeated."
        ),
    ] = None,
    extend: Annotated[
        int | None, _damage(min=1, metavar="PIXELS", help="Draw what lies around a picture.")
    ] = None,
    go_on: Annotated[
        float | None,
        _damage("--continue", metavar="SECONDS", help="Go on until a sound or video is so long."),
    ] = None,
    enlarge: Annotated[
        int | None, _damage(min=2, metavar="TIMES", help="Make a picture so many times as wide.")
    ] = None,
    band: Annotated[
        float | None, _damage(metavar="HZ", help="Draw what a sound lacks above this.")
    ] = None,
    deblur: Annotated[
        float | None,
        _damage(
            metavar="PIXELS",
            help="Undo a Gaussian blur of this deviation, in each frame of a video.",
        ),
    ] = None,
    room: Annotated[
        Path | None,
        _damage(metavar="SOUND", help="Undo the room with this impulse response, by its peak."),
    ] = None,
    clipped: Annotated[bool, _damage("--clipped", help="Draw peaks that were cut off.")] = False,
    denoise: Annotated[
        float | None,
        _damage(metavar="DEVIATION", help="Remove noise, where signals reach from -1 to 1."),
    ] = None,
    colour: Annotated[bool, _damage("--colour", help="Colour a grey picture.")] = False,
    vary: Annotated[
        float | None,
        _damage(metavar="STRENGTH", help="Nothing: vary it; 1 leaves nothing of it."),
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="What class it is of, by its name or number, if you know.")
    ] = None,
    speaker: Annotated[str | None, typer.Option(help="Who speaks, if you know.")] = None,
    count: Annotated[
        int, typer.Option("-n", "--count", min=1, max=64, help="How many answers to draw.")
    ] = 1,
    steps: Steps = None,
    seed: Seed = 0,
    out: Annotated[
        str | None,
        typer.Option(
            help="X.png: a picture of the damage, the answers, their mean and their deviation; of "
            "one picture, that alone. X.wav, X.flac: the answers, one after another. X.gif, X.mp4: "
            "those of a video. X/: one file an answer.",
            show_default="restored, of the model's usual kind",
        ),
    ] = None,
    device: DeviceOption = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Repair a picture, a sound or a video with a model that was never trained to.

    A file is brought to the model's size or rate first. What is not damaged stays as it is.

    Examples:

    - `mmdiff restore digits damaged.png --mask mask.png -n 4 --out fixed.png`

    - `mmdiff restore digits small.png --enlarge 2 --label 7`

    - `mmdiff restore digits grainy.png --denoise 0.2 -n 8 --out answers/`

    - `mmdiff restore digits three.png --vary 0.6 --label 8 --out eight.png`

    - `mmdiff restore speech clip.wav --gap 0.20:0.30 --out fixed.wav`

    - `mmdiff restore speech loud.wav --clipped`

    - `mmdiff restore speech clip.wav --continue 2.0 --label 7`

    - `mmdiff restore runs/video_v/model.safetensors seven.png --continue 1.6 --out seven.gif`

    - `mmdiff restore runs/video_v/model.safetensors clip.gif --gap 0.2:0.5 --out fixed.gif`
    """
    from tqdm import tqdm

    from mmdiff.cli.opening import open_model, settings
    from mmdiff.cli.outputs import Destination
    from mmdiff.cli.plain import arguments
    from mmdiff.cli.repairs import repair_of, write
    from mmdiff.cli.wanted import choose_samples
    from mmdiff.errors import UserError
    from mmdiff.notes import generated
    from mmdiff.restore import usual as usual_sampling

    wrong = {
        "mask": mask, "gap": gap, "extend": extend, "continue": go_on, "enlarge": enlarge,
        "band": band, "deblur": deblur, "room": room, "clipped": clipped or None,
        "denoise": denoise, "colour": colour or None, "vary": vary,
    }  # fmt: skip
    wrong = {name: value for name, value in wrong.items() if value is not None and value != []}
    if len(wrong) != 1:
        raise UserError(
            f"say one thing that is wrong with {file}, such as --mask or --gap, not {len(wrong)}."
        )
    ((name, value),) = wrong.items()
    model = open_model(checkpoint, device)
    modality = model.info.modality
    with arguments():
        repair = repair_of(name, value, model, file, checkpoint)
    destination = Destination.parse(
        f"restored{modality.writes[0]}" if out is None else out,
        (".png", *modality.writes),
        modality.title,
    )
    usual = usual_sampling(model)
    sampling = settings(
        model, model.info.shape, checkpoint, steps=steps, solver=usual.solver, guidance=1.0,
        clip=usual.clip,
    )  # fmt: skip
    told = {"label": label, "speaker": speaker}
    kinds = {name: kind for name, kind in model.conditions.items() if told.get(name) is not None}
    wanted = choose_samples(kinds, told, count, None, checkpoint)
    names = [f"{file.stem}_{index}" for index in range(count)]
    paths = destination.prepare(names, modality.writes[0], overwrite, modality.files)
    model_name = "/".join(Path(checkpoint).with_suffix("").parts[-2:])
    note = generated(model_name, seed, sampling) | wanted.said(0, count)
    note |= {"Restored from": file.name, "Restored by": f"{name} {repair.how}".strip()}
    with arguments(), tqdm(unit="step", disable=None) as bar:
        x = repair.draw(
            count=count,
            seed=seed,
            sampling=sampling,
            on_step=lambda *_: bar.update(),
            **wanted.values,
        )
    write(modality, repair.damaged, x.cpu(), destination, paths, note)
    print(f"wrote {destination.path}")
