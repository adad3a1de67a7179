"""Sound files in and out: any rate and any number of channels, a part at a time.

libsndfile reads them and soxr resamples them. A sound is float32 [C, L], nominally in [-1, 1].
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil, gcd
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
import soxr
import torch
from torch import Tensor

from mmdiff.audio.checks import cut, opened
from mmdiff.errors import UserError
from mmdiff.files import written_aside

SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff")

_BLOCK = 1 << 20  # numbers that are decoded at once where a whole file is gone through

# How many input frames soxr's filter reaches to each side, at the lower of the two rates: 128 are
# enough for an error of 1e-6.
_REACH = 256

# An MP3 without a frame count is measured by its size: that is right to within two MPEG frames.
_MP3_SLACK = 2 * 1152

_COMMENT = 2000  # bytes
_LARGEST = 1e12  # a value; 32-bit integers that nobody divided reach 2e9
_LEVELS = 1 << 15


@dataclass(frozen=True)
class SoundInfo:
    """What the header of a sound file says.

    Attributes:
        sample_rate: in Hz.
        channels: how many.
        frames: samples in each channel, at least 1.
    """

    sample_rate: int
    channels: int
    frames: int

    @property
    def seconds(self) -> float:
        return self.frames / self.sample_rate


def probe(path: Path | str) -> SoundInfo:
    """What a sound file holds, by its header alone.

    Raises:
        UserError: there is no such file, it is empty or no sound file, or its header shows that
            it was cut, or says a rate beyond all sound.
    """
    with opened(path) as file:
        return SoundInfo(file.samplerate, file.channels, file.frames)


def read(path: Path | str, start: int = 0, frames: int | None = None) -> tuple[Tensor, int]:
    """A part of a sound file, float32 [C, frames], and its sample rate in Hz.

    Integers of b bits are divided by 2^(b-1). What lies before `start` is not read.

    Args:
        path: of the file.
        start: the first frame.
        frames: how many; to the end if None.

    Raises:
        UserError: as `probe`; also if the part cannot be decoded, or has values that are NaN,
            infinite or beyond all sound.
        ValueError: the part does not lie within the file.
    """
    with opened(path) as file:
        frames = file.frames - start if frames is None else frames
        if not 0 <= start <= start + frames <= file.frames:
            raise ValueError(
                f"{path} has {file.frames} frames: {frames} from {start} on are not in it."
            )
        return _take(file, start, frames), file.samplerate


def blocks(path: Path | str) -> Iterator[Tensor]:
    """The whole of a sound file in parts [C, any length], so that an hour of it needs no memory.

    Raises:
        UserError: as `read`.
    """
    with opened(path) as file:
        frames = max(1, _BLOCK // file.channels)
        for start in range(0, file.frames, frames):
            yield _take(file, start, min(frames, file.frames - start))


def read_resampled(
    path: Path | str, info: SoundInfo, sample_rate: int, start: int, frames: int
) -> Tensor:
    """Frames `start` to `start + frames` of what the whole file would be at `sample_rate`.

    Only the part that they depend on is read, which begins where the grids of both rates meet.
    The result differs from resampling the whole by less than 1e-4 of full scale.

    Args:
        path: of the file.
        info: what `probe` says of it.
        sample_rate: in Hz, of the result and of `start` and `frames`.
        start, frames: the part, within `resampled_length` of the whole.

    Raises:
        UserError: as `read`.
    """
    source = info.sample_rate
    if source == sample_rate:
        return read(path, start, frames)[0]
    common = gcd(source, sample_rate)
    period, target_period = source // common, sample_rate // common
    margin = ceil(_REACH * max(1.0, source / sample_rate))
    periods = max(0, start * source // sample_rate - margin) // period
    end = min(info.frames, -(-(start + frames) * source // sample_rate) + margin)
    x, _ = read(path, periods * period, end - periods * period)
    offset = start - periods * target_period
    return resample(x, source, sample_rate)[:, offset : offset + frames]


def resampled_length(frames: int, source: int, target: int) -> int:
    """How many frames `resample` makes of `frames`."""
    return (2 * frames * target + source) // (2 * source)


def resample(x: Tensor, source: int, target: int) -> Tensor:
    """`x` [C, L] from one sample rate to another: [C, `resampled_length(L, source, target)`].

    The filter (soxr's "HQ") has linear phase and keeps 91% of the band of the lower rate.

    Args:
        x: on any device; the result is float32 on the CPU.
        source, target: rates in Hz.
    """
    x = x.detach().to("cpu", torch.float32)
    length = resampled_length(x.shape[-1], source, target)
    if source == target or not length:
        return x[:, :length]
    # Transposed, so that soxr sees each channel as one piece.
    y = torch.from_numpy(soxr.resample(x.contiguous().numpy().T, source, target)).T
    assert y.shape[-1] == length
    return y.contiguous()


def mix(x: Tensor, channels: int) -> Tensor:
    """`x` [C, L] with another number of channels: [channels, L].

    Too few are repeated in turn: mono becomes the same on both sides. Too many are averaged: each
    that stays with all that go, so that stereo becomes the mean of both sides.
    """
    if len(x) <= channels:
        return x[torch.arange(channels) % len(x)]
    return (x[:channels] + x[channels:].sum(0)) / (1 + len(x) - channels)


def write(
    path: Path | str,
    x: Tensor,
    sample_rate: int,
    note: Mapping[str, str] | None = None,
    subtype: Literal["PCM_16", "FLOAT"] = "PCM_16",
) -> None:
    """Write a WAV file whose INFO chunk says what `note` does; a whole file or none.

    The entry "Software" has a field of its own, the others are lines of the comment.

    Args:
        path: ends in .wav.
        x: [C, L], on any device and in any precision; as "PCM_16" in [-1, 1].
        sample_rate: in Hz.
        note: text by key; cut off after 2,000 bytes, since readers pass over a longer comment.
        subtype: "PCM_16" has steps of 2^-15 and its largest value is 1 - 2^-15; "FLOAT" keeps
            every float32.

    Raises:
        UserError: NaN or infinite values, values beyond [-1, 1] for "PCM_16", a failing disk.
        ValueError: an `x` of another shape or a path of another kind.
    """
    path = Path(path)
    if x.ndim != 2 or not x.numel():
        raise ValueError(f"a sound needs a shape [C, L] with C, L > 0, not {list(x.shape)}.")
    if path.suffix.lower() != ".wav":
        raise ValueError(f"{path} does not end in .wav.")
    x = x.detach().to("cpu", torch.float32)
    if not x.isfinite().all():
        raise UserError(
            "the sound has NaN or infinite values: the model has diverged, use another one."
        )
    values = x.T.numpy()
    if subtype == "PCM_16":
        peak = float(x.abs().max())
        if peak > 1:
            raise UserError(
                f"the sound reaches {peak:.4g}, beyond the range of 16 bits, [-1, 1]: "
                "make it quieter, or write it as FLOAT."
            )
        # libsndfile would round towards zero.
        values = np.clip(np.round(values * _LEVELS), -_LEVELS, _LEVELS - 1).astype(np.int16)
    entries = dict(note or {})
    software = entries.pop("Software", "mmdiff")
    comment = "\n".join(f"{key}: {value}" for key, value in entries.items())
    buffer = io.BytesIO()  # libsndfile does not say why it cannot write to a disk
    with soundfile.SoundFile(buffer, "w", sample_rate, len(x), subtype, format="WAV") as file:
        file.software = software
        if comment:  # an empty one is refused
            file.comment = comment.encode()[:_COMMENT].decode(errors="ignore")
        file.write(values)
    try:
        with written_aside(path) as aside:
            aside.write_bytes(buffer.getbuffer())
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror or error}): make room, or choose another "
            "place."
        ) from error


def _take(file: soundfile.SoundFile, start: int, frames: int) -> Tensor:
    """[C, frames] from `start` on."""
    path = Path(file.name)
    slack = _MP3_SLACK if file.format == "MP3" else 0
    try:
        if file.tell() != start:
            file.seek(start)
        values = file.read(frames, dtype="float32", always_2d=True, fill_value=0.0)
        end = file.tell()
    except Exception as error:  # libsndfile has many
        raise cut(path) from error
    if end < start + frames - slack:
        raise cut(path)
    x = torch.from_numpy(values).T.contiguous()
    if not (x.abs() < _LARGEST).all():  # nor is NaN
        raise UserError(
            f"{path} has NaN or infinite values in it, or absurd ones: export it again."
        )
    return x
