"""Files appear whole or not at all, and folders only where something comes into them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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


def unwritable(path: Path | str, error: Exception) -> UserError:
    """What to raise where `path` cannot be written."""
    why = getattr(error, "strerror", None) or error
    return UserError(f"{path} cannot be written ({why}): make room, or choose another place.")


def make_folder(folder: Path) -> None:
    """Make `folder` where it is missing, and find out now, not after the work, if it takes files.

    Raises:
        UserError: it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"the folder {folder} cannot be made ({error.strerror}): choose another folder."
        ) from error
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(
            f"nothing can be written to {folder} ({error.strerror}): choose another folder."
        ) from error


def discard_leftovers(folder: Path) -> None:
    """Remove what killed writers left below `folder`, where nobody else may be writing now."""
    for path in folder.rglob(".*.part*"):
        path.unlink(missing_ok=True)
