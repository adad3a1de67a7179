"""mmdiff spectrogram: a picture of a sound file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmdiff.options import Overwrite


def spectrogram(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A sound file: WAV, FLAC, Ogg or MP3.")
    ],
    out: Annotated[
        str | None,
        typer.Option(help="X.png: the picture.", show_default="beside FILE, with .png at its end"),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Draw a sound file: its waveform above its mel spectrogram.

    Examples:

    - `mmdiff spectrogram seven.wav`

    - `mmdiff spectrogram music/song.flac --out song.png --overwrite`
    """
    from mmdiff import __version__
    from mmdiff.audio.pictures import spectrogram_picture
    from mmdiff.audio.sound import read
    from mmdiff.errors import UserError
    from mmdiff.image.pictures import save_png
    from mmdiff.outputs import Destination

    if file.is_dir():
        raise UserError(f"{file} is a folder: give the path of a sound file.")
    destination = Destination.parse(str(file.with_suffix(".png")) if out is None else out)
    if destination.kind != "png":
        raise UserError(f"a spectrogram is a picture, which --out {out} is not: use a .png.")
    x, sample_rate = read(file)
    (path,) = destination.prepare([], ".png", overwrite)
    picture = spectrogram_picture(x, sample_rate, file.name)
    save_png(picture, path, {"Software": f"mmdiff {__version__}", "Title": file.name})
    print(f"wrote {path}")
