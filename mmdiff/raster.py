"""Pictures and animations, as files that say how they were made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL.ExifTags import Base
from PIL.Image import Exif, Image
from PIL.PngImagePlugin import PngInfo

from mmdiff.files import unwritable, written_aside

ANIMATED = (".gif", ".webp", ".apng")


def save_png(image: Image, path: Path | str, note: Mapping[str, str] | None = None) -> None:
    """Write a PNG file whose text chunks are the entries of `note`; a whole file or none.

    Raises:
        UserError: the file cannot be written.
    """
    chunks = _chunks(note or {})
    _write(Path(path), lambda aside: image.save(aside, "PNG", pnginfo=chunks, optimize=True))


def save_gif(
    frames: Sequence[Image],
    path: Path | str,
    milliseconds: int = 60,
    note: Mapping[str, str] | None = None,
    hold: int = 2000,
) -> None:
    """Write an endless GIF, see `save_animation`.

    Args:
        milliseconds: how long a frame stays, in steps of 10.
        hold: how long the last one stays.
    """
    save_animation(frames, path, [milliseconds] * (len(frames) - 1) + [hold], note)


def save_animation(
    frames: Sequence[Image],
    path: Path | str,
    milliseconds: Sequence[int],
    note: Mapping[str, str] | None = None,
) -> None:
    """Write an endless animation of one of `ANIMATED`; a whole file or none.

    Args:
        frames: images of one size.
        path: says by its suffix which kind of file: GIF of at most 256 colours, or WebP or APNG
            without a loss.
        milliseconds: how long each frame stays; in steps of 10 in a GIF.
        note: a GIF's comment, a WebP's EXIF description, or an APNG's text chunks.

    Raises:
        UserError: the file cannot be written.
        ValueError: no frames, or a suffix of another kind.
    """
    path = Path(path)
    if not frames:
        raise ValueError("an animation needs at least one frame.")
    first, *others = frames
    options: dict[str, Any] = {
        "save_all": True,
        "append_images": others,
        "duration": list(milliseconds),
        "loop": 0,
        **_said(path.suffix.lower(), note or {}),
    }
    _write(path, lambda aside: first.save(aside, **options))


def in_one(note: Mapping[str, str]) -> str:
    """All entries of a note in one text, a line each."""
    return "\n".join(f"{key}: {value}" for key, value in note.items())


def _said(suffix: str, note: Mapping[str, str]) -> dict[str, Any]:
    """What Pillow is told for a kind of file that says `note`."""
    if suffix == ".gif":
        return {"format": "GIF", "comment": in_one(note).encode()}
    if suffix == ".webp":
        exif = Exif()
        exif[Base.ImageDescription] = in_one(note)
        return {"format": "WEBP", "lossless": True, "exif": exif}
    if suffix == ".apng":
        return {"format": "PNG", "pnginfo": _chunks(note)}
    raise ValueError(f"animations are {', '.join(ANIMATED)}, not {suffix or 'without a suffix'}.")


def _chunks(note: Mapping[str, str]) -> PngInfo:
    info = PngInfo()
    for key, value in note.items():
        info.add_text(key, value)
    return info


def _write(path: Path, save: Callable[[Path], None]) -> None:
    try:
        with written_aside(path) as aside:
            save(aside)
    except OSError as error:
        raise unwritable(path, error) from error
