"""Sound, as files, to listen to and to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from mmdiff.audio import datasets, sound
from mmdiff.audio.joining import one_after_another
from mmdiff.audio.paired import open_pairs
from mmdiff.data.containers import FILMS
from mmdiff.modality import Data, Modality, Rows
from mmdiff.raster import save_png

SCALE = 4.0
_COLUMNS = 16  # clips side by side, at most


@dataclass(frozen=True)
class Sound(Modality):
    """x is [C, L] at `sample_rate` Hz, full scale at `scale`."""

    title = "sounds"
    names = datasets.NAMES
    suffixes = sound.SUFFIXES
    within = FILMS
    writes = (".wav", ".flac")
    options = ("sample_rate", "seconds", "channels", "native", "task", "noise")
    batch = 50
    count = None  # one of each class
    frames = 12
    shown = 256
    time = 1
    repairs = ("gap", "continue", "band", "room", "clipped", "denoise", "vary")

    sample_rate: int
    scale: float = 1.0

    @property
    def data_range(self) -> tuple[float, float]:
        return -self.scale, self.scale

    @property
    def rate(self) -> float:
        return self.sample_rate

    @classmethod
    def open(
        cls,
        dataset: str,
        split: str,
        data_dir: Path | None = None,
        task: str | None = None,
        noise: str | None = None,
        **options: Any,
    ) -> Data:
        """See `mmdiff.audio.datasets.open_sounds`, and for a task `mmdiff.audio.paired.open_pairs`.

        Values are four times as large as in the files, about as large as those of the noise. The
        words of `fsdd` begin a little later at each visit, and half of them have their sign turned.
        """
        trained = split == "train" and dataset == "fsdd"
        made = {"scale": SCALE, "shift": trained, "flip": trained, "labelled": task is None}
        data = datasets.open_sounds(dataset, split, data_dir, **{**made, **options})
        if task is None:
            if noise is not None:
                raise ValueError("noise is for the task enhance: name that too.")
            return data
        if options.get("native"):
            raise ValueError("what is made of other sounds is all of one length: leave native out.")
        return open_pairs(data, split, task, noise)

    @classmethod
    def presets(cls) -> Mapping[str, Any]:
        from mmdiff.audio import presets  # networks, which files need none of

        return {"v": presets.v, "transformer": presets.transformer}

    @classmethod
    def tasks(cls) -> Mapping[str, Mapping[str, Any]]:
        from mmdiff.audio import transforms

        return {
            "enhance": {"residual": transforms.enhance},
            "upsample": {"magnitudes": transforms.upsample},
            "vocode": {"magnitudes": transforms.vocode},
        }

    def read(self, path: Path | str, shape: Sequence[int]) -> Tensor:
        x, rate = sound.read(path)
        return sound.mix(sound.resample(x, rate, self.sample_rate), shape[0]) * self.scale

    def write(self, x: Tensor, path: Path | str, note: Mapping[str, str] | None = None) -> None:
        suffix = Path(path).suffix.lower()
        if suffix == ".png":
            save_png(self.show([("", x if x.ndim == 3 else x[None])]), path, note)
            return
        wave = self.heard(x)[0] if x.ndim == 3 else self._waveform(x)
        sound.write(path, wave, self.sample_rate, note, "PCM_24" if suffix == ".flac" else "PCM_16")

    def show(self, rows: Rows, captions: Sequence[str] = ()) -> Image:
        from mmdiff.audio.pictures import gallery  # matplotlib, which is slow to import

        waves = [(name, self._waveform(x)) for name, x in rows]
        if len(waves) == 1 and not captions:
            name, x = waves[0]
            width = max(n for n in range(1, _COLUMNS + 1) if len(x) % n == 0)
            waves = [(name, part) for part in x.split(width)]
        return gallery(waves, self.sample_rate, captions or None)

    def heard(self, x: Tensor) -> tuple[Tensor, int]:
        return one_after_another(self._waveform(x), self.sample_rate), self.sample_rate

    def describe(self, shape: Sequence[int]) -> dict[str, str]:
        channels, length = shape
        return {
            "sample rate": f"{self.sample_rate:,} Hz",
            "sound": f"{length / self.sample_rate:g} s, {channels} channel{'s'[: channels > 1]}",
        }

    def _waveform(self, x: Tensor) -> Tensor:
        return (x.detach() / self.scale).clamp(-1, 1).to("cpu", torch.float32)
