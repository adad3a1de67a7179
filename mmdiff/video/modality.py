"""Videos, as files and to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from PIL.Image import Image
from torch import Tensor

from mmdiff import films
from mmdiff.data.turns import evenly
from mmdiff.image import pictures
from mmdiff.image.datasets import checked_sides
from mmdiff.modality import Modality, Rows
from mmdiff.raster import save_png
from mmdiff.video import datasets, decoding

_APART = 1  # white pixels between the frames of a strip
_FEW = 4  # frames of a strip, where several strips stand side by side


@dataclass(frozen=True)
class Video(Modality):
    """x is [1 or 3, T, H, W] at `fps` frames a second, from black at -1 to white at 1."""

    title = "videos"
    names = datasets.NAMES
    suffixes = (*decoding.SUFFIXES, *decoding.FRAMES)
    writes = films.WRITES
    options = ("size", "frames", "fps")
    batch = 16
    count = None  # one of each class
    frames = 12
    shown = 64
    rest = -1.0  # black
    time = 1
    repairs = ("mask", "gap", "continue", "deblur", "denoise", "vary")
    folders = True

    fps: float

    @property
    def data_range(self) -> tuple[float, float]:
        return -1.0, 1.0

    @property
    def rate(self) -> float:
        return self.fps

    @classmethod
    def is_in(cls, path: Path) -> bool:
        """Whether there are frames in it: an animation may be named as a picture is."""
        header = decoding.read_header(path)
        return not isinstance(header, str) and header.frames > 1

    @classmethod
    def open(
        cls, dataset: str, split: str, data_dir: Path | None = None, **options: Any
    ) -> datasets.Videos:
        return datasets.open_videos(dataset, split, data_dir, **options)

    @classmethod
    def presets(cls) -> Mapping[str, Any]:
        from mmdiff.video import presets  # networks, which files need none of

        return {"v": presets.v, "transformer": presets.transformer}

    def sized(self, shape: Sequence[int], sides: tuple[int, int]) -> tuple[int, ...]:
        checked_sides(sides)
        return shape[0], shape[1], *sides

    def read(self, path: Path | str, shape: Sequence[int]) -> Tensor:
        """A film at `fps`; a still picture as one frame."""
        return decoding.read(path, shape[0], (shape[2], shape[3]), self.fps)

    def write(self, x: Tensor, path: Path | str, note: Mapping[str, str] | None = None) -> None:
        """Of many, all side by side at once."""
        path = Path(path)
        if path.suffix.lower() == ".png":
            save_png(self.show([("", x if x.ndim == 5 else x[None])]), path, note)
        elif x.ndim == 5:
            films.write([pictures.grid(at) for at in x.unbind(2)], self.fps, path, note)
        else:
            films.write(*self.seen(x), path, note)

    def files(self, path: Path | str, many: bool = False) -> Sequence[Path]:
        films.ready(path)
        return super().files(path, many)

    def show(self, rows: Rows, captions: Sequence[str] = ()) -> Image:
        """Strips of frames: one a row where all frames fit, else a few frames of each."""
        if len(rows) == 1 and not rows[0][0] and not captions:
            return pictures.grid(_strips(rows[0][1]), columns=1)
        return pictures.table([(name, _strips(x, _FEW)) for name, x in rows], captions)

    def seen(self, x: Tensor) -> tuple[list[Image], float]:
        return [pictures.to_image(at) for at in x.unbind(1)], self.fps

    def describe(self, shape: Sequence[int]) -> dict[str, str]:
        channels, frames, height, width = shape
        colour = "grey" if channels == 1 else "RGB"
        return {
            "frames": f"{height} x {width} pixels, {colour}",
            "video": f"{frames} frames, {self.fps:g} a second",
        }


def _strips(x: Tensor, most: int | None = None) -> Tensor:
    """Clips [N, C, T, H, W] -> pictures [N, C, H, about T W] of their frames, `most` of them."""
    if most is not None and x.shape[2] > most:
        x = x[:, :, evenly(x.shape[2], most)]
    between = x.new_ones(*x.shape[:4], _APART)
    strip = rearrange(torch.cat((x, between), dim=4), "n c t h w -> n c h (t w)")
    return strip[..., :-_APART]
