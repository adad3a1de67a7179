"""Where generated samples go: a grid, an animation or a folder, and never over what is there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from PIL.Image import Image
from torch import Tensor

from mmdiff.errors import UserError
from mmdiff.image import pictures
from mmdiff.training.checkpoints import Info

FRAMES = 50  # of an animation, at most


@dataclass(frozen=True)
class Destination:
    """What `--out` names.

    Attributes:
        path: the file or the folder.
        kind: "png" is one grid of all samples, "gif" the same as it comes out of the noise,
            "folder" one PNG a sample.
    """

    path: Path
    kind: Literal["png", "gif", "folder"]

    @classmethod
    def parse(cls, out: str) -> Destination:
        """By the suffix; a folder if there is none, if `out` ends in a slash or is a folder."""
        path = Path(out).expanduser()
        suffix = path.suffix.lower()
        if out.endswith("/") or path.is_dir() or not suffix:
            return cls(path, "folder")
        if suffix == ".png":
            return cls(path, "png")
        if suffix == ".gif":
            return cls(path, "gif")
        raise UserError(
            f"--out {out} ends in neither .png nor .gif: use one of them, or a folder/."
        )

    def files(self, names: Sequence[str]) -> list[Path]:
        """The files that will be written for samples with these `names`."""
        if self.kind == "folder":
            return [self.path / f"{name}.png" for name in names]
        return [self.path]

    def prepare(self, names: Sequence[str], overwrite: bool) -> None:
        """Make the folder, and find out now rather than after the work that a file is in the way.

        Raises:
            UserError: a file exists and `overwrite` is false, or the folder cannot be made.
        """
        folder = self.path if self.kind == "folder" else self.path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"{folder} cannot be made ({error.strerror}): choose another --out."
            ) from error
        taken = [file for file in self.files(names) if file.exists()]
        if taken and not overwrite:
            more = f" (and {len(taken) - 1} more)" if len(taken) > 1 else ""
            raise UserError(f"{taken[0]} exists already{more}: add --overwrite to replace it.")


def sample_names(labels: Sequence[str] | None, count: int) -> list[str]:
    """`{label}_{index}`, or `{index}` without labels, fit for file names on any system."""
    if labels is None:
        return [str(index) for index in range(count)]
    plain = [re.sub(r"[^\w.+-]+", "-", label) for label in labels]
    return [f"{label}_{index}" for index, label in enumerate(plain)]


def frame_steps(steps: int) -> range:
    """The steps of the reverse process that an animation shows: evenly, the last among them."""
    stride = -(-steps // FRAMES)
    return range((steps - 1) % stride, steps, stride)


class Writer:
    """Takes samples batch by batch and writes them where they belong.

    Args:
        destination: where.
        names: of all samples, see `sample_names`.
        note: what every picture says about how it was made.
        info: of the model: range and labels.
        steps: of the solver.
        overwrite: replace files.

    Raises:
        UserError: a file exists and `overwrite` is false, or the folder cannot be made.
    """

    def __init__(
        self,
        destination: Destination,
        names: Sequence[str],
        note: dict[str, str],
        info: Info,
        steps: int,
        overwrite: bool,
    ) -> None:
        destination.prepare(names, overwrite)
        self._files = destination.files(names)
        self._kind = destination.kind
        self._note = note
        self._range = info.data_range
        # A column for each class, where the samples fill whole rows of them.
        classes = len(info.labels)
        self._columns = classes if classes and len(names) % classes == 0 else None
        # Everything that waits is kept as bytes.
        wanted = frame_steps(steps) if self._kind == "gif" else ()
        self._states: dict[int, list[Tensor]] = {step: [] for step in wanted}
        self._samples: list[Tensor] = []
        self._written = 0

    def step(self, step: int, x: Tensor) -> None:
        """The state `x` [B, C, H, W] of the current batch after `step`."""
        if step in self._states:
            self._states[step].append(pictures.to_uint8(x, self._range))

    def batch(self, x: Tensor) -> None:
        """The finished samples `x` [B, C, H, W] of the current batch."""
        if self._kind == "folder":
            for file, one in zip(self._files[self._written :], x, strict=False):
                note = {**self._note, "Sample": file.stem}
                pictures.save_png(pictures.to_image(one, self._range), file, note)
            self._written += len(x)
        elif self._kind == "png":
            self._samples.append(pictures.to_uint8(x, self._range))

    def finish(self) -> None:
        """Write what shows all samples together."""
        if self._kind == "png":
            pictures.save_png(self._page(self._samples), self._files[0], self._note)
        elif self._kind == "gif":
            pages = [self._page(parts) for parts in self._states.values()]
            pictures.save_gif(pages, self._files[0], note=self._note)

    def _page(self, parts: list[Tensor]) -> Image:
        return pictures.grid(torch.cat(parts).float(), self._columns, data_range=(0.0, 255.0))
