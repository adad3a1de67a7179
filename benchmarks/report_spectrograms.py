"""Spectrograms of the same seed through each front end, for `report.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from matplotlib.figure import Figure
from report_data import VARIANTS
from report_files import Found, rank
from torch import Tensor

from mmdiff.audio.sound import read
from mmdiff.files import written_aside

SECONDS = 2.56  # of a file, at most
WINDOW = 0.064  # seconds: narrow enough in frequency to part the lines of a grid of 128 at 8 kHz
SHOWN = (1, 8, 16, 64, 256)  # of p: all would be a picture of many screens
FINEST = 64  # the largest p whose grid is marked
SPAN = 80  # dB that the colours show, below the loudest of the real clips
DPI = 120
INK = "#333333"


class Strip(NamedTuple):
    """What one file holds."""

    levels: Tensor  # dB [bins, frames], from 0 Hz up
    seconds: float
    sample_rate: int


def strip_of(path: Path) -> Strip:
    """Linear in frequency, of the mean of the channels, of the first `SECONDS`."""
    wave, rate = read(path)
    mono = wave.mean(0)[: round(SECONDS * rate)].double()
    size = 2 ** round(torch.tensor(WINDOW * rate).log2().item())
    window = torch.hann_window(size, dtype=torch.float64)
    spectra = torch.stft(mono, size, size // 16, window=window, return_complex=True)
    power = spectra.abs().square() / window.sum().square()
    return Strip(10 * power.clamp(min=1e-12).log10(), len(mono) / rate, rate)


def rows_of(found: Found, dataset: str) -> list[tuple[str, int, dict[str, Strip]]]:
    """Name, p and strips by variant: real clips first, then front ends that have sounds."""
    rows = []
    real = found.real(dataset)
    if real is not None:
        rows.append(("real", 0, {"plain": strip_of(real)}))
    study = found.studies.get(dataset)
    shown = (n for n, group in study.groups.items() if group.p in SHOWN) if study else ()
    for name in sorted(shown, key=rank):
        paths = {variant: found.sound(dataset, name, variant) for variant in VARIANTS}
        strips = {variant: strip_of(path) for variant, path in paths.items() if path.exists()}
        if strips and study:
            rows.append((name, study.groups[name].p, strips))
    return rows


def draw_spectrograms(path: Path, found: Found, dataset: str) -> bool:
    """A row for each front end, plain to the left, spun to the right; False without sounds."""
    rows = rows_of(found, dataset)
    if not rows:
        return False
    top = max(float(strip.levels.max()) for strip in rows[0][2].values())
    height = 1.12 * len(rows) + 0.9
    figure = Figure(figsize=(11, height), layout="constrained", dpi=DPI)
    panels = figure.subplots(len(rows), 2, squeeze=False)
    image: Any = None
    for line, (name, p, strips) in zip(panels, rows, strict=True):
        for axes, variant in zip(line, VARIANTS, strict=True):
            if variant in strips:
                image = panel(axes, strips[variant], p, top)
            else:
                axes.set_axis_off()
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", labelpad=12, fontsize=11)
    for axes, title in zip(panels[0], ("plain sampling", "with cycle spinning"), strict=True):
        axes.set_title(title, fontsize=11, color=INK)
    for axes in panels[-1]:
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("seconds", color=INK)
    if "spun" not in rows[0][2]:
        explain(panels[0][1], image)
    with written_aside(path) as aside:
        figure.savefig(aside)
    return True


def panel(axes: Any, strip: Strip, p: int, top: float) -> Any:
    """One strip, with a tick at the left for each multiple of the sample rate / p."""
    nyquist = strip.sample_rate / 2000
    image = axes.imshow(
        strip.levels.numpy(), cmap="magma", vmin=top - SPAN, vmax=top, aspect="auto",
        origin="lower", extent=(0, strip.seconds, 0, nyquist), interpolation="antialiased",
    )  # fmt: skip
    multiples = range(1, (p + 1) // 2) if p <= FINEST else ()
    grid = [k * strip.sample_rate / 1000 / p for k in multiples]
    axes.set_yticks(grid, labels=[])
    axes.set_yticks([0, nyquist], labels=["0", f"{nyquist:g} kHz"], minor=True)
    axes.tick_params(axis="y", which="major", length=5, width=0.6, color=INK)
    axes.tick_params(axis="y", which="minor", length=0, pad=8, labelsize=8)
    axes.tick_params(axis="x", labelsize=8, labelbottom=False, length=2)
    return image


def explain(axes: Any, image: Any) -> None:
    """In the place where spun real clips would be."""
    text = (
        f"Ticks at the left, for p up to {FINEST}: multiples of the sample rate / p.\nWhat a front "
        "end leaves of its grid lies there, as level\nlines, best seen in the quiet between sounds."
    )
    axes.text(0.02, 0.68, text, va="center", color=INK, fontsize=9, transform=axes.transAxes)
    bar = axes.inset_axes((0.02, 0.2, 0.6, 0.1))
    axes.figure.colorbar(image, cax=bar, orientation="horizontal")
    bar.tick_params(labelsize=8, length=2)
    axes.text(0.64, 0.25, "dB", va="center", color=INK, fontsize=8, transform=axes.transAxes)
