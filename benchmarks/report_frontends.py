"""Tables of `report.py` about the front ends of sound: a line for each front end."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from typing import Any

STATISTICS = ("spurs", "phase_variance", "coherence")
VARIANTS = {"plain": "", "spun": ", spun"}  # and what titles call them
KINDS = ("raw", "patch", "mdct", "learned", "stft", "UNetV0")

Frame = Any  # a pandas.DataFrame
Cells = dict[str, str]  # one line of a table: text by title of the column


def kind_of(name: str) -> str:
    return name.partition(":")[0]


def grouped(frame: Frame) -> Iterator[tuple[str, Frame]]:
    """Name and rows of each front end, by kind, then by p."""
    kinds = frame["frontend"].map(kind_of).map(KINDS.index)
    ordered = frame.assign(kind=kinds).sort_values(["kind", "p"], kind="stable")
    yield from ordered.groupby("frontend", sort=False)


def each_front_end(cells: Callable[[Frame], Cells]) -> Callable[[Frame], list[Cells]]:
    """A table of a line for each front end, of the rows that it has."""

    @wraps(cells)
    def table(frame: Frame) -> list[Cells]:
        return [heads(name, rows) | cells(rows) for name, rows in grouped(frame)]

    return table


def heads(name: str, rows: Frame) -> Cells:
    """The first columns: the front end, and p with the period that was sought if there is none."""
    p, period = rows[["p", "period"]].iloc[0]
    return {"front end": name, "p": str(p) if p > 1 else f"1 (sought: {period})"}


def decibels(ratio: float) -> str:
    """Of a power ratio."""
    return f"{10 * math.log10(ratio):.1f}" if ratio > 0 else "none"


def spread(values: Any, form: str) -> str:
    """The mean over seeds and, in brackets, the least and the largest; "" without numbers."""
    if values.isna().all():
        return ""
    mean, low, high = (format(one, form) for one in (values.mean(), values.min(), values.max()))
    return mean if low == high else f"{mean} ({low} to {high})"


@dataclass(frozen=True)
class Level:
    """An artefact behind one front end: power ratios, generated minus real, one for each seed.

    Attributes:
        each: may be negative.
        lows, highs: the 95% interval of each, from a bootstrap over clips.
        controls: the same at other periods, which no artefact of this front end has.
    """

    each: Any
    lows: Any
    highs: Any
    controls: Any

    @classmethod
    def of(cls, rows: Frame, statistic: str, variant: str = "") -> Level:
        end = f"_{variant}" if variant else ""
        parts = ("", "_low", "_high", "_control")
        return cls(*(rows[f"{statistic}{part}{end}"].dropna() for part in parts))

    @property
    def measured(self) -> bool:
        return len(self.each) > 0

    @property
    def mean(self) -> float:
        return float(self.each.mean())

    @property
    def low(self) -> float:
        """Up to `high` an interval of `mean`: the bootstrap's, at least the range over seeds."""
        return min(self.mean - math.hypot(*(self.each - self.lows)) / len(self.each), *self.each)

    @property
    def high(self) -> float:
        return max(self.mean + math.hypot(*(self.highs - self.each)) / len(self.each), *self.each)

    @property
    def found(self) -> bool:
        return self.measured and self.low > 0

    @property
    def shared(self) -> bool:
        """The control periods have it within 3 dB: it does not come from frames of this length."""
        return bool(2 * self.controls.mean() >= self.mean)

    def text(self) -> str:
        """In dB: the mean over seeds and their range, or an upper bound; "" if not measured."""
        if not self.measured:
            return ""
        if not self.found:
            return f"< {decibels(self.high)}" if self.high > 0 else "none"
        mean = decibels(self.mean) + " †" * self.shared
        ends = decibels(self.each.min()), decibels(self.each.max())
        return f"{mean} ({ends[0]} to {ends[1]})" if ends[0] != ends[1] else mean


def said(statistic: str) -> str:
    return statistic.replace("_", " ")


@each_front_end
def quality(rows: Frame) -> Cells:
    """Speed, size and what the judge says of plain and of spun samples."""
    cells = {
        "levels": spread(rows["levels"], ".0f"),
        "parameters, M": spread(rows["parameters"] / 1e6, ".1f"),
        "clips/s in training": spread(rows["clips_per_second"], ".0f"),
        "steps": spread(rows["steps"], ",.0f"),
    }
    for variant, end in VARIANTS.items():
        ratio = rows[f"frechet_{variant}"] / rows[f"floor_{variant}"]
        cells |= {
            f"Fréchet / floor{end}": spread(ratio, ".2f"),
            f"labels right, %{end}": spread(100 * rows[f"accuracy_{variant}"], ".1f"),
            f"speakers right, %{end}": spread(100 * rows[f"speakers_{variant}"], ".1f"),
            f"tilt, dB{end}": spread(rows[f"tilt_{variant}"], ".1f"),
        }
    return cells


@each_front_end
def artefacts(rows: Frame) -> Cells:
    return {
        f"{said(statistic)}{end}": Level.of(rows, statistic, variant).text()
        for statistic in STATISTICS
        for variant, end in VARIANTS.items()
    }


@each_front_end
def untrained(rows: Frame) -> Cells:
    return {
        f"{said(statistic)}, {given}": Level.of(rows[rows["input"] == given], statistic).text()
        for statistic in STATISTICS
        for given in ("white", "speech")
    }
