"""What reports on samples have in common, and how they are laid out for people."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from mmdiff.metrics.loudness import LEVELS, Levels
from mmdiff.metrics.neighbours import QUANTILES, Neighbours


@dataclass(frozen=True)
class Judged:
    """What a judge finds in samples, beside real data.

    Attributes:
        count: number of samples.
        accuracy: fraction of the samples that the judge reads as their label; None without labels.
        frechet: Fréchet distance from the samples to the test set, in the judge's features.
        floor: the same from `count` training items: what a perfect sampler would reach.
        neighbours: nearest training items; None where they were not sought.
    """

    count: int
    accuracy: float | None
    frechet: float
    floor: float
    neighbours: Neighbours | None

    @property
    def ratio(self) -> float:
        """`frechet` in units of `floor`."""
        return self.frechet / self.floor

    def as_dict(self) -> dict[str, Any]:
        """Everything here, `ratio` too, ready for JSON."""
        return {**asdict(self), "ratio": self.ratio}

    def frechet_lines(self, items: str) -> list[str]:
        """Distance, floor and ratio; `items` are what the floor was measured with."""
        return [
            f"Fréchet distance   {self.frechet:.4f}",
            f"  floor            {self.floor:.4f}  ({self.count:,} training {items})",
            f"  ratio            {self.ratio:.2f}",
        ]

    def neighbour_lines(self, items: str, unit: str) -> list[str]:
        """Quantiles of the distances to the nearest training item, none if they are not known."""
        if self.neighbours is None:
            return []
        title = f"nearest training {items} ({unit}), quantiles"
        return [
            f"{title:<41}{_head(QUANTILES)}",
            f"  samples                                {_row(self.neighbours.samples)}",
            f"  {f'test {items}':<39}{_row(self.neighbours.unseen)}",
            f"  samples nearer than 99% of the test {items}: {self.neighbours.near:.2%}",
        ]


def level_lines(ours: Levels, real: Levels, items: str) -> list[str]:
    """The quantiles of the levels of samples and of real `items`."""
    return [
        f"levels, quantiles                        {_head(LEVELS)}",
        f"  loudness (LUFS)  samples               {_row(ours.loudness)}",
        f"                   {items:<22}{_row(real.loudness)}",
        f"  peak             samples               {_row(ours.peak)}",
        f"                   {items:<22}{_row(real.peak)}",
    ]


def _head(levels: tuple[float, ...]) -> str:
    return "  ".join(f"{level:>6.0%}" for level in levels)


def _row(values: tuple[float, ...]) -> str:
    return "  ".join(f"{value:6.2f}" for value in values)
