"""Sound files as streams of frames, decoded until they end, whatever their headers say.

libsndfile cuts what a header promises down to what the size of the file has room for, guesses the
length of an MP3 without a frame count, and stops after the first of several MP3 or Ogg files that
were joined to one. So it gets each of them on its own, as a file that seems never to end: then it
tells what the header promises, and decodes as long as there is something.
"""

from __future__ import annotations

import io
import mmap
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import soundfile

from mmdiff.audio import pyav
from mmdiff.data.containers import CLEARLY, available
from mmdiff.errors import UserError

# In Hz. A header that says more is broken, and at less there is nothing to hear.
LOWEST_RATE, HIGHEST_RATE = 100, 1_000_000

SUFFIXES = (
    *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".mp2", ".aif", ".aiff", ".aifc", ".au"),
    *(".snd", ".caf", ".w64", ".rf64", ".bwf", ".voc", ".sph", ".ircam", ".iff", ".svx"),
)

# Where an MP3 begins that has a frame count, and where an Ogg stream does.
_MP3 = re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb]..(?:.{9}|.{17}|.{32})(?:Xing|Info)", re.S)
_OGG = re.compile(rb"OggS\x00\x02.{22}(?:\x01vorbis|OpusHead|\x7fFLAC)", re.S)

_PADDING = 4096  # bytes or less may stand between a tag and the sound
_ENDLESS = 1 << 40  # bytes
_TAIL = 128  # bytes at the end of an MP3, which must be there to be looked at
_NO_PROMISE = 0x7FFF0000  # bytes or more: writers that cannot go back to the header say so

# A part of lossy sound depends on what comes before: an MP3's frame uses bits of earlier ones, and
# libsndfile errs by some samples about where the last page of an Ogg file begins.
_LOSSY = ("MPEG", "VORBIS", "OPUS")
_PREROLL = 32 * 1152


class Decoder(Protocol):
    """An open sound file."""

    sample_rate: int
    channels: int

    def blocks(self, start: int, size: int) -> Iterator[Any]:
        """float32 arrays [frames, channels] of about `size` frames, from frame `start` on.

        Raises:
            UserError: the file is cut or damaged.
        """


@contextmanager
def opened(path: Path) -> Iterator[Decoder]:
    """A sound file, decoded by libsndfile if that can, else by PyAV if that is installed.

    Raises:
        UserError: there is no such file, it is empty or no sound, or says an absurd rate.
    """
    if path.exists() and not path.is_file():  # reading a pipe may take for ever
        problem = "is a folder" if path.is_dir() else "is not a regular file"
        raise UserError(f"{path} {problem}: give the path of a sound file.")
    try:
        raw = path.open("rb")
        empty = not raw.peek(1)
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror or error}): check its name and permissions."
        ) from error
    with raw:
        if empty:
            raise UserError(f"{path} is empty: put a sound file in its place.")
        decoder = _decoder(path, raw)
        if decoder.sample_rate > HIGHEST_RATE:
            raise UserError(
                f"{path} says that its sample rate is {decoder.sample_rate:,} Hz, and no sound "
                f"has more than {HIGHEST_RATE:,}: export it again."
            )
        yield decoder


def _decoder(path: Path, raw: BinaryIO) -> Decoder:
    try:
        return _SndFile(path, raw)
    except soundfile.SoundFileError as error:
        if available():
            return pyav.Decoder(path)
        if path.suffix.lower() in pyav.SUFFIXES:
            raise UserError(
                f"{path} needs PyAV to be read: pip install 'mmdiff[av]', or convert it to FLAC."
            ) from error
        raise UserError(
            f"{path} is no sound file, or its header is cut: convert it to WAV or FLAC."
        ) from error


class _SndFile:
    """What libsndfile decodes."""

    def __init__(self, path: Path, raw: BinaryIO) -> None:
        self._path, self._raw = path, raw
        self._links, self._ends = _links(raw)
        with soundfile.SoundFile(self._links[0]) as first:
            self.sample_rate: int = first.samplerate
            self.channels: int = first.channels

    def blocks(self, start: int, size: int) -> Iterator[Any]:
        for link in self._links:
            with self._reopened(link) as file:
                # How long a link is, only its end tells: nothing is skipped where several are.
                skipped = self._skip(file, start) if len(self._links) == 1 else 0
                start -= skipped
                for block in self._decoded(file, link, skipped, size):
                    if start < len(block):
                        yield block[start:]
                    start = max(0, start - len(block))
        if not self._ends:
            raise cut(self._path)

    def _reopened(self, link: _Link) -> Any:
        link.seek(0)
        try:
            file = soundfile.SoundFile(link)
        except soundfile.SoundFileError as error:
            raise cut(self._path) from error
        if (file.samplerate, file.channels) != (self.sample_rate, self.channels):
            file.close()
            raise UserError(
                f"{self._path} changes its sample rate or its channels on the way: "
                "convert it to WAV or FLAC."
            )
        return file

    def _skip(self, file: Any, start: int) -> int:
        """Go to a frame at or before `start`, and tell which."""
        start -= _PREROLL if file.subtype.startswith(_LOSSY) else 0
        if not 0 < start < file.frames or not file.seekable():
            return 0
        try:
            return int(file.seek(start))
        except soundfile.SoundFileError as error:
            raise cut(self._path) from error

    def _decoded(self, file: Any, link: _Link, at: int, size: int) -> Iterator[Any]:
        """All from frame `at` on.

        A decoder that fails where the bytes end has come to the end, which the promise judges.
        """
        # After each part soundfile would seek to where it is, from which an MP3 goes on wrong.
        file.seekable = lambda: False
        count = size
        while count:
            block = np.full((size, self.channels), np.nan, np.float32)
            try:
                block = file.read(out=block)
                count = len(block)
            except soundfile.SoundFileError as error:
                if link.read_up_to < (1 - CLEARLY) * link.size:
                    raise cut(self._path) from error
                block = block[~np.isnan(block[:, 0])]
                count = 0
            at += len(block)
            yield block
        missing = file.frames - at
        # The bytes that all frames would take, as far as those that are there tell.
        promised = file.frames * link.size / max(1, at)
        slack = 2 * 1152 if file.subtype.startswith("MPEG") else 1
        if missing > slack + CLEARLY * file.frames and promised < _NO_PROMISE:
            raise cut(self._path)


class _Link:
    """A part of a file as a file for libsndfile, which may seem endless."""

    def __init__(self, raw: BinaryIO, start: int, size: int, endless: bool) -> None:
        self._raw, self._start, self._at = raw, start, 0
        self.size = size
        self._seeming = _ENDLESS if endless else self.size
        self.read_up_to = 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._seeming)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, count: int) -> bytes:
        count = max(0, min(count, self._seeming - self._at))
        if self._at >= max(self.size, self._seeming - _TAIL):
            data = bytes(count)
        else:
            self._raw.seek(self._start + self._at)
            data = self._raw.read(max(0, min(count, self.size - self._at)))
            self.read_up_to = max(self.read_up_to, min(self.size, self._at + count))
        self._at += len(data)
        return data


def _links(raw: BinaryIO) -> tuple[list[_Link], bool]:
    """The parts of a file that are sounds of their own, nearly always one; whether it has an end.

    Ogg promises no length, but marks its last page.
    """
    ends = True
    with mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as data:
        begin, size = _after_tag(data[:10]), len(data)
        kind = data[begin : begin + 4]
        starts: list[int] = []
        if kind == b"OggS":
            starts = [match.start() for match in _OGG.finditer(data)]
            ends = _is_last_page(data[data.rfind(b"OggS") :])
        elif begin or kind.startswith(b"\xff"):
            starts = [match.start() for match in _MP3.finditer(data)]
    if starts and starts[0] < begin + _PADDING:
        starts[0] = 0
    # These know how long they are, or look for their ends.
    known = {*starts, 0} if kind in (b"OggS", b"fLaC") else {*starts}
    starts = sorted({0, *starts})
    parts = zip(starts, [*starts[1:], size], strict=True)
    return [_Link(raw, start, end - start, start not in known) for start, end in parts], ends


def _is_last_page(page: bytes) -> bool:
    """Whether an Ogg page is marked as the last, and all of it is there.

    Its header has 27 bytes, of which the last is the number of the segments whose sizes follow.
    """
    sizes = page[27 : 27 + page[26]] if len(page) > 26 else b""
    return bool(sizes and page[5] & 4) and len(page) >= 27 + page[26] + sum(sizes)


def _after_tag(head: bytes) -> int:
    """Where a sound begins: after an ID3 tag, which may hold a cover, if there is one."""
    if len(head) < 10 or not head.startswith(b"ID3"):
        return 0
    size = 0
    for byte in head[6:]:  # of 7 bits
        size = size << 7 | byte
    return 10 + size


def cut(path: Path) -> UserError:
    """What to raise where a file ends too early, or cannot be decoded."""
    return UserError(f"{path} is cut or damaged: copy or convert it again.")
