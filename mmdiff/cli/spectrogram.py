"""mmdiff spectrogram: a picture of a sound file, the one command that is about sound alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmdiff.cli.options import Overwrite


def spectrogram(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A sound file, such as a WAV, FLAC, Ogg or MP3.")
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
    from mmdiff.cli.outputs import Destination
    from mmdiff.errors import UserError
    from mmdiff.raster import save_png

    if file.is_dir():
        raise UserError(f"{file} is a folder: give the path of a sound file.")
    wanted = str(file.with_suffix(".png")) if out is None else out
    destination = Destination.parse(wanted, (".png",), "a spectrogram")
    if not destination.suffix:
        raise UserError(f"a spectrogram is a picture, which --out {out} is not: use a .png.")
    picture = spectrogram_picture(file, title=file.name)
    (path,) = destination.prepare([], ".png", overwrite)
    save_png(picture, path, {"Software": f"mmdiff {__version__}", "Title": file.name})
    print(f"wrote {path}")
