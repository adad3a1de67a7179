"""Pictures of sound: waveforms above mel spectrograms, one clip or many side by side.

Clips come in as floats [C, L] in [-1, 1] on any device and in any precision. Every picture has the
same scales, full scale for waveforms and the same decibels for colours, so that any two compare.
A waveform beyond full scale is cut off at the edge of its lane; NaN is refused.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torchaudio.functional as taf
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image
from torch import Tensor, nn

from mmdiff.errors import UserError

DECIBELS = (-80, -10)  # what the colours span

_WINDOW = 0.04  # seconds, about: it is a power of two of samples
_FRAMES = 8  # a window
_BAND = 32  # mel from band to band
_SILENCE = 1e-12  # -120 dB

_DPI = 100  # only turns pixels into the units that matplotlib asks for
_FONT, _SMALL, _GAP, _TICK = 14, 12, 8, 4  # pixels
_LINE = 18  # from one line of a caption to the next
_INK, _WAVE, _COLOURS = "#464646", "#3465a4", "magma"
_COLUMNS = 1200  # pixels for all clips of a gallery, where each can be as wide as this:
_COLUMN = (120, 480)
_OCTAVES = (125, 250, 500, 1000, 2000, 4000, 8000, 16000)

Mark = tuple[float, str]  # a place in pixels, and what is written there
Span = tuple[float, float]  # from here to there, in pixels


def mel_spectrogram(x: Tensor, sample_rate: int) -> Tensor:
    """[..., L] -> [..., mels, frames] in dB: the power of each band; a mean square of 1 is 0 dB.

    A Hann window of 28 to 57 ms, an eighth of it from frame to frame, frame i centred on sample
    i * window / 8; triangular bands 32 mel apart, from 0 Hz to half the sample rate (67 bands at
    8 kHz, 125 at 48 kHz), in the mel of O'Shaughnessy 1987. Nothing falls below -120 dB.
    """
    return _decibels(_mel_power(x, sample_rate, _window(sample_rate) // _FRAMES))


def spectrogram_picture(x: Tensor, sample_rate: int, title: str = "") -> Image.Image:
    """One clip [C, L]: the waveform, a lane for each channel, above its mel spectrogram.

    Raises:
        ValueError: not [C, L], or nothing in it.
        UserError: NaN.
    """
    return _picture([("", x[None])], sample_rate, [title] * bool(title), _Sizes(840, 100, 260))


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
    return _picture(rows, sample_rate, captions or (), _Sizes(width, 44, 110))


def _window(sample_rate: int) -> int:
    """In samples."""
    return 2 ** max(3, round(math.log2(_WINDOW * sample_rate)))


def _mel(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)


def _mel_power(x: Tensor, sample_rate: int, hop: int) -> Tensor:
    """[..., L] -> [..., mels, 1 + L // hop]."""
    window = _window(sample_rate)
    fft = 2 * window  # the lowest bands lie closer together than the window's own frequencies
    x = x.detach().to(torch.promote_types(x.dtype, torch.float32))
    hann = torch.hann_window(window, dtype=x.dtype, device=x.device)
    power = taf.spectrogram(x, 0, hann, fft, hop, window, 2.0, False, pad_mode="constant")
    nyquist = sample_rate / 2
    mels = max(1, round(_mel(nyquist)) // _BAND)
    bands = taf.melscale_fbanks(fft // 2 + 1, 0.0, nyquist, mels, sample_rate).to(power)
    # By Parseval's theorem the bands then add up to the mean square in the window.
    return (bands.T @ power) * (2 / (fft * hann.square().sum()))


def _decibels(power: Tensor) -> Tensor:
    return 10 * power.clamp(min=_SILENCE).log10()


class _Sizes(NamedTuple):
    """In pixels: how wide a clip is, how high a channel's waveform, how high its spectrogram."""

    width: int
    lane: int
    mel: int


def _picture(
    rows: Sequence[tuple[str, Tensor]], sample_rate: int, captions: Sequence[str], sizes: _Sizes
) -> Image.Image:
    shape = rows[0][1].shape
    if len(shape) != 3 or not all(shape):
        raise ValueError(f"pictures of sound need clips [C, L] with L > 0, not {list(shape[1:])}.")
    count, channels, length = shape
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
        mel, bottom = y + height - sizes.mel, y + height
        paper.write(_FONT, y + height / 2, name, _FONT, rotation=90)
        for x, clip in zip(places, _samples(clips), strict=True):
            for channel, wave in enumerate(clip):
                paper.wave(x, y + channel * sizes.lane, width, sizes.lane, wave)
            paper.levels(x, mel, width, sizes.mel, *_levels(clip, sample_rate, width))
            paper.marks_below(x, bottom, seconds, named=y == lines[-1])
        paper.marks_beside(left, bottom, hertz, "right")
        scale = torch.linspace(*DECIBELS, sizes.mel)[:, None]
        paper.levels(bar, mel, _GAP, sizes.mel, scale, (0, _GAP))
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


def _samples(clips: Tensor) -> Tensor:
    """On the CPU in float32."""
    clips = clips.detach().to("cpu", torch.float32)
    if clips.isnan().any():
        raise UserError("the sound has NaN in it: the model has diverged, use another one.")
    return clips


def _envelope(wave: Tensor, columns: int) -> tuple[Tensor, Tensor]:
    """The lowest and the highest sample [K] in each of K <= `columns` stretches of `wave` [L]."""
    size = -(-len(wave) // columns)
    stretches = torch.cat((wave, wave[-1:].expand(-len(wave) % size))).unflatten(0, (-1, size))
    return stretches.amin(1), stretches.amax(1)


def _levels(clip: Tensor, sample_rate: int, width: int) -> tuple[Tensor, Span]:
    """[mels, frames] in dB of the mean power of the channels, and where they lie in `width` pixels.

    There are about two frames a pixel at most. The last one's middle is at the end or near it, on
    either side.
    """
    length = clip.shape[1]
    hop = max(_window(sample_rate) // _FRAMES, length // (2 * width))
    beyond = -length % hop
    padded = nn.functional.pad(clip, (0, beyond if 2 * beyond < hop else 0))
    levels = _decibels(_mel_power(padded, sample_rate, hop).mean(0))
    frame = hop / length * width
    return levels, (-frame / 2, (levels.shape[1] - 0.5) * frame)


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
        place = _mel(hertz) / _mel(sample_rate / 2) * height
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

    def wave(self, x: float, y: float, width: int, height: int, wave: Tensor) -> None:
        """From -1 at the bottom to 1 at the top of the box."""
        low, high = (y + (1 - edge.clamp(-1, 1)) / 2 * height for edge in _envelope(wave, width))
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
