"""PNG and GIF files that say how they were made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from PIL.Image import Image
from PIL.PngImagePlugin import PngInfo

from mmdiff.errors import UserError
from mmdiff.files import written_aside


def save_png(image: Image, path: Path | str, note: Mapping[str, str] | None = None) -> None:
    """Write a PNG file whose text chunks are the entries of `note`; a whole file or none.

    Raises:
        UserError: the file cannot be written.
    """
    info = PngInfo()
    for key, value in (note or {}).items():
        info.add_text(key, value)
    _write(Path(path), lambda aside: image.save(aside, "PNG", pnginfo=info, optimize=True))


def save_gif(
    frames: Sequence[Image],
    path: Path | str,
    milliseconds: int = 60,
    note: Mapping[str, str] | None = None,
    hold: int = 2000,
) -> None:
    """Write an endless animation whose comment is `note`; a whole file or none.

    Args:
        frames: images of one size.
        milliseconds: how long a frame stays, in steps of 10.
        hold: how long the last one stays.

    Raises:
        UserError: the file cannot be written.
    """
    if not frames:
        raise ValueError("an animation needs at least one frame.")
    first, *others = frames
    options = {
        "save_all": True,
        "append_images": others,
        "duration": [milliseconds] * len(others) + [hold],
        "loop": 0,
        "comment": "\n".join(f"{key}: {value}" for key, value in (note or {}).items()).encode(),
    }
    _write(Path(path), lambda aside: first.save(aside, "GIF", **options))


def _write(path: Path, save: Callable[[Path], None]) -> None:
    try:
        with written_aside(path) as aside:
            save(aside)
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror or error}): make room, or choose another "
            "place."
        ) from error
