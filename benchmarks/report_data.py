"""What was measured of a front end: numbers over seeds, and levels in dB with their intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

STATISTICS = ("spurs", "phase_variance", "coherence")
VARIANTS = ("plain", "spun")

Row = Mapping[str, str]


def decibels(ratio: float) -> float:
    """Of a power ratio above 0."""
    return 10 * math.log10(ratio)


def level_text(ratio: float) -> str:
    return f"{decibels(ratio):.1f}" if ratio > 0 else "none"


@dataclass(frozen=True)
class Values:
    """A number for each seed."""

    each: tuple[float, ...]

    @property
    def mean(self) -> float:
        return sum(self.each) / len(self.each)

    @property
    def ends(self) -> tuple[float, float]:
        return min(self.each), max(self.each)

    def text(self, form: str) -> str:
        """The mean and, where there are several, the range: in a format such as ".2f"."""
        if len(self.each) == 1:
            return format(self.mean, form)
        low, high = self.ends
        return f"{self.mean:{form}} ({low:{form}} to {high:{form}})"


def _pooled(above: Sequence[float], below: Sequence[float]) -> float:
    """How far the mean of independent numbers may err, if each does by above - below."""
    return math.hypot(*(a - b for a, b in zip(above, below, strict=True))) / len(above)


@dataclass(frozen=True)
class Level:
    """An artefact of the networks of one front end: power ratios, generated minus real.

    Attributes:
        each: for each seed; may be negative.
        lows, highs: its 95% interval, from a bootstrap over clips.
        controls: the same difference at the control periods; may be empty.
    """

    each: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]
    controls: tuple[float, ...] = ()

    @property
    def mean(self) -> float:
        return sum(self.each) / len(self.each)

    @property
    def low(self) -> float:
        """With `high` an interval of `mean`: the bootstrap's, and at least the range over seeds."""
        return min(self.mean - _pooled(self.each, self.lows), *self.each)

    @property
    def high(self) -> float:
        return max(self.mean + _pooled(self.highs, self.each), *self.each)

    @property
    def found(self) -> bool:
        return self.low > 0

    @property
    def shared(self) -> bool:
        """The control periods have it within 3 dB: no artefact of frames of this length."""
        return bool(self.controls) and 2 * sum(self.controls) >= len(self.controls) * self.mean

    @property
    def own(self) -> bool:
        return self.found and not self.shared

    def brief(self) -> str:
        """In dB: the mean, or an upper bound."""
        if not self.found:
            return f"< {decibels(self.high):.1f}" if self.high > 0 else "none"
        return f"{decibels(self.mean):.1f}{' †' * self.shared}"

    def text(self) -> str:
        """Also the range over seeds."""
        if not self.found or len(self.each) == 1:
            return self.brief()
        return f"{self.brief()} ({level_text(min(self.each))} to {level_text(max(self.each))})"


@dataclass(frozen=True)
class Group:
    """What was measured of one front end; a row for each seed."""

    name: str
    rows: tuple[Row, ...]

    @property
    def kind(self) -> str:
        return self.name.partition(":")[0]

    @property
    def p(self) -> int:
        return int(self.rows[0]["factor"])

    @property
    def speed(self) -> float:
        """Clips a second in training: the paces of all front ends were measured in turns."""
        return Values(tuple(float(row["clips_per_second"]) for row in self.rows)).mean

    def values(self, column: str, over: str = "") -> Values | None:
        """A column, or its quotient by another; None where no row has it."""
        found = [
            float(row[column]) / (float(row[over]) if over else 1)
            for row in self.rows
            if row.get(column) and (not over or row.get(over))
        ]
        return Values(tuple(found)) if found else None

    def distance(self, variant: str) -> Values | None:
        """The Fréchet distance of samples over that of as many training clips."""
        return self.values(f"frechet_{variant}", f"floor_{variant}")

    def level(self, statistic: str, variant: str = "") -> Level | None:
        end = f"_{variant}" if variant else ""
        rows = [row for row in self.rows if row.get(f"{statistic}_low{end}")]
        if not rows:
            return None
        each, lows, highs = (
            tuple(float(row[f"{statistic}{part}{end}"]) for row in rows)
            for part in ("", "_low", "_high")
        )
        control = f"{statistic}_control{end}"
        controls = tuple(float(row[control]) for row in rows if row.get(control))
        return Level(each, lows, highs, controls)
