"""Files that ffmpeg's libraries open, where PyAV is installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

FILMS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ogv", ".wmv", ".flv")

CLEARLY = 0.01  # of what was promised: a file that lacks more is cut

# Playlists are no data, and would open other files and addresses.
_OPTIONS = {"protocol_whitelist": "none"}


def available() -> bool:
    return find_spec("av") is not None


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """PyAV's container; raises av.FFmpegError for what is none."""
    import av

    # Not by its name, which ffmpeg might take for an address.
    with path.open("rb") as raw, av.open(raw, options=_OPTIONS) as container:
        yield container
