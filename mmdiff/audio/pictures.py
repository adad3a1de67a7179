"""Pictures of sound: waveforms above mel spectrograms, one clip or many side by side.

Clips come in as floats [C, L] in [-1, 1] on any device and in any precision. Every picture has the
same scales, full scale for waveforms and the same decibels for colours, so that any two compare.
A waveform beyond full scale is cut off at the edge of its lane; NaN is refused.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image
from torch import Tensor

from mmdiff.audio.sound import blocks, probe
from mmdiff.audio.spectrogram import mel, outline

DECIBELS = (-80, -10)  # what the colours span

_DPI = 100  # only turns pixels into the units that matplotlib asks for
_FONT, _SMALL, _GAP, _TICK = 14, 12, 8, 4  # pixels
_LINE = 18  # from one line of a caption to the next
_INK, _WAVE, _COLOURS = "#464646", "#3465a4", "magma"
_COLUMNS = 1200  # pixels for all clips of a gallery, where each can be as wide as this:
_COLUMN = (120, 480)
_OCTAVES = (125, 250, 500, 1000, 2000, 4000, 8000, 16000)

Mark = tuple[float, str]  # a place in pixels, and what is written there
Span = tuple[float, float]  # from here to there, in pixels


def spectrogram_picture(
    sound: Tensor | Path | str, sample_rate: int | None = None, title: str = ""
) -> Image.Image:
    """One sound: the waveform, a lane for each channel, above its mel spectrogram.

    A file is read in parts, so that an hour of it needs no memory.

    Args:
        sound: [C, L], or the path of a file.
        sample_rate: in Hz; of a tensor only, a file has its own.
        title: above the picture.

    Raises:
        ValueError: not [C, L], or nothing in it; a tensor without a rate.
        UserError: NaN, or a file that cannot be read.
    """
    if isinstance(sound, Tensor):
        if sample_rate is None:
            raise ValueError("a tensor needs a sample_rate to be drawn.")
        shown = Clip.of(sound)
    else:
        info = probe(sound)
        sample_rate = info.sample_rate
        shown = Clip(info.channels, info.frames, blocks(sound))
    return comparison([("", shown)], sample_rate, title)


def comparison(rows: Sequence[tuple[str, Clip]], sample_rate: int, title: str = "") -> Image.Image:
    """Sounds of one shape below each other, such as one before and after it was worked on.

    Each comes in parts and is drawn as by `spectrogram_picture`, one after the other.

    Args:
        rows: at least one (name, clip).
        sample_rate: in Hz, of all.
        title: above the picture.

    Raises:
        UserError: NaN.
    """
    clips = [(name, [clip]) for name, clip in rows]
    return _picture(clips, sample_rate, [title] * bool(title), _Sizes(840, 100, 260))


def gallery(
    rows: Sequence[tuple[str, Tensor]], sample_rate: int, captions: Sequence[str] | None = None
) -> Image.Image:
    """Many clips: a row for each (name, [N, C, L]), such as generated and real, N columns.

    Each is drawn as its waveform, a lane for each channel, above its mel spectrogram.

    Args:
        rows: at least one; all of one shape.
        sample_rate: in Hz.
        captions: of the columns; what is wider than one takes several lines.

    Raises:
        ValueError: no row, rows of different shapes, or captions that are not one a column.
        UserError: NaN.
    """
    if len({x.shape for _, x in rows}) != 1:
        shapes = ", ".join(str(list(x.shape)) for _, x in rows) or "none"
        raise ValueError(f"a gallery needs rows of one shape [N, C, L], not {shapes}.")
    narrow, wide = _COLUMN
    width = min(wide, max(narrow, _COLUMNS // max(1, len(rows[0][1]))))
    clips = [(name, [Clip.of(clip) for clip in x]) for name, x in rows]
    return _picture(clips, sample_rate, captions or (), _Sizes(width, 44, 110))


class _Sizes(NamedTuple):
    """In pixels: how wide a clip is, how high a channel's waveform, how high its spectrogram."""

    width: int
    lane: int
    mel: int


class Clip(NamedTuple):
    """A sound [channels, length] in parts [channels, any length]."""

    channels: int
    length: int
    parts: Iterable[Tensor]

    @classmethod
    def of(cls, x: Tensor) -> Clip:
        if x.ndim != 2 or not x.numel():
            raise ValueError(
                f"pictures of sound need clips [C, L] with L > 0, not {list(x.shape)}."
            )
        return cls(len(x), x.shape[1], [x])


def _picture(
    rows: Sequence[tuple[str, Sequence[Clip]]],
    sample_rate: int,
    captions: Sequence[str],
    sizes: _Sizes,
) -> Image.Image:
    """Clips of one shape, as many in each row."""
    count = len(rows[0][1])
    if not count:
        raise ValueError("pictures of sound need clips [C, L], and there are none.")
    channels, length, _ = rows[0][1][0]
    if captions and len(captions) != count:
        raise ValueError(f"{count} columns need as many captions, not {len(captions)}.")
    width = sizes.width
    height = channels * sizes.lane + _TICK + sizes.mel
    named = any(name for name, _ in rows)
    left = (2 * _FONT if named else _GAP) + 4 * _SMALL
    above = [_lines(caption, width) for caption in captions]
    highest = max(map(len, above), default=0)
    top = _GAP + (highest * _LINE - (_LINE - _FONT) + _GAP if captions else 0)
    places = [left + column * (width + _GAP) for column in range(count)]
    lines = [top + row * (height + 2 * _GAP) for row in range(len(rows))]
    bar = places[-1] + width + _GAP
    paper = _Paper(bar + _GAP + 5 * _SMALL, lines[-1] + height + 2 * _SMALL + _GAP)
    for x, caption in zip(places, above, strict=bool(captions)):
        for place, line in enumerate(reversed(caption)):
            paper.write(x + width / 2, top - _GAP - _FONT / 2 - place * _LINE, line, _FONT)
    seconds = _seconds(length / sample_rate, width)
    hertz = _hertz(sample_rate, sizes.mel)
    for y, (name, clips) in zip(lines, rows, strict=True):
        low, bottom = y + height - sizes.mel, y + height
        paper.write(_FONT, y + height / 2, name, _FONT, rotation=90)
        for x, clip in zip(places, clips, strict=True):
            seen = outline(clip.parts, length, sample_rate, width)
            for channel, edges in enumerate(zip(seen.low, seen.high, strict=True)):
                paper.wave(x, y + channel * sizes.lane, width, sizes.lane, *edges)
            paper.levels(x, low, width, sizes.mel, seen.levels, seen.span)
            paper.marks_below(x, bottom, seconds, named=y == lines[-1])
        paper.marks_beside(left, bottom, hertz, "right")
        scale = torch.linspace(*DECIBELS, sizes.mel)[:, None]
        paper.levels(bar, low, _GAP, sizes.mel, scale, (0, _GAP))
        paper.marks_beside(bar + _GAP, bottom, _scale(sizes.mel), "left")
    return paper.image()


def _lines(text: str, width: int) -> list[str]:
    """`text` in lines that fit into `width` pixels, nearly; a word that does not is shortened.

    What stands between commas stays in one line where it can.
    """
    most = round(width / (0.6 * _FONT))
    parts = text.split(", ")
    glued = [
        part.replace(" ", "\N{NO-BREAK SPACE}") if len(part) < most else part for part in parts
    ]
    lines = textwrap.wrap(", ".join(glued), most, break_long_words=False) or [""]
    return [line if len(line) <= most else f"{line[: most - 1]}…" for line in lines]


def _seconds(length: float, width: int) -> list[Mark]:
    """Round times, as close as their names leave room for; the last name ends within the width."""
    least = length * 4.5 * _SMALL / width
    power = 10.0 ** math.floor(math.log10(least))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least)
    last = length * (1 - 1.7 * _SMALL / width)
    times = [index * step for index in range(math.ceil(last / step))]
    return [(time / length * width, f"{time:.6g} s" if time else "0") for time in times]


def _hertz(sample_rate: int, height: int) -> list[Mark]:
    """Octaves from the highest down, as close as their names leave room for; pixels go upwards."""
    marks: list[Mark] = []
    for hertz in reversed([hertz for hertz in _OCTAVES if hertz <= sample_rate / 2]):
        place = mel(hertz) / mel(sample_rate / 2) * height
        if not marks or marks[-1][0] - place >= 1.5 * _SMALL:
            marks.append((place, f"{hertz / 1000:g} kHz" if hertz >= 1000 else f"{hertz} Hz"))
    return marks


def _scale(height: int) -> list[Mark]:
    low, high = DECIBELS
    marks = range(low, high + 1, 20)
    return [((mark - low) / (high - low) * height, f"\N{MINUS SIGN}{-mark} dB") for mark in marks]


class _Paper:
    """One pair of axes over a whole figure, in pixels from its top left corner."""

    def __init__(self, width: int, height: int) -> None:
        figure: Any = Figure((width / _DPI, height / _DPI), _DPI)
        self._canvas: Any = FigureCanvasAgg(figure)
        self._axes = figure.add_axes((0, 0, 1, 1))
        self._axes.set_axis_off()
        self._axes.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)

    def write(
        self, x: float, y: float, text: str, size: int, ha: str = "center", rotation: int = 0
    ) -> None:
        look = {"ha": ha, "va": "center", "fontsize": size * 72 / _DPI, "color": _INK}
        self._axes.text(x, y, text, **look, rotation=rotation, parse_math=False)

    def wave(
        self, x: float, y: float, width: int, height: int, lowest: Tensor, highest: Tensor
    ) -> None:
        """Both edges [K] of a waveform, from -1 at the bottom to 1 at the top of the box."""
        edges = (lowest, highest)
        low, high = (y + (1 - edge.clamp(-1, 1)) / 2 * height for edge in edges)
        along = x + (torch.arange(len(low)) + 0.5) / len(low) * width
        outline = (along.numpy(), low.numpy(), high.numpy())
        self._axes.fill_between(*outline, color=_WAVE, linewidth=0.7)

    def levels(
        self, x: float, y: float, width: int, height: int, decibels: Tensor, span: Span
    ) -> None:
        """[rows, columns], the first row at the bottom of the box.

        The columns go over `span` in pixels from x; what is beyond the box is cut off.
        """
        image = self._axes.imshow(
            decibels.numpy(),
            cmap=_COLOURS,
            norm=Normalize(*DECIBELS),
            aspect="auto",
            origin="lower",
            extent=(x + span[0], x + span[1], y + height, y),
        )
        image.set_clip_path(Rectangle((x, y), width, height, transform=self._axes.transData))

    def marks_below(self, x: float, y: float, marks: Iterable[Mark], named: bool) -> None:
        for place, text in marks:
            self._tick((x + place, x + place), (y, y + _TICK))
            self.write(x + place, y + _TICK + _SMALL, text if named else "", _SMALL)

    def marks_beside(self, x: float, y: float, marks: Iterable[Mark], ha: str) -> None:
        out = _TICK if ha == "left" else -_TICK
        for place, text in marks:
            self._tick((x, x + out), (y - place, y - place))
            self.write(x + 2 * out, y - place, text, _SMALL, ha)

    def _tick(self, x: tuple[float, float], y: tuple[float, float]) -> None:
        self._axes.plot(x, y, color=_INK, linewidth=0.7)

    def image(self) -> Image.Image:
        self._canvas.draw()
        pixels: Any = np.array(self._canvas.buffer_rgba())
        return Image.fromarray(pixels).convert("RGB")
