"""What takes samples batch by batch, of any modality, and makes files of them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from math import prod

import torch
from torch import Tensor

from mmdiff.cli.layout import arranged, frame_steps
from mmdiff.cli.outputs import Destination
from mmdiff.cli.wanted import Wanted
from mmdiff.data.turns import sample_names
from mmdiff.errors import UserError
from mmdiff.modality import Modality
from mmdiff.raster import save_gif, save_png

HELD = 1 << 29  # numbers that wait in memory for one file, at most


class Writer:
    """Writes samples [N, C, *spatial] where they belong.

    Into a folder goes a file a sample; into a .png a picture of all; into any other file whatever
    the modality makes of all; into a .gif that it does not write how they come out of the noise.

    Args:
        destination: where.
        modality: what the samples are.
        shape: of one of them.
        wanted: all of them.
        note: what every file says about how it was made.
        steps: of the solver.
        overwrite: replace files.

    Raises:
        UserError: a file exists and `overwrite` is false, or nothing, or nothing such, can be
            written there; more samples than one picture can show or one file should hold.
    """

    def __init__(
        self,
        destination: Destination,
        modality: Modality,
        shape: Sequence[int],
        wanted: Wanted,
        note: Mapping[str, str],
        steps: int,
        overwrite: bool,
    ) -> None:
        self._suffix, self._modality = destination.suffix, modality
        self._wanted, self._note = wanted, note
        self._traced = self._suffix == ".gif" and self._suffix not in modality.writes
        shown = frame_steps(steps, modality.frames) if self._traced else range(0)
        many = f"{wanted.count:,} {modality.title} are too many for one"
        if self._suffix in (".png", ".gif") and wanted.count > modality.shown:
            raise UserError(f"{many} picture: use {modality.shown:,} at most (-n), or a folder/.")
        if self._suffix and wanted.count * prod(shape) * max(1, len(shown)) > HELD:
            raise UserError(f"{many} file: use a smaller -n, or a folder/.")
        names = sample_names(next(iter(wanted.names().values()), None), wanted.count)
        self._files = destination.prepare(names, modality.writes[0], overwrite, modality.files)
        self._states: dict[int, list[Tensor]] = {step: [] for step in shown}
        self._samples: list[Tensor] = []
        self._done = self._beyond = 0

    def shows(self, step: int) -> bool:
        """Whether the state after `step` is to be handed to `state`."""
        return step in self._states

    def state(self, step: int, x: Tensor) -> None:
        """The state `x` [B, C, *spatial] of the current batch after `step`."""
        self._states[step].append(x.to("cpu", torch.float16))

    def batch(self, x: Tensor) -> None:
        """The finished samples `x` [B, C, *spatial] of the current batch."""
        x = x.detach().to("cpu", torch.float32)
        title = self._modality.title
        if not x.isfinite().all():
            raise UserError(
                f"the {title} have NaN in them, for the model has diverged or is guided too hard: "
                "use another model, or a smaller --guidance."
            )
        self._beyond += int(self._modality.beyond(x).sum())
        if not self._suffix:
            for index, one in enumerate(x, self._done):
                file = self._files[index]
                self._modality.write(one, file, {**self._about(index, 1), "Sample": file.stem})
        elif not self._traced:
            self._samples.append(x)
        self._done += len(x)

    def finish(self) -> None:
        """Write what shows or holds all samples together."""
        about = self._about(0, self._done)
        if self._traced:
            states = (torch.cat(parts).float() for parts in self._states.values())
            frames = [self._modality.show(*arranged(x, self._wanted)) for x in states]
            save_gif(frames, self._files[0], note=about)
        elif self._suffix == ".png":
            picture = self._modality.show(*arranged(torch.cat(self._samples), self._wanted))
            save_png(picture, self._files[0], about)
        elif self._suffix:
            self._modality.write(torch.cat(self._samples), self._files[0], about)
        if self._beyond:
            print(
                f"{self._beyond} of {self._done} {self._modality.title} went beyond the range of "
                "the data and were clipped.",
                file=sys.stderr,
            )

    def _about(self, first: int, size: int) -> dict[str, str]:
        return {**self._note, **self._wanted.said(first, size)}
