"""The figures of a run: two CSV files to keep, TensorBoard to watch."""

from __future__ import annotations

import csv
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from mmdiff.files import written_aside

_LOSSES = ("step", "epoch", "minutes", "lr", "loss", "samples_per_second")
_VALIDATION = ("step", "t", "loss")


class Journal:
    """Writes the figures of a run into its folder `out`.

    What an earlier, killed run wrote after the step it is resumed from is dropped; so is the
    validation at that step, of which it may have written a part: it comes again.
    """

    def __init__(self, out: Path, step: int) -> None:
        self._losses = _open(out / "losses.csv", _LOSSES, step)
        self._validation = _open(out / "validation.csv", _VALIDATION, step - 1)
        self._board = SummaryWriter(str(out / "tensorboard"), purge_step=step + 1 if step else None)

    def losses(
        self, step: int, epoch: float, minutes: float, lr: float, loss: float, rate: float
    ) -> None:
        """The mean training loss since the last call, at `step` steps and `minutes` of training."""
        row = (step, f"{epoch:.4f}", f"{minutes:.3f}", f"{lr:.6g}", f"{loss:.6g}", f"{rate:.1f}")
        _append(self._losses, row)
        self._board.add_scalar("train/loss", loss, step)
        self._board.add_scalar("train/lr", lr, step)
        self._board.add_scalar("train/samples_per_second", rate, step)

    def gradient(self, step: int, norm: float) -> None:
        """The norm of the gradient of step `step`, before it was clipped, to TensorBoard."""
        self._board.add_scalar("train/gradient_norm", norm, step)

    def validation(self, step: int, levels: dict[float, float]) -> None:
        """The validation loss at each noise level t."""
        for t, loss in levels.items():
            _append(self._validation, (step, f"{t:g}", f"{loss:.6g}"))
            self._board.add_scalar(f"validation/loss_at_t_{t:.2f}", loss, step)
        self._board.add_scalar("validation/loss", sum(levels.values()) / len(levels), step)
        self._board.flush()

    def picture(self, name: str, image: Image.Image, step: int) -> None:
        """A picture, to TensorBoard."""
        pixels = np.frombuffer(image.convert("RGB").tobytes(), np.uint8)
        pixels = pixels.reshape(image.height, image.width, 3)
        self._board.add_image(name, pixels, step, dataformats="HWC")

    def audio(self, name: str, wave: Tensor, sample_rate: int, step: int) -> None:
        """A sound [C, L] in [-1, 1], to TensorBoard, which plays the mean of its channels."""
        self._board.add_audio(name, wave.mean(0, keepdim=True), step, sample_rate)


def _open(path: Path, columns: tuple[str, ...], last: int) -> Path:
    rows: list[list[str]] = []
    if path.exists():
        with path.open(newline="") as file:
            # A kill in the middle of a row may have left a part of it.
            rows = [row for row in list(csv.reader(file))[1:] if len(row) == len(columns)]
    with written_aside(path) as aside, aside.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *(row for row in rows if int(row[0]) <= last)])
    return path


def _append(path: Path, row: tuple[object, ...]) -> None:
    """One row, whole or not at all."""
    size = path.stat().st_size if path.exists() else 0
    try:
        with path.open("a", newline="") as file:
            csv.writer(file).writerow(row)
    except OSError:
        with suppress(OSError):
            os.truncate(path, size)
        raise
