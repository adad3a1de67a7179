"""Downloads that arrive whole or not at all."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from textwrap import shorten

from mmdiff.errors import UserError

NETWORK_SECONDS = 30.0  # without an answer for this long there is no network


def download(
    name: str, root: Path, folder: Path, wanted: str, fetch: Callable[[Path], object]
) -> None:
    """Let `fetch` fill a folder beside `root`'s own, and move what arrived into place.

    Downloaders unpack under the final names and believe any file that has one, so that in place an
    interrupted download would pass for a finished one.

    Args:
        name: of the data set.
        root: of all data sets.
        folder: where the files of this one belong.
        wanted: which files these are.
        fetch: downloads into the folder that it is given, laid out as `root` is.

    Raises:
        UserError: it fails, for whatever reason.
    """
    try:
        with folder_aside(root) as aside, _timeout():
            fetch(aside)
            _move(aside, root)
    except Exception as error:  # every layer below has errors of its own
        # The last line has the cause, where there are several.
        reason = shorten((str(error).strip() or repr(error)).split("\n")[-1], 120)
        raise UserError(
            f"{name} is not in {root} and could not be downloaded ({reason}): put {wanted} into "
            f"{folder}, or name another folder by data_dir or MMDIFF_DATA."
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


@contextmanager
def _timeout() -> Iterator[None]:
    """Most downloaders set none, and would wait for minutes where packets are dropped."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(NETWORK_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _move(source: Path, target: Path) -> None:
    """Everything in `source` into the folder `target`, whole folders at once where they are new."""
    for entry in source.iterdir():
        place = target / entry.name
        if entry.is_dir() and place.is_dir():
            _move(entry, place)
        else:
            entry.replace(place)
