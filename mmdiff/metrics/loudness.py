"""How loud sound is: integrated loudness by ITU-R BS.1770-4, at any sample rate."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torchaudio.functional import lfilter

GATE = -70.0  # LUFS: blocks below it are silence
RELATIVE_GATE = -10.0  # LU under the mean of the others: blocks below it are pauses
BLOCK, STEP = 0.4, 0.1  # seconds
LEVELS = (0.05, 0.5, 0.95)  # the quantiles that are reported


@dataclass(frozen=True)
class Levels:
    """The 5%, 50% and 95% quantiles over clips.

    Attributes:
        loudness: integrated, in LUFS (ITU-R BS.1770-4).
        peak: the largest magnitude; 1 is full scale.
    """

    loudness: tuple[float, ...]
    peak: tuple[float, ...]


def measure_levels(x: Tensor, sample_rate: int) -> Levels:
    """The levels of clips `x` [N, C, L] in [-1, 1]."""
    levels = torch.tensor(LEVELS, dtype=torch.float64)
    return Levels(
        loudness=tuple(loudness(x, sample_rate).quantile(levels).tolist()),
        peak=tuple(x.abs().amax(dim=(1, 2)).double().quantile(levels).tolist()),
    )


def loudness(x: Tensor, sample_rate: int) -> Tensor:
    """LUFS [N] (float64) of `x` [N, C, L] in [-1, 1], mono or stereo; -70 for silence.

    A clip that is shorter than one block of 400 ms is taken with silence after it. Nothing is
    clamped, as torchaudio's `loudness` clamps between its filters.
    """
    if x.ndim != 3 or x.shape[1] not in (1, 2) or x.shape[2] < 1:
        raise ValueError(f"loudness is of mono or stereo [N, C, L], not of {list(x.shape)}.")
    block, step = round(BLOCK * sample_rate), round(STEP * sample_rate)
    x = F.pad(x.double(), (0, max(0, block - x.shape[2])))
    for b, a in k_weighting(sample_rate):
        x = lfilter(x, a.to(x), b.to(x), clamp=False)
    power = x.square().unfold(2, block, step).mean(3).sum(1)  # [N, blocks]
    loud = _level(power) > GATE
    threshold = _level(_mean(power, loud)) + RELATIVE_GATE
    return _level(_mean(power, loud & (_level(power) > threshold[:, None]))).clamp(min=GATE)


def k_weighting(sample_rate: int) -> list[tuple[Tensor, Tensor]]:
    """Coefficients (b, a), float64 [3] each, of the standard's two filters in their order.

    A shelf for the head, then a high-pass. The standard prints them for 48 kHz alone; these are
    the analogue filters behind its tables through the bilinear transform, after B. De Man,
    "Evaluation of implementations of the EBU R128 loudness measurement" (2018).
    """
    k, q = math.tan(math.pi * 1681.974450955533 / sample_rate), 0.7071752369554196
    high = 10 ** (3.999843853973347 / 20)
    middle = high**0.4996667741545416
    shelf = (
        (high + middle * k / q + k * k, 2 * (k * k - high), high - middle * k / q + k * k),
        (1 + k / q + k * k, 2 * (k * k - 1), 1 - k / q + k * k),
    )
    k, q = math.tan(math.pi * 38.13547087602444 / sample_rate), 0.5003270373238773
    a = (1 + k / q + k * k, 2 * (k * k - 1), 1 - k / q + k * k)
    high_pass = (a[0], -2 * a[0], a[0]), a  # the standard leaves its gain at b = 1, -2, 1
    return [
        (torch.tensor(b, dtype=torch.float64) / a[0], torch.tensor(a, dtype=torch.float64) / a[0])
        for b, a in (shelf, high_pass)
    ]


def _level(power: Tensor) -> Tensor:
    return -0.691 + 10 * power.log10()


def _mean(power: Tensor, kept: Tensor) -> Tensor:
    """[N]: over the blocks that are kept, 0 where there are none."""
    return (power * kept).sum(1) / kept.sum(1).clamp(min=1)
