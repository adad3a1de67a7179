"""Files appear whole or not at all, and folders only where something comes into them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mmdiff.errors import UserError


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, to write to; moved onto `path` if the body succeeds.

    A full disk, a kill or any other failure leaves what was at `path` as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield aside
        with aside.open("rb+") as file:
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make `folder` where it is missing, and find out now, not after the work, if it takes files.

    Raises:
        UserError: it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"the folder {folder} cannot be made ({error.strerror}): choose another --out."
        ) from error
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(
            f"nothing can be written to {folder} ({error.strerror}): choose another --out."
        ) from error


@contextmanager
def folder_aside(root: Path) -> Iterator[Path]:
    """An empty folder inside `root`, which goes afterwards with all that is still in it.

    So does `root`, with the folders above it that were made for it, if the body fails.
    """
    made = [folder for folder in (root, *root.parents) if not folder.exists()]
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=root) as aside:
            yield Path(aside)
    except BaseException:
        for folder in made:
            with suppress(OSError):  # one that something else has been put into stays
                folder.rmdir()
        raise


def discard_leftovers(folder: Path) -> None:
    """Remove what killed writers left below `folder`, where nobody else may be writing now."""
    for path in folder.rglob(".*.part*"):
        path.unlink(missing_ok=True)
