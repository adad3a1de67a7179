"""What goes wrong, in sentences."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmdiff.errors import UserError


@contextmanager
def arguments() -> Iterator[None]:
    """Inside, a ValueError is about what the user gave: what the library is passed came from it."""
    try:
        yield
    except ValueError as error:
        raise UserError(str(error)) from error


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Inside, a warning is a sentence: which line of the library gave it tells a user nothing."""

    def plain(message: Warning | str, *_: Any, **__: Any) -> str:
        return f"warning: {' '.join(str(message).split())}\n"

    before, warnings.formatwarning = warnings.formatwarning, plain
    try:
        yield
    finally:
        warnings.formatwarning = before


def sentence(error: Exception) -> str:
    """What an error says, in one line."""
    if isinstance(error, OSError) and error.strerror:
        return ": ".join(str(part) for part in (error.filename, error.strerror) if part) + "."
    return " ".join(str(error).split())


def is_full(error: Exception) -> bool:
    """Whether it is the memory that is full, of this computer or of a GPU."""
    said = str(error)
    full = "out of memory" in said or "can't allocate memory" in said
    return isinstance(error, MemoryError) or full
