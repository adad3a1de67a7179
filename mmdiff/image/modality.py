"""Pictures, as files and to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL.Image import Image
from torch import Tensor

from mmdiff import raster
from mmdiff.image import datasets, decoding, pictures
from mmdiff.modality import Modality, Rows


@dataclass(frozen=True)
class Pictures(Modality):
    """x is [1 or 3, H, W], from black at -1 to white at 1."""

    title = "pictures"
    names = datasets.NAMES
    suffixes = decoding.SUFFIXES
    writes = (".png",)
    options = ("size", "flip", "crop", "native")
    batch = 256
    count = 64
    frames = 50
    rest = -1.0  # black
    repairs = ("mask", "extend", "enlarge", "deblur", "denoise", "colour", "vary")

    @property
    def data_range(self) -> tuple[float, float]:
        return -1.0, 1.0

    @classmethod
    def open(
        cls, dataset: str, split: str, data_dir: Path | None = None, **options: Any
    ) -> datasets.Images:
        if split != "train":  # what is held out stays as it is
            options = {name: options[name] for name in ("size", "native") if name in options}
        return datasets.open_images(dataset, split, data_dir, **options)

    @classmethod
    def presets(cls) -> Mapping[str, Any]:
        from mmdiff.image import presets  # networks, which drawing needs none of

        return {
            "fast": presets.fast,
            "thesis": presets.thesis,
            "transformer": presets.transformer,
        }

    def read(self, path: Path | str, shape: Sequence[int]) -> Tensor:
        return decoding.read(path, shape[0], (shape[1], shape[2]))

    def sized(self, shape: Sequence[int], sides: tuple[int, int]) -> tuple[int, ...]:
        datasets.checked_sides(sides)
        return shape[0], *sides

    def write(self, x: Tensor, path: Path | str, note: Mapping[str, str] | None = None) -> None:
        picture = self.show([("", x)]) if x.ndim == 4 else pictures.to_image(x)
        raster.save_png(picture, path, note)

    def show(self, rows: Rows, captions: Sequence[str] = ()) -> Image:
        if len(rows) == 1 and not rows[0][0] and not captions:
            return pictures.grid(rows[0][1])
        return pictures.table(rows, captions)

    def seen(self, x: Tensor) -> tuple[list[Image], float]:
        return [pictures.to_image(x)], 0.0

    def describe(self, shape: Sequence[int]) -> dict[str, str]:
        channels, height, width = shape
        return {"pictures": f"{height} x {width} pixels, {'grey' if channels == 1 else 'RGB'}"}
