"""One clip as a tensor: an animation, a film, a folder of frames, or a still picture.

A frame of a film may stay as long as it likes. So a clip is seen as what it shows at so many
frames a second. Nothing about the file is trusted, as with pictures.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageSequence
from torch import Tensor
from torchvision.transforms.v2 import functional as tvf

from mmdiff.data.containers import CLEARLY, FILMS, available, opened
from mmdiff.data.folders import GENERATED
from mmdiff.errors import UserError
from mmdiff.image.decoding import SUFFIXES as PICTURES
from mmdiff.image.decoding import Mode, Sides, is_generated, open_picture, reason, to_pixels
from mmdiff.raster import ANIMATED

SUFFIXES = (*ANIMATED, *FILMS)
FRAMES = tuple(suffix for suffix in PICTURES if suffix not in ANIMATED)  # of files of one frame

_UNTIMED = 0.1  # seconds that a frame stays whose file says 0, as browsers have it
_FAINT = 2  # of 255: chroma that coding leaves in what is grey


@dataclass(frozen=True)
class Header:
    """What a file says of its clip.

    Attributes:
        grey: whether it has no colours.
        sides: height and width in pixels.
        frames: how many, of any length.
        seconds: how long it is; 0 for a still picture and for frames without a time.
        generated: whether it says that a model generated it.
    """

    grey: bool
    sides: Sides
    frames: int
    seconds: float
    generated: bool

    @property
    def fps(self) -> float:
        """Frames a second, on average; 0 where there is no time."""
        return self.frames / self.seconds if self.seconds else 0.0

    def length(self, fps: float) -> float:
        """About how many frames it is at `fps`."""
        return self.seconds * fps or self.frames


def read_header(path: Path) -> Header | str:
    """What a file, or the first frame of a folder, says; or why it is no clip."""
    try:
        if path.suffix.lower() in FILMS:
            return _film_header(path)
        frames = numbered(path) if path.is_dir() else [path]
        with open_picture(frames[0]) as image:
            shown = [(_is_grey(frame), seconds) for frame, seconds in _stays(image)]
            return Header(
                all(grey for grey, _ in shown),
                (image.height, image.width),
                max(len(frames), len(shown)),
                0.0 if len(shown) == 1 else sum(seconds for _, seconds in shown),
                is_generated(image),
            )
    except Exception as error:  # a foreign file may raise anything
        return reason(error)


def numbered(folder: Path) -> list[Path]:
    """The pictures right in a folder that have a number in their name, in its order.

    Raises:
        UserError: there are none.
    """
    found = {
        path: [int(part) for part in re.findall(r"\d+", path.stem)]
        for path in folder.iterdir()
        if path.suffix.lower() in FRAMES and not path.name.startswith(".")
    }
    frames = sorted((path for path, number in found.items() if number), key=found.__getitem__)
    if not frames:
        raise UserError(f"{folder} holds no numbered pictures, such as 001.png: put some into it.")
    return frames


def decode(
    path: Path,
    mode: Mode,
    sides: Sides | None,
    fps: float,
    start: int = 0,
    count: int | None = None,
) -> Tensor:
    """What a clip shows at `fps`, as uint8 [C, T, H, W]; a still picture is one frame.

    Frame k is what is shown at (k + 1/2) / fps seconds, made smaller or larger to cover `sides`
    and cropped evenly.

    Args:
        path: of a file, or of a folder of numbered pictures, each of which stays for a frame.
        mode: grey or colour, C = 1 or 3.
        sides: H and W; those of the first frame if None.
        fps: frames a second, above 0.
        start: the first frame.
        count: how many, at most; all that follow if None.

    Raises:
        Exception: whatever Pillow or PyAV raise for a bad file.
        ValueError: nothing is shown that late.
    """
    taken: list[Tensor] = []
    first, end = None, 0.0
    for image, seconds in _frames(path, fps):
        sides = sides or (image.height, image.width)
        pixels = None
        if first is None:
            first = pixels = to_pixels(image, mode, sides)
        end += seconds
        while (start + len(taken) + 0.5) / fps < end and len(taken) != count:
            pixels = to_pixels(image, mode, sides) if pixels is None else pixels
            taken.append(pixels)
        if len(taken) == count:
            break
    if not taken and not start and first is not None:  # a still, or too short a flash
        taken = [first]
    if not taken:
        raise ValueError(f"it lasts for {end:g} seconds alone")
    return torch.stack(taken, dim=1)


def read(path: Path | str, channels: int, sides: Sides | None, fps: float) -> Tensor:
    """One clip as float32 [C, T, H, W] in [-1, 1]; see `decode`.

    Args:
        path: of the file or folder.
        channels: 1 is grey, 3 are RGB.
        sides: H and W; the clip's own if None.
        fps: frames a second.

    Raises:
        UserError: it is missing or cannot be read.
    """
    path = Path(path)
    if not (path.is_file() or path.is_dir()):  # a pipe would be waited for
        problem = "is not a file" if path.exists() else "does not exist"
        raise UserError(f"{path} {problem}: name a clip, a picture, or a folder of frames.")
    try:
        pixels = decode(path, "L" if channels == 1 else "RGB", sides, fps)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path} cannot be read ({reason(error)}): name another clip.") from error
    return pixels / 127.5 - 1


def _frames(path: Path, fps: float) -> Iterator[tuple[Image.Image, float]]:
    """Each frame, and for how many seconds it stays."""
    if path.is_dir():
        for file in numbered(path):
            with open_picture(file) as image:
                yield image, 1 / fps
    elif path.suffix.lower() in FILMS:
        yield from _film(path)
    else:
        with open_picture(path) as image:
            if getattr(image, "n_frames", 1) == 1:
                yield image, 0.0
            else:
                yield from _stays(image)


def _stays(image: Image.Image) -> Iterator[tuple[Image.Image, float]]:
    for frame in ImageSequence.Iterator(image):
        frame.load()  # some formats know the time only then
        yield frame, (frame.info.get("duration") or 0) / 1000 or _UNTIMED


def _is_grey(frame: Image.Image) -> bool:
    red, green, blue = tvf.pil_to_tensor(frame.convert("RGB"))
    return torch.equal(red, green) and torch.equal(red, blue)


def _film(path: Path) -> Iterator[tuple[Image.Image, float]]:
    with _opened_film(path) as (container, stream):
        usual = float(1 / stream.average_rate)
        before, began, count = None, 0.0, 0
        for frame in container.decode(stream):
            if before is not None:
                yield before, frame.time - began
            before = frame.to_image().rotate(frame.rotation, expand=True)
            began, count = frame.time, count + 1
        if before is None or count < (1 - CLEARLY) * stream.frames:
            raise ValueError("it is cut")
        yield before, usual


def _film_header(path: Path) -> Header:
    with _opened_film(path) as (container, stream):
        seconds = float((stream.duration or 0) * stream.time_base)
        seconds = seconds or (container.duration or 0) / 1e6
        frames = stream.frames or round(seconds * stream.average_rate)
        if not frames:  # what is written while it is watched cannot say how long it will be
            frames = sum(packet.size > 0 for packet in container.demux(stream))
            container.seek(0)
        return Header(
            # Most have colours, and are read up to the first.
            stream.format.name.startswith("gray") or all(map(_is_faint, container.decode(stream))),
            (stream.height, stream.width),
            frames,
            seconds or float(frames / stream.average_rate),
            GENERATED in str(dict(container.metadata)),
        )


def _is_faint(frame: Any) -> bool:
    """Whether a frame of PyAV has no colours."""
    chroma = frame.to_ndarray(format="yuv444p")[1:].astype(int)
    return bool((abs(chroma - 128) <= _FAINT).all())


@contextmanager
def _opened_film(path: Path) -> Iterator[tuple[Any, Any]]:
    """PyAV's container and its first film; ValueError for what goes wrong while it is open."""
    if not available():
        raise UserError(
            f"{path} needs PyAV to be read: pip install 'mmdiff[av]', or convert it to GIF, WebP "
            "or APNG."
        )
    import av

    try:
        with opened(path) as container:
            if not container.streams.video or not container.streams.video[0].average_rate:
                raise ValueError("there is no film in it")
            yield container, container.streams.video[0]
    except av.FFmpegError as error:
        raise ValueError(error.strerror) from error
