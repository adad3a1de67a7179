"""Sound files in and out: any rate and any number of channels, a part at a time.

libsndfile reads them, or ffmpeg's libraries where PyAV is installed, and soxr resamples them. A
sound is float32 [C, L], nominally in [-1, 1].
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from math import ceil, gcd
from pathlib import Path
from typing import Any, Literal

import numpy as np
import soundfile
import soxr
import torch
from torch import Tensor

from mmdiff.audio import decoding, pyav
from mmdiff.audio.decoding import Decoder, opened
from mmdiff.errors import UserError
from mmdiff.files import unwritable, written_aside

SUFFIXES = decoding.SUFFIXES + pyav.SUFFIXES  # of what is taken for a sound

Subtype = Literal["PCM_16", "PCM_24", "FLOAT"]

_BLOCK = 1 << 20  # numbers that are decoded at once where a whole file is gone through

# How many input frames soxr's filter reaches to each side, at the lower of the two rates: 128 are
# enough for an error of 1e-6.
_REACH = 256

_COMMENT = 2000  # bytes
_LARGEST = 1e12  # a value; 32-bit integers that nobody divided reach 2e9
_CHANNELS = 8  # more than these are more than samples only where both were swapped


@dataclass(frozen=True)
class SoundInfo:
    """What a sound file holds.

    Attributes:
        sample_rate: in Hz.
        channels: how many.
        frames: samples in each channel, at least 1, as many as can be decoded.
    """

    sample_rate: int
    channels: int
    frames: int

    @property
    def seconds(self) -> float:
        return self.frames / self.sample_rate


def header(path: Path | str) -> tuple[int, int]:
    """The sample rate in Hz and the channels of a sound file, without decoding it.

    Raises:
        UserError: there is no such file, it is empty or no sound file, or says an absurd rate.
    """
    with opened(Path(path)) as file:
        return file.sample_rate, file.channels


def probe(path: Path | str) -> SoundInfo:
    """What a sound file holds. It is decoded to its end, since headers do not always tell.

    Raises:
        UserError: as `blocks`.
    """
    sample_rate, channels = header(path)
    return SoundInfo(sample_rate, channels, sum(x.shape[1] for x in blocks(path)))


def blocks(path: Path | str) -> Iterator[Tensor]:
    """The whole of a sound file in parts [C, any length], so that an hour of it needs no memory.

    Raises:
        UserError: as `header`; also for a file without a single frame, one that is cut or damaged,
            or has values that are NaN, infinite or beyond all sound.
    """
    path = Path(path)
    with opened(path) as file:
        empty = True
        for x in _tensors(path, file, 0, max(1, _BLOCK // file.channels)):
            empty = False
            yield x
        if empty:
            raise UserError(f"{path} is empty: there is a header and no sound after it.")


def read(path: Path | str, start: int = 0, frames: int | None = None) -> tuple[Tensor, int]:
    """A part of a sound file, float32 [C, frames], and its sample rate in Hz.

    Integers of b bits are divided by 2^(b-1). What lies before `start` is passed over.

    Args:
        path: of the file.
        start: the first frame.
        frames: how many; to the end if None.

    Raises:
        UserError: as `blocks`, for the part.
        ValueError: the part does not lie within the file.
    """
    path = Path(path)
    if start < 0 or (frames or 0) < 0:
        raise ValueError(f"{frames} frames from {start} on are no part of a sound.")
    if start == 0 and frames is None:
        return torch.cat(list(blocks(path)), 1), header(path)[0]
    with opened(path) as file:
        parts, count = [torch.empty(file.channels, 0)], 0
        size = min(frames or _BLOCK, max(1, _BLOCK // file.channels))
        for x in _tensors(path, file, start, size) if frames != 0 else ():
            parts.append(x if frames is None else x[:, : frames - count])
            count += parts[-1].shape[1]
            if count == frames:
                break
        if count < (1 if frames is None else frames):
            raise ValueError(f"{path} has no {frames or 'further'} frames from {start} on.")
        return torch.cat(parts, 1), file.sample_rate


def _tensors(path: Path, file: Decoder, start: int, size: int) -> Iterator[Tensor]:
    for block in file.blocks(start, size):
        x = torch.from_numpy(block).T.contiguous()
        if not (x.abs() < _LARGEST).all():  # nor is NaN
            raise UserError(
                f"{path} has NaN or infinite values in it, or absurd ones: export it again."
            )
        yield x


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
        UserError, ValueError: as `read`.
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


def at_speed(x: Tensor, percent: int) -> Tensor:
    """`x` [C, L] played faster (above 100) or slower: [C, about 100 L / percent].

    Pitch and resonances move with it, which makes another voice of a voice.
    """
    return resample(x, percent, 100)


def resampled(parts: Iterable[Tensor], source: int, target: int) -> Iterator[Tensor]:
    """The same for a sound in parts [C, any length] one after another, float32 on the CPU."""
    stream = None
    for x in parts:
        if source == target:
            yield x
            continue
        stream = stream or soxr.ResampleStream(source, target, len(x))
        yield torch.from_numpy(stream.resample_chunk(x.T.contiguous().numpy()).T)
    if stream:
        end = np.zeros((0, len(x)), np.float32)
        yield torch.from_numpy(stream.resample_chunk(end, last=True).T)


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
    x: Tensor | Iterable[Tensor],
    sample_rate: int,
    note: Mapping[str, str] | None = None,
    subtype: Subtype = "PCM_16",
) -> None:
    """Write a WAV or FLAC file with a comment that says what `note` does; a whole file or none.

    The entry "Software" has a field of its own, the others are lines of the comment.

    Args:
        path: ends in .wav or .flac.
        x: [C, L], or parts [C, any length] one after another; on any device and in any precision;
            in [-1, 1] but for "FLOAT".
        sample_rate: in Hz.
        note: text by key; cut off after 2,000 bytes, since readers pass over a longer comment.
        subtype: "PCM_16" has steps of 2^-15 and its largest value is 1 - 2^-15, "PCM_24" steps of
            2^-23; "FLOAT" keeps every float32, and is for WAV alone.

    Raises:
        UserError: NaN or infinite values, values beyond [-1, 1] for integers, a failing disk.
        ValueError: an `x`, a rate or a path of another kind.
    """
    path = Path(path)
    kind = path.suffix.lower().removeprefix(".").upper()
    if kind not in ("WAV", "FLAC"):
        raise ValueError(f"{path} ends in neither .wav nor .flac: choose one of them.")
    if subtype not in ("PCM_16", "PCM_24", "FLOAT") or (kind == "FLAC" and subtype == "FLOAT"):
        raise ValueError(f"{kind} is not written as {subtype!r}: choose 'PCM_16' or 'PCM_24'.")
    parts = iter([x] if isinstance(x, Tensor) else x)
    first = next(parts, torch.empty(0))
    if first.ndim != 2 or not first.numel() or first.is_complex():
        raise ValueError(f"a sound needs a shape [C, L] with C, L > 0, not {list(first.shape)}.")
    channels, length = first.shape
    if channels > max(_CHANNELS, length):
        raise ValueError(
            f"a sound of shape {list(first.shape)} has more channels than samples: is it "
            "transposed? The shape is [C, L]."
        )
    try:
        with written_aside(path) as aside, aside.open("wb+", buffering=0) as raw:
            disk = _Disk(raw)
            try:
                with soundfile.SoundFile(
                    disk, "w", sample_rate, channels, subtype, format=kind
                ) as file:
                    _describe(file, note or {})
                    for part in chain([first], parts):
                        file.write(_values(part, subtype))
            except (AssertionError, soundfile.SoundFileError, TypeError, OverflowError) as error:
                if disk.failed:
                    raise disk.failed from None
                raise ValueError(
                    f"{kind} holds no {channels} channels at {sample_rate} Hz: choose another rate "
                    "or fewer channels."
                ) from error
    except OSError as error:
        raise unwritable(path, error) from error


class _Disk:
    """A file for libsndfile, which does not say why it cannot write."""

    def __init__(self, raw: io.FileIO) -> None:
        self.seek, self.tell, self.read, self._raw = raw.seek, raw.tell, raw.read, raw
        self.failed: OSError | None = None

    def write(self, data: bytes) -> int:
        left = data
        try:
            while left:  # a disk that is nearly full takes a part first, and fails then
                left = left[self._raw.write(left) :]
        except OSError as error:
            self.failed = error
        return len(data) - len(left)


def _describe(file: Any, note: Mapping[str, str]) -> None:
    entries = dict(note)
    file.software = entries.pop("Software", "mmdiff")
    comment = "\n".join(f"{key}: {value}" for key, value in entries.items())
    if comment:  # an empty one is refused
        file.comment = comment.encode()[:_COMMENT].decode(errors="ignore")


def _values(x: Tensor, subtype: Subtype) -> Any:
    """[C, L] -> what libsndfile takes, [L, C].

    That is float32; or, of values in [-1, 1], integers of 16 bits, or of 24 in the upper part of
    32.
    """
    x = x.detach().to("cpu", torch.float32)
    if not x.isfinite().all():
        raise UserError(
            "the sound has NaN or infinite values: the model has diverged, use another one."
        )
    if subtype == "FLOAT":
        return x.T.numpy()
    bits = int(subtype[4:])
    peak = float(x.abs().max()) if x.numel() else 0.0
    if peak > 1:
        raise UserError(
            f"the sound reaches {peak:.4g}, beyond the range of {bits} bits, [-1, 1]: "
            "make it quieter, or write it as FLOAT."
        )
    levels = 1 << (bits - 1)
    # libsndfile would round towards zero.
    values = np.clip(np.round(x.T.numpy() * levels), -levels, levels - 1)
    return values.astype(np.int16) if bits == 16 else values.astype(np.int32) << 8
