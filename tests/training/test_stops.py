"""Where a run cannot go on: a full disk, weights that are no numbers, a folder that is none."""

from __future__ import annotations

import csv
import errno
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tensorboard.summary.writer import event_file_writer
from torch import Tensor, nn
from train_tiny import assert_same_run, figures, state, trainer

from mmdiff import Diffusion, LinearBeta, checkpoints
from mmdiff.errors import UserError
from mmdiff.raster import save_png
from mmdiff.training.trainer import Trainer

FULL = OSError(errno.ENOSPC, "No space left on device")


def fail_bytes(patch: pytest.MonkeyPatch, part: str) -> None:
    """Half of a file whose path has `part` in it goes onto the disk, then no more."""
    write = Path.write_bytes

    def fill(self: Path, data: bytes) -> int:
        if part not in str(self):
            return write(self, data)
        write(self, data[: len(data) // 2])
        raise FULL

    patch.setattr(Path, "write_bytes", fill)


def fail_rows(patch: pytest.MonkeyPatch) -> None:
    class Half:
        def __init__(self, file: Any) -> None:
            self.file = file

        def writerow(self, row: Any) -> None:
            self.file.write("7,0.33")
            self.file.flush()
            raise FULL

    patch.setattr(csv, "writer", Half)


def fail_board(patch: pytest.MonkeyPatch) -> None:
    def fill(self: object, data: bytes) -> None:
        raise FULL

    patch.setattr(event_file_writer.RecordWriter, "write", fill)


FAILURES: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "state": lambda patch: fail_bytes(patch, ".state."),
    "model": lambda patch: fail_bytes(patch, ".model."),
    "figures": fail_rows,
    "tensorboard": fail_board,
}


@pytest.fixture
def disk() -> Iterator[pytest.MonkeyPatch]:
    """To patch, and to undo within a test."""
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.mark.parametrize(
    ("what", "epoch"),
    [("state", 0), ("state", 2), ("model", 2), ("figures", 2), ("tensorboard", 2)],
)
def test_a_full_disk_leaves_what_was_saved(
    tmp_path: Path,
    reference: Path,
    disk: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    what: str,
    epoch: int,
) -> None:
    def fill(_: Trainer, done: int) -> None:
        if done == epoch:
            FAILURES[what](disk)

    run = trainer(tmp_path)
    if not epoch:
        FAILURES[what](disk)
    with pytest.raises(UserError) as caught:
        run.fit(fill)
    there = (tmp_path / "resume" / "state.safetensors").exists()
    step = state(tmp_path)[1]["step"] if there else 0
    # What TensorBoard's thread met with is known only when the next figures come.
    assert step == 3 * epoch or what == "tensorboard"
    safe = f"all up to step {step} is saved" if step else "nothing had been saved yet"
    then = "resume the run" if step else "begin again"
    assert str(caught.value) == (
        f"the disk of {tmp_path} is full, and {safe}: free some space there, then {then}."
    )
    assert "Traceback" not in capfd.readouterr().err
    assert not list(tmp_path.rglob("*.part*"))
    for name, width in (("losses.csv", 4), ("validation.csv", 3)):
        assert {len(row) for row in figures(tmp_path, name)} == {width}
    disk.undo()
    trainer(tmp_path, resume=bool(step)).fit()
    assert_same_run(tmp_path, reference)
    assert figures(tmp_path, "losses.csv") == figures(reference, "losses.csv")


def test_so_does_a_disk_that_is_full_when_pictures_are_written(
    tmp_path: Path, disk: pytest.MonkeyPatch
) -> None:
    def save(*_: object, **__: object) -> None:
        raise FULL

    disk.setattr(Image.Image, "save", save)
    with pytest.raises(UserError, match=r"all up to step 3 is saved: free .* resume the run\.$"):
        trainer(tmp_path).fit(lambda *_: save_png(Image.new("L", (8, 8)), tmp_path / "a.png"))
    assert state(tmp_path)[1]["step"] == 3


def test_a_full_disk_before_the_first_step(tmp_path: Path, disk: pytest.MonkeyPatch) -> None:
    def refuse(dir: Path) -> None:
        raise FULL

    disk.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(UserError, match=r"is full, and nothing had .* begin again\.$"):
        trainer(tmp_path)


@pytest.mark.parametrize(
    "error", [OSError(errno.EACCES, "Permission denied"), UserError("a file has gone.")]
)
def test_other_failures_stay_what_they_are(tmp_path: Path, error: Exception) -> None:
    def fail(*_: object) -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        trainer(tmp_path).fit(fail)
    assert caught.value is error


class Steep(nn.Module):
    """Its gradient is infinite where its weight begins, and its output is not."""

    def __init__(self) -> None:
        super().__init__()
        self.config: dict[str, Any] = {}
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return x * self.weight.sqrt()


def test_weights_that_are_no_numbers_are_never_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(checkpoints._own, "Steep", Steep)
    model = Diffusion(Steep(), LinearBeta(), "eps")
    with pytest.raises(UserError, match=r"diverged before step 1, .* or a lower learning rate\.$"):
        trainer(tmp_path, model=model, save_every=1).fit()
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_file_in_the_place_of_the_run_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    for out in (tmp_path / "out", tmp_path / "out" / "run"):
        with pytest.raises(UserError, match=r"cannot be made .*: choose another folder"):
            trainer(out)
    assert (tmp_path / "out").read_text() == "mine"
