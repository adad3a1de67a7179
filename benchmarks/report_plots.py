"""Plots of `report.py`."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from PIL import Image
from report_frontends import STATISTICS, VARIANTS, Level, decibels, grouped, kind_of, said

from mmdiff.audio.pictures import gallery
from mmdiff.audio.sound import read
from mmdiff.files import written_aside

# Okabe & Ito's colours, which most who are colour-blind tell apart; markers, and where p stands.
LOOKS = {
    "patch": ("#D55E00", "s", (5, 4)),
    "mdct": ("#0072B2", "o", (5, -12)),
    "learned": ("#009E73", "^", (-16, 5)),
    "stft": ("#AA4499", "D", (5, 4)),
    "raw": ("#333333", "P", (5, 4)),
}
AUDIBLE = -40  # dB: what docs/frontends.md calls audible, a dashed line
HEARD = (1, 8, 16, 64, 256)  # the p whose spectrograms are shown: all would fill many screens

Frame = Any  # a pandas.DataFrame
# The low, middle and high value of the rows of a front end, plain or spun; None if there are none.
Point = Callable[[Frame, str], tuple[float, float, float] | None]


def draw(results: Path) -> None:
    """Draw all plots of the CSV files in the folder, beside them."""
    quality, curve, trained = (
        pd.read_csv(results / f"{name}.csv")
        for name in ("image_quality", "image_training_curve", "frontend_quality")
    )
    figures = {
        "image_quality": digits(quality, "solver", "calls", "network calls a sample"),
        "image_training_curve": digits(curve, "model", "minutes", "CPU-minutes of training"),
    }
    for dataset, end in (("fsdd", ""), ("synthetic", "_synthetic")):
        rows = trained[trained["dataset"] == dataset]
        figures[f"frontends_speed_quality{end}"] = qualities(rows)
        figures[f"frontends_speed_aliasing{end}"] = artefacts(rows)
        with written_aside(results / f"frontends_spectrograms{end}.png") as aside:
            spectrograms(rows, results / "frontend_sounds", dataset).save(aside, "PNG")
    for name, figure in figures.items():
        with written_aside(results / f"{name}.png") as aside:
            figure.savefig(aside, dpi=120)


def digits(frame: Frame, lines: str, x: str, label: str) -> Figure:
    """Distance over floor, and accuracy, against x."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, rows in frame.sort_values(x).groupby(lines):
        left.plot(rows[x], rows["frechet"] / rows["floor"], "o-", label=name)
        right.plot(rows[x], 100 * rows["accuracy"], "o-", label=name)
    left.axhline(1, color="grey", linestyle=":", label="training images (floor)")
    count = frame["count"].min()
    left.set(ylabel=f"Fréchet distance / floor, {count:,} samples", yscale="log")
    right.set(ylabel="accuracy of labelled samples, %")
    for axes in (left, right):
        axes.set(xlabel=label, xscale="log")
        axes.grid(alpha=0.3, which="both")
    left.legend()
    return figure


def against_speed(panels: dict[str, Point], frame: Frame) -> Any:
    """A panel for each title: what each front end has, against clips a second in training."""
    figure: Any = Figure(figsize=(1 + 4.2 * len(panels), 4.8), layout="constrained")
    for axes, (title, point) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        for variant in VARIANTS:
            connect(axes, frame, variant, point)
        axes.set(title=title, xlabel="clips a second in training; beside a point: p")
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_major_locator(LogLocator(2, subs=(1, 1.5)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.grid(alpha=0.3)
        if title.startswith("Fréchet"):
            axes.set_yscale("log")  # the STFT is far above the others
    figure.axes[0].legend(fontsize=8)
    return figure


def connect(axes: Any, frame: Frame, variant: str, point: Point) -> None:
    """A line for each kind of front end, dotted if spun."""
    points = [
        (kind_of(name), rows["p"].iloc[0], rows["clips_per_second"].mean(), *found)
        for name, rows in grouped(frame)
        if (found := point(rows, variant))
    ]
    table = pd.DataFrame(points, columns=["kind", "p", "x", "low", "middle", "high"])
    spun = variant == "spun"
    for kind, part in table.sort_values("x").groupby("kind", sort=False):
        colour, marker, place = LOOKS[kind]
        bars = [part["middle"] - part["low"], part["high"] - part["middle"]]
        axes.errorbar(
            part["x"], part["middle"], bars, color=colour, marker=marker, ms=6, lw=1,
            mfc="white" if spun else colour, ls=":" if spun else "-",
            label=kind + VARIANTS[variant],
        )  # fmt: skip
        for one in () if spun else part.itertuples():
            axes.annotate(one.p, (one.x, one.middle), place, textcoords="offset points",
                          color=colour, fontsize=9)  # fmt: skip


def qualities(frame: Frame) -> Any:
    """Quality and loss against speed; bars are from seed to seed."""
    values = {"loss_plain": frame["loss"], "loss_spun": math.nan}  # spinning does not change it
    for variant in VARIANTS:
        values[f"ratio_{variant}"] = frame[f"frechet_{variant}"] / frame[f"floor_{variant}"]
        values[f"right_{variant}"] = 100 * frame[f"accuracy_{variant}"]

    def seeds(column: str, rows: Frame, variant: str) -> Any:
        found = rows[f"{column}_{variant}"]
        return (found.min(), found.mean(), found.max()) if found.notna().any() else None

    titles = {
        "ratio": "Fréchet distance / floor: lower is better",
        "right": "labels read right, %: higher is better",
        "tilt": "tilt, dB: lower is better",
        "loss": "validation loss: lower is better",
    }
    if frame["frechet_plain"].isna().all():  # no judge knows these sounds
        del titles["ratio"], titles["right"]
    panels: dict[str, Point] = {title: partial(seeds, name) for name, title in titles.items()}
    return against_speed(panels, frame.assign(**values))


def artefacts(frame: Frame) -> Any:
    """Levels in dB against speed, with their 95% intervals; a caret is an upper bound."""

    def interval(statistic: str, rows: Frame, variant: str) -> Any:
        level = Level.of(rows, statistic, variant)
        if not level.found:
            return None
        low, middle, high = (float(decibels(x)) for x in (level.low, level.mean, level.high))
        return max(low, middle - 10), middle, high  # an interval may reach down to nothing

    panels: dict[str, Point] = {
        f"{said(one)}, dB: lower is better": partial(interval, one) for one in STATISTICS
    }
    figure = against_speed(panels, frame)
    for axes, statistic in zip(figure.axes, STATISTICS, strict=True):
        for name, rows in grouped(frame):
            level = Level.of(rows, statistic, "plain")
            if not level.found and level.high > 0:
                at = (rows["clips_per_second"].mean(), float(decibels(level.high)))
                axes.plot(*at, marker="v", color=LOOKS[kind_of(name)][0])
        if statistic != "coherence":
            axes.axhline(AUDIBLE, color="grey", ls="--")
    return figure


def spectrograms(frame: Frame, sounds: Path, dataset: str) -> Image.Image:
    """A row for each front end: real clips, samples, spun ones; silence where there are none."""
    real, rate = read(sounds / f"{dataset}-real.wav")
    shown = []
    for name, _ in grouped(frame[frame["p"].isin(HEARD)]):
        stems = (f"{dataset}-{name.replace(':', '')}-{variant}" for variant in VARIANTS)
        files = [sounds / f"{stem}.wav" for stem in stems]
        made = [read(file)[0] if file.exists() else torch.zeros_like(real) for file in files]
        shown.append((name, torch.stack([real, *made])))
    return gallery(shown, rate, ("real", "plain sampling", "with cycle spinning"))
