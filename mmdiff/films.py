"""Films as files: frames side by side in time, and sound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from PIL.Image import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as tvf

from mmdiff.data.containers import available
from mmdiff.errors import UserError
from mmdiff.files import unwritable, written_aside
from mmdiff.raster import in_one, save_animation

WRITES = (".gif", ".webp", ".apng", ".mp4")

_TICK = 10  # ms: what a GIF counts in
_LAYOUTS = {1: "mono", 2: "stereo"}
_FINEST = 1 << 16  # the largest denominator of a rate
_FINE = "12"  # H.264's constant rate factor: hardly any loss to be seen


def write(
    frames: Sequence[Image], fps: float, path: Path | str, note: Mapping[str, str] | None = None
) -> None:
    """Write a film without sound, of one of `WRITES` by its suffix; a whole file or none.

    Raises:
        UserError: the file cannot be written, or PyAV is missing.
        ValueError: no frames, or another suffix.
    """
    path = Path(path)
    if path.suffix.lower() == ".mp4":
        write_mp4(frames, fps, path, note=note)
    else:
        tick = _TICK if path.suffix.lower() == ".gif" else 1
        save_animation(frames, path, stays(len(frames), fps, tick), note)


def stays(count: int, fps: float, tick: int) -> list[int]:
    """For how many ms each frame stays, in whole ticks of so many ms, one at least.

    No frame begins more than half a tick early or late.
    """
    begins = [round(1000 * index / fps / tick) for index in range(count + 1)]
    return [max(1, end - begin) * tick for begin, end in pairwise(begins)]


def ready(path: Path | str, sound: Tensor | None = None) -> None:
    """Find out now, not after the work, whether a film of `path`'s suffix can be written.

    Args:
        path: of the file.
        sound: [C, any length], as it will have.

    Raises:
        UserError: PyAV is missing, or a sound has more than 2 channels.
    """
    if sound is not None and len(sound) not in _LAYOUTS:
        raise UserError(
            f"{path} takes sound of 1 or 2 channels, not of {len(sound)}: mix them, or choose "
            "a folder/."
        )
    if Path(path).suffix.lower() == ".mp4" and not available():
        raise UserError(
            f"{path} needs PyAV to be written: pip install 'mmdiff[av]', or choose another of "
            f"{', '.join(WRITES)}."
        )


def write_mp4(
    frames: Sequence[Image],
    fps: float,
    path: Path | str,
    sound: Tensor | None = None,
    rate: int | None = None,
    note: Mapping[str, str] | None = None,
) -> None:
    """Write an MP4 that plays anywhere (H.264 of 4:2:0, AAC); a whole file or none.

    Args:
        frames: of one size; odd sides are made even by repeating the last row or column.
        fps: frames a second.
        path: of the file.
        sound: [C, L] in [-1, 1] for C = 1 or 2, from the first frame on.
        rate: of the sound, in Hz; what AAC does not know is resampled to what it does.
        note: becomes the file's comment.

    Raises:
        UserError: the file cannot be written, or what `ready` raises.
        ValueError: no frames; a sound without a rate.
    """
    if not frames:
        raise ValueError("a film needs at least one frame.")
    if (sound is None) != (rate is None):
        raise ValueError("a sound needs its rate, and a rate its sound.")
    ready(path, sound)
    import av

    try:
        with written_aside(Path(path)) as aside, av.open(str(aside), "w") as container:
            container.metadata["comment"] = in_one(note or {})
            each = Fraction(fps).limit_denominator(_FINEST)
            film: Any = container.add_stream("h264", each, options={"crf": _FINE})
            film.pix_fmt = "yuv420p"
            film.width, film.height = (side + side % 2 for side in frames[0].size)
            blocks: list[tuple[Any, Any]] = []
            if sound is not None and rate is not None:
                # All streams come before the first packet, which writes the header.
                known = av.Codec("aac", "w").audio_rates or [rate]
                nearest = min((one for one in known if one >= rate), default=max(known))
                track: Any = container.add_stream("aac", nearest, layout=_LAYOUTS[len(sound)])
                blocks = [(track, _block(sound, rate)), (track, None)]
            stamps = ((film, _frame(image, k, each)) for k, image in enumerate(frames))
            for stream, block in (*stamps, (film, None), *blocks):  # None: that was all
                container.mux(stream.encode(block))
    except (av.FFmpegError, OSError) as error:
        raise unwritable(path, error) from error


def _frame(image: Image, index: int, fps: Fraction) -> Any:
    """PyAV's frame number `index`, with even sides."""
    import av

    pixels = rearrange(tvf.pil_to_tensor(image.convert("RGB")), "c h w -> h w c")
    for axis, side in enumerate((image.height, image.width)):
        even = torch.arange(side + side % 2).clamp(max=side - 1)
        pixels = pixels.index_select(axis, even)
    frame = av.VideoFrame.from_ndarray(pixels.numpy(), "rgb24")
    frame.pts, frame.time_base = index, 1 / fps
    return frame


def _block(sound: Tensor, rate: int) -> Any:
    """All of a sound; without its time the encoder's delay would be heard."""
    import av

    wave = sound.detach().to("cpu", torch.float32).clamp(-1, 1).contiguous()
    block = av.AudioFrame.from_ndarray(wave.numpy(), "fltp", _LAYOUTS[len(wave)])
    block.sample_rate, block.pts, block.time_base = rate, 0, Fraction(1, rate)
    return block
