"""What the frames of a network leave in the sound that it makes, beside what real sound has."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from torch import Tensor

from mmdiff.metrics.periodic import (
    Shared,
    cyclic_coherence,
    interval,
    phase_variance,
    resampled,
    spurs,
    with_controls,
)


@dataclass(frozen=True)
class Comparison:
    """A statistic of `mmdiff.metrics.periodic` in generated and in real clips, a power ratio.

    `low` to `high` is the 95% interval of the difference, from a bootstrap over clips.
    """

    generated: float
    real: float
    difference: float
    low: float
    high: float

    @property
    def found(self) -> bool:
        """Generated clips have it and real ones less. By chance in one case of 40."""
        return min(self.low, self.difference) > 0


@dataclass(frozen=True)
class Artefacts:
    """The statistics at one period."""

    spurs: Comparison
    phase_variance: Comparison
    coherence: Comparison


@dataclass(frozen=True)
class AliasingReport:
    """What `evaluate_aliasing` found.

    Attributes:
        period: in samples.
        count, real_count: numbers of clips, silent ones included.
        at: by period: `period` itself and the controls, one sample shorter and longer. What
            is found at the controls as much is no artefact of frames of `period`, unless the clips
            are too short to tell them apart (see `mmdiff.metrics.periodic`).
    """

    period: int
    count: int
    real_count: int
    at: dict[int, Artefacts]

    def as_dict(self) -> dict[str, Any]:
        """Everything here, ready for JSON."""
        return asdict(self)

    def as_text(self) -> str:
        """A few lines for people."""
        lines = [
            f"{self.count:,} samples, {self.real_count:,} real clips",
            f"{'':<20}{'generated':>10} {'real':>10} {'difference':>10}   95% interval",
        ]
        for period in sorted(self.at, key=lambda q: (q != self.period, q)):
            lines.append(f"period {period}" + ("" if period == self.period else " (control)"))
            for field in fields(Artefacts):
                one: Comparison = getattr(self.at[period], field.name)
                row = " ".join(f"{v:10.1e}" for v in (one.generated, one.real, one.difference))
                row = f"  {field.name.replace('_', ' '):<18}{row}   {one.low:.1e} .. {one.high:.1e}"
                if one.found:
                    row += f"  found: {10 * math.log10(one.difference):.1f} dB"
                lines.append(row)
        return "\n".join(lines)


def evaluate_aliasing(samples: Tensor, real: Tensor, period: int, seed: int = 0) -> AliasingReport:
    """Seek what repeats every `period` samples in `samples` [N, C, L] and not in `real` [M, C, L].

    Args:
        samples: generated clips that all begin where the network's first frame does.
        real: clips that no training saw. Of both kinds a few tens are the least that a bootstrap
            can learn from, all independent: overlapping crops of one recording are not. Neither
            their numbers, nor lengths, nor levels need to be the same.
        period: the length of the network's frames, from 2 up to L / 8 - 1.
        seed: of the bootstrap.

    Raises:
        ValueError: another shape or period, values that are not finite, or fewer than two clips
            that are not silent.
    """
    at = {}
    for q in with_controls(period):
        found = (
            compare(statistic(samples, q), statistic(real, q), seed)
            for statistic in (spurs, phase_variance, cyclic_coherence)
        )
        at[q] = Artefacts(*found)
    return AliasingReport(period, len(samples), len(real), at)


def compare(generated: Shared, real: Shared, seed: int = 0) -> Comparison:
    """A statistic of independent sets of clips."""
    ours, theirs = (
        part.bootstrap(resampled(len(part.scales), seed, which))
        for which, part in enumerate((generated, real))
    )
    known = max(real.value, 0.0)

    def errors(difference: float) -> Tensor:
        return ours.at(max(known + difference, 0.0)) - theirs.at(known)

    difference = generated.value - real.value
    low, high = interval(difference, errors)
    return Comparison(generated.value, real.value, difference, low, high)
