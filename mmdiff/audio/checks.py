"""Sound files that are opened only if they are what they claim, as far as their headers tell."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import soundfile

from mmdiff.errors import UserError

# In Hz. A header that says more is broken, and at less there is nothing to hear.
LOWEST_RATE, HIGHEST_RATE = 100, 1_000_000

# What libsndfile says of a file that ends before its header said. Writers that cannot go back to
# put in the length leave about 2^31 or 2^32 there, which promises nothing.
_ENDS_EARLY = re.compile(r"^\s*(?:data|SSND|Data Size)\s*: (\d+) \(should be (\d+)\)", re.M)
_UNKNOWN_SIZE = 0x7FFF0000

_OGG_PAGE = 65307  # the largest there is, in bytes


@contextmanager
def opened(path: Path | str) -> Iterator[soundfile.SoundFile]:
    """A file that claims to hold sound, all of it as far as its header tells.

    Raises:
        UserError: any other.
    """
    path = Path(path)
    try:
        str(path).encode()
    except UnicodeEncodeError as error:  # libsndfile is asked in UTF-8
        name = str(path).encode(errors="backslashreplace").decode()
        raise UserError(f"the name of {name} is not in UTF-8: rename the file.") from error
    try:
        if path.exists() and not path.is_file():  # reading a pipe may take for ever
            problem = "is a folder" if path.is_dir() else "is not a regular file"
            raise UserError(f"{path} {problem}: give the path of a sound file.")
        with path.open("rb") as raw:
            empty = not raw.read(1)
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror or error}): check its name and permissions."
        ) from error
    if empty:
        raise UserError(f"{path} is empty: put a sound file in its place.")
    try:
        file = soundfile.SoundFile(path)
    except Exception as error:  # of libsndfile, or of Python where a name promises no header
        raise _foreign(path) from error
    with file:
        if file.format == "RAW":  # libsndfile's guess for names that promise no header
            raise _foreign(path)
        if _is_cut(file):
            raise cut(path)
        if not file.frames:
            raise UserError(f"{path} is empty: there is a header and no sound after it.")
        if file.samplerate > HIGHEST_RATE:
            raise UserError(
                f"{path} says that its sample rate is {file.samplerate:,} Hz, and no sound has "
                f"more than {HIGHEST_RATE:,}: export it again."
            )
        yield file


def _is_cut(file: soundfile.SoundFile) -> bool:
    """Whether a file ends before its header, or the header of its last page, says."""
    if file.format != "OGG":
        early = _ENDS_EARLY.search(file.extra_info)
        return early is not None and int(early[2]) < int(early[1]) < _UNKNOWN_SIZE
    with Path(file.name).open("rb") as raw:
        raw.seek(0, 2)
        raw.seek(max(0, raw.tell() - _OGG_PAGE))
        tail = raw.read()
    page = tail[tail.rfind(b"OggS") :]
    # 27 bytes, of which the last is the number of segments; their sizes; the segments.
    return len(page) < 27 or len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]])


def _foreign(path: Path) -> UserError:
    return UserError(f"{path} is no sound file, or its header is cut: convert it to WAV or FLAC.")


def cut(path: Path) -> UserError:
    """What to raise where a file ends too early, or cannot be decoded."""
    return UserError(f"{path} is cut or damaged: copy or convert it again.")
