"""Pairs of something to see and something to hear, as a film of one after another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from PIL.Image import Image, Resampling
from torch import Tensor

from mmdiff import films
from mmdiff.errors import UserError

if TYPE_CHECKING:
    from mmdiff.joint.modality import Together

_FPS = 25.0  # of pictures that stand still
_SIDE = 256  # pixels that a side has at least: players show small films small


def ready(modality: Together, path: Path | str) -> None:
    """Find out now, not after the work, whether `write_film` can make a film.

    Raises:
        UserError: nothing is seen or heard, or what `mmdiff.films.ready` raises.
    """
    nothing = torch.zeros(modality.packing.shape)
    heard = modality.heard(nothing[None])
    if heard is None or modality.seen(nothing) is None:
        raise UserError(f"{path} needs a part to see and one to hear: choose a .png or a folder/.")
    films.ready(path, heard[0])


def write_film(
    modality: Together, x: Tensor, path: Path | str, note: Mapping[str, str] | None = None
) -> None:
    """An MP4 of x [N, 1, L]: of each, the first part that can be seen while the first is heard.

    Raises:
        UserError: the file cannot be written, or what `ready` raises.
    """
    ready(modality, path)
    frames: list[Image] = []
    waves: list[Tensor] = []
    each, rate = _FPS, 0
    for one in x:
        seen, heard = modality.seen(one), modality.heard(one[None])
        assert seen is not None
        assert heard is not None
        (images, fps), (wave, rate) = seen, heard
        each = fps or _FPS
        lasts = max(len(images), -(-wave.shape[1] * each // rate))
        frames += images + images[-1:] * (int(lasts) - len(images))
        # To the nearest sample of the whole, so that nothing drifts apart.
        missing = round(len(frames) / each * rate) - sum(w.shape[1] for w in waves)
        waves.append(F.pad(wave, (0, missing - wave.shape[1])))
    sound = torch.cat(waves, 1)
    films.write_mp4([_enlarged(frame) for frame in frames], each, path, sound, rate, note)


def _enlarged(image: Image) -> Image:
    """By a whole number, so that pixels stay square."""
    times = -(-_SIDE // min(image.size))
    return image.resize((image.width * times, image.height * times), Resampling.NEAREST)
