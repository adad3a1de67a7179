"""Having to stop, since one is asked to or the disk is full, and stopping where it does no harm."""

from __future__ import annotations

import errno
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mmdiff.errors import UserError


@contextmanager
def interruption() -> Iterator[list[int]]:
    """Inside, Ctrl-C and SIGTERM only leave their number in the list; a second one kills."""
    asked: list[int] = []

    def note(number: int, _: object) -> None:
        asked.append(number)
        signal.signal(number, previous[signal.Signals(number)])

    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    if threading.current_thread() is threading.main_thread():
        for number in previous:
            signal.signal(number, note)
    try:
        yield asked
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in previous.items():
                signal.signal(number, handler)


@contextmanager
def full_disk(out: Path, saved: Callable[[], int]) -> Iterator[None]:
    """Inside, a disk without room is one sentence: what of a run is safe, and how to go on.

    Args:
        out: the folder of the run.
        saved: tells, when it comes to that, the step of the last saved state; 0 if there is none.

    Raises:
        UserError: in place of an OSError for want of room, or of a UserError that one caused.
    """
    hook = threading.excepthook

    def quiet(failure: threading.ExceptHookArgs) -> None:
        # TensorBoard's thread also hands it on to who writes next, which is how it gets here.
        if not _lacks_room(failure.exc_value):
            hook(failure)

    threading.excepthook, full = quiet, False
    try:
        yield
    except (OSError, UserError) as error:
        full = _lacks_room(error) or _lacks_room(error.__cause__)
        if not full:
            raise
        step = saved()
        safe, then = f"all up to step {step} is saved", "resume the run"
        if not step:
            safe, then = "nothing had been saved yet", "begin again"
        raise UserError(
            f"the disk of {out} is full, and {safe}: free some space there, then {then}."
        ) from error
    finally:
        if not full:  # else that thread may still be about to say so
            threading.excepthook = hook


def _lacks_room(error: BaseException | None) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
