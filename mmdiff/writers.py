"""Writers: they take samples batch by batch, pictures or sound, and make files of them."""

from __future__ import annotations

import math
import sys
from typing import Protocol

import torch
from PIL.Image import Image
from torch import Tensor

from mmdiff.audio.joining import one_after_another
from mmdiff.audio.sound import write
from mmdiff.errors import UserError
from mmdiff.image import pictures
from mmdiff.opening import Wanted
from mmdiff.outputs import Destination
from mmdiff.training.runs import sample_names

FRAMES = 50  # of an animation, at most
SHOWN = 256  # clips in one picture, at most
HEARD = 1 << 29  # numbers in one WAV, at most: 1 GiB of a file, and all of it waits in memory
COLUMNS = 16  # of them side by side, at most


class Writer(Protocol):
    """What takes samples and writes them where they belong."""

    def step(self, step: int, x: Tensor) -> None:
        """The state `x` [B, C, *spatial] of the current batch after `step`."""

    def batch(self, x: Tensor) -> None:
        """The finished samples `x` [B, C, *spatial] of the current batch."""

    def finish(self) -> None:
        """Write what shows all samples together."""


class PictureWriter:
    """Writes images [B, C, H, W]: one a file, a grid of all, or how they come out of the noise.

    Args:
        destination: where.
        wanted: all samples.
        note: what every file says about how it was made.
        steps: of the solver.
        overwrite: replace files.

    Raises:
        UserError: a file exists and `overwrite` is false, or nothing can be written there.
    """

    def __init__(
        self,
        destination: Destination,
        wanted: Wanted,
        note: dict[str, str],
        steps: int,
        overwrite: bool,
    ) -> None:
        names = sample_names(wanted.label, wanted.count)
        self._files = destination.prepare(names, ".png", overwrite)
        self._kind = destination.kind
        self._note = note
        self._range = wanted.info.data_range
        # A column for each class, where the samples fill whole rows of them.
        classes = len(wanted.info.labels)
        self._columns = classes if classes and wanted.count % classes == 0 else None
        # Everything that waits is kept as bytes.
        shown = frame_steps(steps) if self._kind == "gif" else ()
        self._states: dict[int, list[Tensor]] = {step: [] for step in shown}
        self._samples: list[Tensor] = []
        self._written = 0

    def step(self, step: int, x: Tensor) -> None:
        if step in self._states:
            self._states[step].append(pictures.to_uint8(x, self._range))

    def batch(self, x: Tensor) -> None:
        if self._kind == "folder":
            for file, one in zip(self._files[self._written :], x, strict=False):
                note = {**self._note, "Sample": file.stem}
                pictures.save_png(pictures.to_image(one, self._range), file, note)
            self._written += len(x)
        elif self._kind == "png":
            self._samples.append(pictures.to_uint8(x, self._range))

    def finish(self) -> None:
        if self._kind == "png":
            pictures.save_png(self._page(self._samples), self._files[0], self._note)
        elif self._kind == "gif":
            pages = [self._page(parts) for parts in self._states.values()]
            pictures.save_gif(pages, self._files[0], note=self._note)

    def _page(self, parts: list[Tensor]) -> Image:
        return pictures.grid(torch.cat(parts).float(), self._columns, data_range=(0.0, 255.0))


class SoundWriter:
    """Writes clips [B, C, L]: one a file, all in one file, or a picture of them.

    The upper end of the data's range becomes full scale. What lies beyond is clamped to it, and
    `finish` says on stderr how many clips had any of that.

    Args:
        destination: where.
        wanted: all clips.
        note: what every file says about how it was made.
        overwrite: replace files.

    Raises:
        UserError: a file exists and `overwrite` is false, or nothing can be written there; more
            clips than a picture can show or one WAV should hold.
    """

    def __init__(
        self, destination: Destination, wanted: Wanted, note: dict[str, str], overwrite: bool
    ) -> None:
        assert wanted.info.sample_rate is not None
        if destination.kind == "png" and wanted.count > SHOWN:
            raise UserError(
                f"a picture shows at most {SHOWN} sounds: use a smaller -n, a .wav or a folder/."
            )
        if destination.kind == "wav" and wanted.count * math.prod(wanted.info.shape) > HEARD:
            raise UserError(
                f"{wanted.count:,} sounds are too many for one file: use a smaller -n or a folder/."
            )
        names = sample_names(wanted.label, wanted.count)
        self._files = destination.prepare(names, ".wav", overwrite)
        self._kind = destination.kind
        self._wanted = wanted
        self._note = note
        self._rate = wanted.info.sample_rate
        self._full_scale = wanted.info.data_range[1]
        self._clips: list[Tensor] = []
        self._done = self._beyond = 0

    def step(self, step: int, x: Tensor) -> None:
        """Sound is not shown on its way out of the noise."""

    def batch(self, x: Tensor) -> None:
        clips = x.detach().to("cpu", torch.float32) / self._full_scale
        if not clips.isfinite().all():
            raise UserError(
                "the sounds have NaN in them, for the model has diverged or is guided too hard: "
                "use another model, or a smaller --guidance."
            )
        self._beyond += int((clips.abs() > 1).flatten(1).any(1).sum())
        clips = clips.clamp(-1, 1)
        if self._kind == "folder":
            for index, clip in enumerate(clips, self._done):
                file = self._files[index]
                write(file, clip, self._rate, {**self._about(index, 1), "Sample": file.stem})
        else:
            self._clips.append(clips)
        self._done += len(x)

    def finish(self) -> None:
        about = self._about(0, self._done)
        if self._kind == "wav":
            joined = one_after_another(torch.cat(self._clips), self._rate)
            write(self._files[0], joined, self._rate, about)
        elif self._kind == "png":
            pictures.save_png(self._page(torch.cat(self._clips)), self._files[0], about)
        if self._beyond:
            print(
                f"{self._beyond} of {self._done} clips went beyond full scale and were clamped.",
                file=sys.stderr,
            )

    def _about(self, first: int, size: int) -> dict[str, str]:
        return {**self._note, **self._wanted.said(first, size)}

    def _page(self, clips: Tensor) -> Image:
        from mmdiff.audio.pictures import gallery  # slow to import

        width = columns(len(clips), len(self._wanted.info.labels))
        above, beside = captions(self._wanted, width)
        rows = list(zip(beside, clips.split(width), strict=True))
        return gallery(rows, self._rate, above if any(above) else None)


def frame_steps(steps: int) -> range:
    """The steps of the reverse process that an animation shows: evenly, the last among them."""
    stride = -(-steps // FRAMES)
    return range((steps - 1) % stride, steps, stride)


def columns(count: int, classes: int) -> int:
    """How many of `count` clips stand side by side, in rows that are all full.

    A column for each class, where that can be; else as many as go, up to `COLUMNS`.
    """
    if 0 < classes <= COLUMNS and count % classes == 0:
        return classes
    return max(width for width in range(1, COLUMNS + 1) if count % width == 0)


def captions(wanted: Wanted, width: int) -> tuple[list[str], list[str]]:
    """What stands above each column and beside each row of clips, in rows of `width`.

    A speaker stands beside the row if each row has only one, else above with the label. Where a
    column has several of these, each is listed once, from the top down.
    """
    nobody = [""] * wanted.count
    names, speakers = wanted.label or nobody, wanted.speaker or nobody
    rows = [speakers[i : i + width] for i in range(0, wanted.count, width)]
    beside = [row[0] for row in rows]
    if any(len(set(row)) > 1 for row in rows):
        beside = [""] * len(rows)
        names = [f"{name} {speaker}".strip() for name, speaker in zip(names, speakers, strict=True)]
    return [", ".join(dict.fromkeys(names[i::width])) for i in range(width)], beside
