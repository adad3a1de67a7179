"""mmdiff enhance, mmdiff upsample, mmdiff vocode: sound from sound, one program for all three."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmdiff.cli.options import DeviceOption, Overwrite, Seed, Steps

if TYPE_CHECKING:
    from torch import Tensor

_FILE = typer.Argument(metavar="FILE", help="A sound file of any rate, channels and length.")
_OUT = "X.wav, X.flac (of 24 bits): the sound. X.png: spectrograms of both, before and after."
_Strength = Annotated[
    float, typer.Option(min=0, max=1, help="How much of what the model makes is mixed in.")
]


def _model(kind: str) -> Any:
    return typer.Option(
        "--model", metavar="CHECKPOINT", help=f"The {kind}: a path, or a bundled model's name."
    )


def enhance(
    file: Annotated[Path, _FILE],
    strength: _Strength = 1.0,
    model: Annotated[str, _model("enhancer")] = "enhancer",
    steps: Steps = None,
    seed: Seed = 0,
    out: Annotated[str, typer.Option(help=_OUT)] = "enhanced.wav",
    device: DeviceOption = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Take noise and echo out of a recording of a voice.

    It keeps its rate, channels, length and level; above half of the model's rate nothing is left.

    Examples:

    - `mmdiff enhance interview.mp3 --out clean.wav`

    - `mmdiff enhance interview.mp3 --strength 0.7 --out less.wav`

    - `mmdiff enhance interview.mp3 --model runs/mine/model.safetensors --out both.png`
    """
    _convert("enhance", file, model, strength, None, steps, seed, out, device, overwrite)


def upsample(
    file: Annotated[Path, _FILE],
    rate: Annotated[
        int | None,
        typer.Option(
            min=1, help="The sample rate to reach, in Hz.", show_default="that of the model"
        ),
    ] = None,
    strength: _Strength = 1.0,
    model: Annotated[str, _model("upsampler")] = "upsampler",
    steps: Steps = None,
    seed: Seed = 0,
    out: Annotated[str, typer.Option(help=_OUT)] = "upsampled.wav",
    device: DeviceOption = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Give a recording of a low sample rate the highs that it lacks.

    Examples:

    - `mmdiff upsample old.wav --rate 16000 --out wide.wav`

    - `mmdiff upsample old.wav --model runs/mine/model.safetensors --out both.png`
    """
    _convert("upsample", file, model, strength, rate, steps, seed, out, device, overwrite)


def vocode(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="A sound file, of which the mel frames are taken; or X.npy: log-mel frames "
            "[bands, N], as mmdiff.audio.Mel gives them.",
        ),
    ],
    model: Annotated[str, _model("vocoder")] = "vocoder",
    steps: Steps = None,
    seed: Seed = 0,
    out: Annotated[str, typer.Option(help=_OUT)] = "vocoded.wav",
    device: DeviceOption = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Make the sound of a mel spectrogram.

    Examples:

    - `mmdiff vocode speech.wav --out again.wav`

    - `mmdiff vocode mel.npy --model runs/mine/model.safetensors --out speech.wav`
    """
    _convert("vocode", file, model, 1.0, None, steps, seed, out, device, overwrite)


def _convert(
    task: str,
    file: Path,
    checkpoint: str,
    strength: float,
    rate: int | None,
    steps: int | None,
    seed: int,
    out: str,
    device: str,
    overwrite: bool,
) -> None:
    from mmdiff import devices
    from mmdiff.audio.convert import load_for, settings, stream
    from mmdiff.audio.pictures import Clip, comparison
    from mmdiff.audio.recording import Recording
    from mmdiff.audio.sound import write
    from mmdiff.cli.outputs import Destination
    from mmdiff.cli.plain import arguments
    from mmdiff.errors import UserError
    from mmdiff.notes import generated
    from mmdiff.raster import save_png

    destination = Destination.parse(out, (".wav", ".flac", ".png"), "sounds")
    model = load_for(task, checkpoint, devices.choose(device))
    made = model.info.modality.sample_rate
    if rate not in (None, made):
        raise UserError(
            f"{checkpoint} reaches {made:,} Hz, not {rate:,}: leave --rate out, or use another "
            "--model."
        )
    with arguments():
        is_mel = task == "vocode" and file.suffix.lower() == ".npy"
        source = _frames(file) if is_mel else Recording.of(file)
        result = stream(task, source, model, strength, steps, seed)
        sampling = settings(model, steps)
    (path,) = destination.prepare([file.stem], ".wav", overwrite)
    name = "/".join(Path(checkpoint).with_suffix("").parts[-2:])
    note = generated(name, seed, sampling)
    note |= {"Made from": file.name, "Made by": task, "Strength": f"{strength:g}"}
    parts = _timed(result.parts, result.sample_rate, result.frames / result.sample_rate)
    if destination.suffix == ".png":
        clips = [("after", Clip(result.channels, result.frames, parts))]
        if isinstance(source, Recording):
            before = source.at(result.sample_rate)
            clips.insert(0, ("before", Clip(result.channels, result.frames, before)))
        save_png(comparison(clips, result.sample_rate, file.name), path, note)
    else:
        subtype: Any = "PCM_24" if destination.suffix == ".flac" else "PCM_16"
        write(path, parts, result.sample_rate, note, subtype)
    print(f"wrote {path}")


def _frames(file: Path) -> Tensor:
    """The array in a .npy file, of which only what is looked at is read."""
    import torch
    from numpy.lib.format import open_memmap

    from mmdiff.errors import UserError

    try:
        return torch.from_numpy(open_memmap(file, "c"))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{file} is no array of numbers that can be read: save one with numpy.save."
        ) from error


def _timed(parts: Iterable[Tensor], sample_rate: int, seconds: float) -> Iterator[Tensor]:
    """The parts, and a bar of the seconds of sound that are done and how fast that goes."""
    from tqdm import tqdm

    look = "{l_bar}{bar}| {n:.0f}/{total:.0f} s [{elapsed}<{remaining}{postfix}]"
    begin = time.perf_counter()
    with tqdm(total=seconds, bar_format=look, disable=None) as bar:
        for part in parts:
            bar.update(part.shape[1] / sample_rate)
            factor = bar.n / (time.perf_counter() - begin)
            bar.set_postfix_str(f"{factor:.1f} times real time")
            yield part
