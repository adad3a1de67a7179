"""Text beside points of a plot, placed where it covers least."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

SIZE = 9  # of the text, in points
_WIDE, _HIGH = 0.62, 1.15  # a letter, relative to its size
_NEAR = 7  # points from a point's middle to its text
_PLACES = (  # of the text's middle around its point, the ones that are liked best first
    (1, 0.5), (-1, -0.5), (1, -0.5), (-1, 0.5), (1, 0), (-1, 0), (1, 1.3), (-1, -1.3), (1, -1.3),
    (-1, 1.3), (0, 1.3), (0, -1.3),
)  # fmt: skip
_LIKED = 4  # square pixels of covering that a step down this list is worth
_PAPER = {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.4}

Box = tuple[float, float, float, float]  # left, bottom, right, top in pixels


@dataclass(frozen=True)
class Label:
    """`x`, `y` in the units of the axes."""

    x: float
    y: float
    text: str
    colour: str
    bold: bool = False


def place(axes: Any, labels: Sequence[Label], taken: Sequence[Box]) -> None:
    """Write all labels; the canvas must have been drawn, so that pixels are known."""
    scale = axes.figure.dpi / 72
    frame = axes.get_window_extent().extents
    boxes = list(taken)
    for label in labels:
        x, y = axes.transData.transform((label.x, label.y))
        wide = len(label.text) * _WIDE * SIZE * scale * (1.1 if label.bold else 1)
        high = _HIGH * SIZE * scale
        options = []
        for order, (across, up) in enumerate(_PLACES):
            left = x + across * (_NEAR * scale + wide / 2) - wide / 2
            bottom = y + up * _NEAR * scale * 1.4 - high / 2
            box = (left, bottom, left + wide, bottom + high)
            outside = wide * high - covered(box, tuple(frame))
            cost = outside + sum(covered(box, other) for other in boxes)
            options.append((cost + _LIKED * order, box))
        box = min(options)[1]
        boxes.append(box)
        text = axes.annotate(
            label.text, (label.x, label.y), textcoords="offset points",
            xytext=(((box[0] + box[2]) / 2 - x) / scale, ((box[1] + box[3]) / 2 - y) / scale),
            ha="center", va="center", color=label.colour, fontsize=SIZE,
            fontweight="bold" if label.bold else None, zorder=6, bbox=_PAPER,
        )  # fmt: skip
        text.set_in_layout(False)


def covered(one: Box, other: Box) -> float:
    """The area in both, in square pixels."""
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return max(wide, 0.0) * max(high, 0.0)


def around(
    axes: Any, x: float, low: float, high: float, margin: float = 5, below: float = 0
) -> Box:
    """The pixels of what stands at x from low to high, and points around and below it."""
    scale = axes.figure.dpi / 72
    left, bottom = axes.transData.transform((x, low)) - margin * scale
    right, top = axes.transData.transform((x, high)) + margin * scale
    return left, bottom - below * scale, right, top
