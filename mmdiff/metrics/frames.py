"""What the frames of a front end do: to the sound that a model makes, and to its denoiser."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from statistics import median_low
from typing import Any

from torch import Tensor

from mmdiff.data.turns import evenly
from mmdiff.diffusion import Diffusion
from mmdiff.metrics.aliasing import AliasingReport, Artefacts, evaluate_aliasing
from mmdiff.metrics.equivariance import DenoiserReport, Estimate, denoiser_artefacts
from mmdiff.metrics.periodic import PERIODS, with_controls

FEWEST = 20  # clips of each kind that a bootstrap can learn from
PROBED = 16  # real clips that are asked of the denoiser
TIMES = (0.25, 0.5, 0.75)
_ROUNDING = 120.0  # dB below a tone, about, lies what float32 adds to it
_ROOM = 1 << 26  # clips times the square of the period: `cyclic_coherence` takes 24 bytes for each


@dataclass(frozen=True)
class Skipped:
    """Something that was not measured, and the reason."""

    reason: str

    def as_dict(self) -> dict[str, Any]:
        """{"skipped": the reason}."""
        return {"skipped": self.reason}


@dataclass(frozen=True)
class FrameReport:
    """What `evaluate_frames` found.

    Attributes:
        period: samples that the front end takes at a time.
        aliasing: what recurs with that period in generated sound and not in real sound.
        denoiser: what the frames do to one pass of the network, without cycle spinning or guidance.
    """

    period: int
    aliasing: AliasingReport | Skipped
    denoiser: DenoiserReport | Skipped

    @property
    def found(self) -> tuple[str, ...]:
        """The statistics that are found at the period, and at the controls not or clearly less."""
        if isinstance(self.aliasing, Skipped):
            return ()
        names = []
        for name in (field.name for field in fields(Artefacts)):
            here, *controls = (
                getattr(self.aliasing.at[q], name) for q in with_controls(self.period)
            )
            if here.found and all(here.low > one.high for one in controls if one.found):
                names.append(name.replace("_", " "))
        return tuple(names)

    def as_dict(self) -> dict[str, Any]:
        """{"aliasing", "denoiser"}, ready for JSON."""
        return {"aliasing": self.aliasing.as_dict(), "denoiser": self.denoiser.as_dict()}

    def as_text(self) -> str:
        """Some lines for people; one where nothing was measured."""
        if isinstance(self.aliasing, Skipped) and self.aliasing == self.denoiser:
            return f"artefacts          not measured: {self.aliasing.reason}"
        lines = [f"artefacts of the front end, which takes {self.period:,} samples at a time"]
        if isinstance(self.aliasing, Skipped):
            lines.append(f"in the sound: not measured: {self.aliasing.reason}")
        else:
            lines += [
                f"in the sound, more at a period of {self.period:,} than at the controls: "
                f"{', '.join(self.found) or 'nothing'}",
                "  spurs: added tones; phase variance: pulsing; coherence: images of other tones",
                *(f"  {line}" for line in self.aliasing.as_text().splitlines()),
            ]
        if isinstance(self.denoiser, Skipped):
            lines.append(f"in the network: not measured: {self.denoiser.reason}")
        else:
            lines += _denoiser_lines(self.denoiser)
        return "\n".join(lines)


def _denoiser_lines(report: DenoiserReport) -> list[str]:
    """At each time the median rejection (half the tones have as much), and the shift error."""
    periods = with_controls(report.period)

    def shown(estimates: tuple[Estimate, ...]) -> str:
        decibels = median_low(e.value for e in estimates)
        return f"{decibels:14.1f}" if decibels < _ROUNDING else f"{f'>{_ROUNDING:g}':>14}"

    lines = [
        f"in the network: one pass over {report.count:,} real clips in noise of level t",
        "  image rejection (dB): how far below a tone lies what frames add to it, the median of "
        f"{len(report.frequencies)} tones",
        "  shift error: what changes when the clip begins elsewhere, relative to all, in power",
        f"{'':<20}" + "".join(f"{f'period {q}':>14}" for q in periods) + "   shift error, 95%",
    ]
    for row in report.times:
        mean, low, high = row.shift_error
        lines.append(
            f"  t = {row.time:<14g}"
            + "".join(shown(row.rejection[q]) for q in periods)
            + f"   {mean:.1e}  {low:.1e} .. {high:.1e}"
        )
    return lines


def frame_length(model: Diffusion) -> int:
    """Samples that the codecs of `model` take at a time; 1 where it has none."""
    codecs = (model.codec, getattr(model.backbone, "codec", None))
    return math.prod(int(codec.factor) for codec in codecs if codec is not None)


def evaluate_frames(
    model: Diffusion,
    samples: Tensor,
    real: Tensor,
    told: Mapping[str, Tensor],
    scale: float = 1.0,
    seed: int = 0,
    batch: int = PROBED,
) -> FrameReport:
    """Seek the period of a model's front end in what it makes, and in how it denoises.

    What cannot be measured is skipped, and says why: a network of single samples has no frames,
    clips may be shorter than a period takes, too few or silent.

    Args:
        model: without a codec, in its backbone or around it, it counts as one of single samples.
        samples: what it made, [N, C, L]; full scale is 1, and what goes beyond is clamped.
        real: clips that no training saw, [M, C, L] in [-1, 1]; all are compared with the samples,
            and up to 16 are given to the denoiser.
        told: the conditions of `real` by name, [M, ...] each.
        scale: what the model multiplies waveforms by.
        seed: of the bootstrap, and of the denoiser's noise and shifts.
        batch: clips at once, at most, for the denoiser.

    Raises:
        ValueError: samples that are not finite.
    """
    if not bool(samples.isfinite().all()):
        raise ValueError("the samples hold values that are not finite.")
    period, length = frame_length(model), samples.shape[2]
    shortest = PERIODS * max(with_controls(period))
    if period < 2 or length < shortest:
        reason = (
            "the network takes single samples, and so has no frames to leave any."
            if period < 2
            else f"for frames of {period:,} samples clips must have {shortest:,}, not {length:,}."
        )
        return FrameReport(period, Skipped(reason), Skipped(reason))

    some = evenly(len(real), min(len(real), PROBED))
    given = {name: value[some] for name, value in told.items()}
    return FrameReport(
        period,
        _in_sound(samples.clamp(-1, 1), real, period, seed),
        _in_network(model, real[some] * scale, given, period, seed, min(batch, PROBED)),
    )


def _in_sound(samples: Tensor, real: Tensor, period: int, seed: int) -> AliasingReport | Skipped:
    room = _ROOM // period**2
    if room < FEWEST:
        return Skipped(f"frames of {period:,} samples would take too much memory.")
    if min(len(samples), len(real)) < FEWEST:
        return Skipped(
            f"it takes {FEWEST} samples and as many held-out clips, "
            f"not {len(samples):,} and {len(real):,}."
        )
    ours, theirs = (x[evenly(len(x), min(len(x), room))] for x in (samples, real))
    try:
        return evaluate_aliasing(ours, theirs, period, seed)
    except ValueError as error:  # all are silent
        return Skipped(str(error))


def _in_network(
    model: Diffusion, x: Tensor, told: dict[str, Any], period: int, seed: int, batch: int
) -> DenoiserReport | Skipped:
    if model.codec is not None:
        return Skipped("the network denoises a code, and not the sound itself.")
    if len(x) < 2:
        return Skipped(f"it takes 2 held-out clips, not {len(x)}.")
    try:
        return denoiser_artefacts(model, x, period, TIMES, seed=seed, batch=batch, **told)
    except ValueError as error:  # it does not answer
        return Skipped(str(error))
