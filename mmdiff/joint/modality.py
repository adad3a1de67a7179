"""Several modalities of one thing, as files and to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from mmdiff.joint.packing import Packing
from mmdiff.modality import Data, Modality, Rows
from mmdiff.raster import save_png


@dataclass(frozen=True)
class Together(Modality):
    """x is [1, N]: the signals of `parts`, modalities by name, packed."""

    title = "pairs"
    names = ()
    suffixes = ()
    writes = (".png", ".mp4")
    options = ()
    batch = 50
    count = 10
    frames = 12
    shown = 256

    parts: Mapping[str, Modality]
    packing: Packing

    @property
    def data_range(self) -> tuple[float, float]:
        ranges = [part.data_range for part in self.parts.values()]
        return min(low for low, _ in ranges), max(high for _, high in ranges)

    @classmethod
    def open(cls, dataset: str, split: str, data_dir: Path | None = None, **options: Any) -> Data:
        raise ValueError("pairs are made of two data sets: use mmdiff.joint.Pairs.")

    @classmethod
    def presets(cls) -> Mapping[str, Any]:
        from mmdiff.joint import presets  # networks, which files need none of

        return {"bridged": presets.bridged}

    def read(self, path: Path | str, shape: Sequence[int]) -> Tensor:
        raise ValueError("a file holds one part of a pair: read it by the modality of that.")

    def files(self, path: Path | str, many: bool = False) -> Sequence[Path]:
        """Where the parts of the one that is called `path` lie: `7.png` and `7.wav`.

        Of parts that would be called the same, `7_left.png` and `7_right.png`. A film, or what
        shows many, is one file.
        """
        path = Path(path)
        if path.suffix.lower() == ".mp4":
            from mmdiff.joint.film import ready  # which needs this

            ready(self, path)
            many = True
        if many:
            return [path]
        suffixes = {name: part.writes[0] for name, part in self.parts.items()}
        if len(set(suffixes.values())) == len(suffixes):
            return [path.with_suffix(suffix) for suffix in suffixes.values()]
        return [path.with_name(f"{path.stem}_{name}{s}") for name, s in suffixes.items()]

    def write(self, x: Tensor, path: Path | str, note: Mapping[str, str] | None = None) -> None:
        """One x [1, N] as a file a part, see `files`; many [M, 1, N] as one picture or film.

        A .wav holds what is heard of them.
        """
        if Path(path).suffix.lower() == ".mp4":
            from mmdiff.joint.film import write_film  # which needs this

            write_film(self, x if x.ndim == 3 else x[None], path, note)
            return
        if Path(path).suffix.lower() == ".wav":
            heard = next(name for name, part in self.parts.items() if ".wav" in part.writes)
            self.parts[heard].write(self.packing.unpack(x)[heard], path, note)
            return
        if x.ndim == 3:
            save_png(self.show([("", x)]), path, note)
            return
        unpacked = self.packing.unpack(x)
        for (name, part), place in zip(self.parts.items(), self.files(path), strict=True):
            part.write(unpacked[name], place, note)

    def beyond(self, x: Tensor) -> Tensor:
        parts = self.packing.unpack(x)
        beyond = [part.beyond(parts[name]) for name, part in self.parts.items()]
        return torch.stack(beyond).any(0)

    def show(self, rows: Rows, captions: Sequence[str] = ()) -> Image.Image:
        """What each part shows, one below the other."""
        unpacked = [(title, self.packing.unpack(x)) for title, x in rows]
        shown = [
            part.show([(title, x[name]) for title, x in unpacked], captions).convert("RGB")
            for name, part in self.parts.items()
        ]
        size = max(one.width for one in shown), sum(one.height for one in shown)
        whole, top = Image.new("RGB", size, "white"), 0
        for one in shown:
            whole.paste(one, (0, top))
            top += one.height
        return whole

    def heard(self, x: Tensor) -> tuple[Tensor, int] | None:
        parts = self.packing.unpack(x)
        heard = (part.heard(parts[name]) for name, part in self.parts.items())
        return next((one for one in heard if one is not None), None)

    def seen(self, x: Tensor) -> tuple[list[Image.Image], float] | None:
        parts = self.packing.unpack(x[None])
        seen = (part.seen(parts[name][0]) for name, part in self.parts.items())
        return next((one for one in seen if one is not None), None)

    def describe(self, shape: Sequence[int]) -> dict[str, str]:
        said = {name: part.describe(self.packing.shapes[name]) for name, part in self.parts.items()}
        return {
            f"{name}: {what}": text for name, all_ in said.items() for what, text in all_.items()
        }
