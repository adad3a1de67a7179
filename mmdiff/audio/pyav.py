"""What ffmpeg's libraries decode and libsndfile does not, where PyAV is installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmdiff.data.containers import CLEARLY, opened
from mmdiff.errors import UserError

SUFFIXES = (
    *(".m4a", ".m4b", ".aac", ".wma", ".amr", ".ac3", ".ape", ".wv", ".tta", ".mka", ".weba"),
    *(".dts", ".eac3", ".mpc", ".shn", ".spx"),
)


class Decoder:
    """The first sound in a file. It is decoded from its beginning whichever part is wanted:
    places in such files are not exact to a sample.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with _stream(path) as (_, stream):
            self.sample_rate: int = stream.rate
            self.channels: int = stream.channels

    def blocks(self, start: int, size: int) -> Iterator[Any]:
        import av

        at = 0
        with _stream(self._path) as (container, stream):
            planes = av.AudioResampler("fltp", stream.layout, self.sample_rate)
            for frame in container.decode(stream):
                for part in planes.resample(frame):
                    block = part.to_ndarray().T
                    at += len(block)
                    if start < len(block):
                        yield block[start:]
                    start = max(0, start - len(block))
            # Other containers only guess how long they are.
            promised = 0 if "mp4" not in container.format.name else stream.duration or 0
            if at < (1 - CLEARLY) * promised * stream.time_base * self.sample_rate:
                raise UserError(f"{self._path} is cut: copy or convert it again.")


@contextmanager
def _stream(path: Path) -> Iterator[tuple[Any, Any]]:
    """The open file and its first sound.

    Raises:
        UserError: also for what goes wrong while it is open.
    """
    import av

    try:
        with opened(path) as container:
            stream = container.streams.audio[0]
            if not stream.rate or not stream.channels:  # a guess by the name
                raise ValueError("there is no sound")
            yield container, stream
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise UserError(
            f"{path} is no sound file, or it is cut or damaged: copy it again, or convert it to "
            "WAV or FLAC."
        ) from error
