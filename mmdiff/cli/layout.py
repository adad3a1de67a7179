"""How samples stand in a picture, and which states of theirs an animation shows."""

from __future__ import annotations

from torch import Tensor

from mmdiff.cli.wanted import Wanted
from mmdiff.modality import Rows

COLUMNS = 16  # with captions above them, at most


def arranged(x: Tensor, wanted: Wanted) -> tuple[Rows, list[str]]:
    """Rows of the samples `x` [N, C, *spatial], and the captions above their columns.

    There is a column for each class that takes turns, or for each of a few samples. Where neither
    fits, all stand in one row without captions, which a modality lays out as it likes.
    """
    width = columns(wanted)
    if width is None:
        return [("", x)], []
    above, beside = captions(wanted, width)
    return list(zip(beside, x.split(width), strict=True)), above


def columns(wanted: Wanted) -> int | None:
    """How many samples stand side by side in full rows below captions; None if they cannot."""
    count, turns = wanted.count, wanted.turns
    if 1 < turns <= COLUMNS and count % turns == 0:
        return turns
    differ = any(len(set(names)) > 1 for names in wanted.names().values())
    return count if differ and count <= COLUMNS else None


def captions(wanted: Wanted, width: int) -> tuple[list[str], list[str]]:
    """What stands above each column and beside each row of samples, in rows of `width`.

    The first condition stands above. The others stand beside the row if each row has only one
    value of theirs, else above with the first. Where a column has several of these, each is listed
    once, from the top down.
    """
    first, *others = wanted.names().values()
    more = [" ".join(names) for names in zip(*others, strict=True)] or [""] * wanted.count
    rows = [more[i : i + width] for i in range(0, wanted.count, width)]
    beside = [row[0] for row in rows]
    if any(len(set(row)) > 1 for row in rows):
        beside = [""] * len(rows)
        first = [f"{name} {rest}" for name, rest in zip(first, more, strict=True)]
    return [", ".join(dict.fromkeys(first[i::width])) for i in range(width)], beside


def frame_steps(steps: int, most: int) -> range:
    """The steps of the reverse process that an animation shows: evenly, the last among them."""
    stride = -(-steps // most)
    return range((steps - 1) % stride, steps, stride)
