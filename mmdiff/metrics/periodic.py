"""What in a set of sound clips repeats every p samples, counted from where each clip begins.

A network that works on frames of p samples treats the p places in a frame differently, and always
begins its frames where the clip begins. In clips that were cut anywhere from recordings no place is
special. So each statistic here asks what clips have in *common*: it is the squared length of a mean
over clips, |E v|^2, without the bias |mean - E v|^2 that any finite mean has. Its expectation is
zero for independent clips without a preferred phase mod p, however short, coloured, loud in places
or padded with silence they are; it may come out a little below zero. What clips do each with a
phase of their own is not counted.

Ends of clips are tapered (Hann, Blackman-Harris): how a clip begins and ends is not periodic, but
without a taper it, and every tone, leaks to the frequencies k/p. A taper costs a factor of 1.5 in
the bias. Two periods p and q can be told apart only in clips of more than about 2 p q samples.

Sound that came through MP3 carries a grid of 576 samples of its own. Clips that were cut at random
have it at random phases, and it is not counted; clips that all begin where the MP3 did have it in
common at 576 and, weaker, at its divisors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from mmdiff import noise

PERIODS = 8  # the length of the frames of `cyclic_coherence`; clips must have as many
RESAMPLES = 999  # of the bootstrap: the 25th of them stands at 2.5%

_STREAM = 24
_STEPS = 16  # of the search for the ends of an interval
_SILENCE = 1e-10  # relative to the loudest peak: clips below it are left out
_BURIED = 1e-9  # relative to the loudest bin: the taper's own leakage lies below it
_AROUND = (-4, -3, -2, 2, 3, 4)  # bins beside a spur into which Hann's window leaks none of it
_EVEN = 0.1  # of the median power there: what keeps a few clips from deciding alone
_NOTHING = 1e-12  # of the energy: as little is rounding
_TAPER = (0.35875, 0.48829, 0.14128, 0.01168)  # Blackman-Harris: sidelobes at -92 dB


@dataclass(frozen=True)
class Shared:
    """R = |E v|^2 / (E s)^order, of a vector v and a number s for each of N >= 2 clips.

    Attributes:
        products: float64 [N, N], the inner products of the vectors: all that R depends on.
        scales: float64 [N], s.
        order: 1 or 2.

    Raises:
        ValueError: nothing to divide by.
    """

    products: Tensor
    scales: Tensor
    order: int

    def __post_init__(self) -> None:
        if not self.scales.mean() > 0:
            raise ValueError("the clips are silent: there is nothing to measure.")

    @property
    def value(self) -> float:
        """R without bias: only products of different clips are in it."""
        n = len(self.scales)
        power = (self.products.sum() - self.products.trace()) / (n * (n - 1))
        return float(power / self.scales.mean() ** self.order)

    def bootstrap(self, counts: Tensor) -> Errors:
        """The errors of `value` with clip i taken `counts[b, i]` times (float64 [B, N])."""
        n = len(self.scales)
        rows = self.products.mean(1)
        total = rows.mean()
        centred = self.products - rows[:, None] - rows + total
        own = centred.diagonal()
        excess = (counts - 1) / math.sqrt(n * (n - 1))
        # As `value` has them: products of different clips alone. Less their mean in the bootstrap.
        across = (excess @ centred * excess).sum(1) - excess.square() @ own
        across -= own.sum() / (n * n * (n - 1))
        # Deviations from a mean, weighted with such: each is too small by the order of 1/N.
        across *= 1 + 2 / n
        along = excess @ (rows - total) / total.sqrt() if total > 0 else torch.zeros_like(across)
        scale = self.scales.mean() ** self.order
        return Errors(along, across, (counts @ self.scales / n) ** self.order / scale, float(scale))


class Errors(NamedTuple):
    """How far values come out from the truth, in a bootstrap of B draws.

    Attributes:
        along, across: [B], errors of the mean vector: its component along itself, and the square of
            all of it without bias.
        stretch: [B], what is divided by, relative to `scale`.
    """

    along: Tensor
    across: Tensor
    stretch: Tensor
    scale: float

    def at(self, truth: float) -> Tensor:
        """[B]: value - R if the true R were `truth`, >= 0.

        Not at the value itself: where the truth is zero, errors are far smaller than they are
        around the length that a mean of few clips has by chance.
        """
        power = truth * self.scale
        values = (power + 2 * math.sqrt(power) * self.along + self.across) / self.scale
        return values / self.stretch - truth


@lru_cache(maxsize=8)
def resampled(clips: int, seed: int, which: int = 0) -> Tensor:
    """[RESAMPLES, clips] float64: how often each clip is drawn, `clips` times with replacement.

    `which` separates sets of clips that are drawn independently.
    """
    ids = torch.arange(RESAMPLES * clips)
    drawn = (noise.uniform(seed, ids, which, _STREAM).double() * clips).long()
    counts = torch.zeros(RESAMPLES, clips, dtype=torch.float64)
    return counts.scatter_add_(
        1, drawn.reshape(RESAMPLES, clips), torch.ones((), dtype=torch.float64).expand_as(counts)
    )


def interval(value: float, errors: Callable[[float], Tensor]) -> tuple[float, float]:
    """The truths under which `value` is not among the 2.5% highest or lowest: a 95% interval.

    `errors(truth)` [B] are what value - truth would be; they spread more the larger the truth is.
    """

    def error(truth: float, rank: int) -> float:
        return float(errors(truth).kthvalue(rank).values)

    lowest = RESAMPLES // 40 + 1
    highest = RESAMPLES + 1 - lowest
    low, high = value - error(value, highest), value
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if middle + error(middle, highest) < value:
            low = middle
        else:
            high = middle
    top = value
    for _ in range(_STEPS):  # rises to the largest solution, for the spread grows like a root
        top = value - error(top, lowest)
    return low, top


def with_controls(period: int) -> tuple[int, ...]:
    """The period, then one sample shorter (where that is a period) and one longer."""
    return (period, *(q for q in (period - 1, period + 1) if q > 1))


def check_period(period: int, length: int) -> None:
    """Raise ValueError unless clips of `length` samples can be searched for `period`."""
    if period < 2:
        raise ValueError(
            f"a period of {period} has nothing to measure: "
            "a network without frames, of 1 sample each, treats all samples alike."
        )
    if length < PERIODS * period:
        raise ValueError(
            f"a period of {period} needs clips of at least {PERIODS * period} samples, "
            f"not {length}: take longer clips."
        )


def fold(x: Tensor, period: int) -> Tensor:
    """Means over n = c mod period, tapered by Hann: [..., L] -> [..., period], real or complex.

    Of the first floor(L / period) periods. For x of that period the means are exactly x.
    """
    blocks = x.shape[-1] // period
    taper = torch.hann_window(blocks * period, dtype=torch.float64, device=x.device)
    tapered = x[..., : blocks * period] * (taper * (2 / blocks))
    return tapered.unflatten(-1, (blocks, period)).sum(-2)


def spurs(x: Tensor, period: int) -> Shared:
    """Spur-to-signal ratio: the power of what is added every `period` samples, as by a bias.

    mu_c = <y[l p + c]>_l, M_k = (1/p) sum_c mu_c exp(-2 pi i k c / p), and
    R = sum_{k != 0} |E M_k|^2 / <y^2>; 10 log10 R is in dB. A sinusoid of amplitude a at a multiple
    of 1/p, of the same phase in all clips, has R = a^2 / (2 <y^2>). Left uncorrected, R of white
    noise would be about 1.5 (1 - 1/p) / N from N periods in all clips together. In stereo powers of
    both channels are added, so that opposite spurs do not cancel.

    The mean over clips is weighted: for each k those with little else around that frequency count
    more, up to some ten times. In speech this finds spurs 15 dB weaker. It changes no spur that is
    the same in all clips, and of others it favours what is heard in quiet.

    Args:
        x: clips [N, C, L], any scale; L need not be divisible.
        period: from 2 up to L / 8.

    Raises:
        ValueError: another shape or period, values that are not finite, or fewer than two clips
            that are not silent.
    """
    x = _clips(x, period)
    energy = x.square().mean((1, 2))
    blocks = x.shape[2] // period
    length = blocks * period
    taper = torch.hann_window(length, dtype=torch.float64)
    spectra = torch.fft.fft(x[..., :length] * (taper / taper.sum()))  # M_k is bin k blocks
    k = torch.arange(1, period)
    around = torch.stack([spectra[..., (k * blocks + d) % length] for d in _AROUND])
    power = around.abs().square().mean((0, 2))  # [N, period - 1]
    weights = 1 / (power + _EVEN * power.median(0).values + _NOTHING * energy.mean())
    weights = (weights / weights.mean(0))[:, None]
    m = spectra[..., k * blocks]
    mean = (weights * m).mean(0)
    vectors = torch.view_as_real(mean + weights * (m - mean)).flatten(1)
    return Shared(vectors @ vectors.T / x.shape[1], energy, order=1)


def phase_variance(x: Tensor, period: int) -> Shared:
    """How much louder some places in a period are than others, as by a gain for each.

    v_c = <y^2[l p + c]>_l over both channels, V = DFT(v), and
    R = Gamma^2 = sum_{k != 0} |E V_k|^2 / (E V_0)^2: the squared relative deviation of v_c. Gains
    1 + d cos(2 pi n / p) have (2 d^2 + d^4 / 8) / (1 + d^2 / 2)^2 for p > 4. Left uncorrected, R of
    white noise would be 1.5 (2/N) (1 - 1/p). Loud clips count most. Arguments and errors as in
    `spurs`.
    """
    x = _clips(x, period)
    power = fold(x.square().mean(1), period)
    mean = power.mean(1)
    vectors = (power - mean[:, None]) / math.sqrt(period)
    return Shared(vectors @ vectors.T, mean, order=2)


def cyclic_coherence(x: Tensor, period: int) -> Shared:
    """How much of a frequency f is an image of f + k/p, as after mixing within frames.

    Y are spectra of tapered frames of 8 periods that begin at multiples of p. Each clip gives its
    coherency g_k(f) = <Y(f + k/p) Y*(f)> / sqrt(<|Y(f + k/p)|^2> <|Y(f)|^2>) over its frames and
    channels; rho_k(f) = |E g_k(f)|^2 over clips, each of which counts the same, and
    R = sum_{k != 0} <rho_k(f)>_f. The sum over k keeps what a single k has from being diluted by
    the others: of white noise under gains, R is their Gamma^2 (`phase_variance`), and the largest
    possible is p - 1. Frequencies do count the same whatever their power, down to 90 dB below the
    strongest: it is in quiet bands that images are heard. Multiples of 1/p themselves, where
    `spurs` are, are left out. Arguments and errors as in `spurs`.
    """
    x = _clips(x, period)
    hop = 2
    blocks = x[..., : x.shape[2] // period * period].unflatten(2, (-1, period))
    frames = (blocks.shape[2] - PERIODS) // hop + 1
    n = torch.arange(PERIODS * period, dtype=torch.float64)
    taper = torch.signal.windows.general_cosine(len(n), a=_TAPER, sym=False, dtype=torch.float64)
    upper = torch.triu_indices(period, period, 1)
    # Bin 8 k + j of a frame is f + k/p: one j at a time. The others are their conjugates.
    residues = range(1, PERIODS // 2)
    products = x.new_zeros(len(x), len(x))
    for j in residues:
        kernel = torch.polar(taper, -2 * math.pi * j / len(n) * n).reshape(PERIODS, period)
        folded = sum(
            blocks[:, :, b : b + hop * (frames - 1) + 1 : hop] * kernel[b] for b in range(PERIODS)
        )
        spectra = torch.fft.fft(folded).flatten(1, 2)  # [N, C frames, period]
        power = spectra.abs().square().sum(1, keepdim=True)
        spectra = spectra / (power + _BURIED * power.amax(2, keepdim=True)).sqrt()
        pairs = (spectra.mT @ spectra.conj())[:, upper[0], upper[1]]
        vectors = torch.view_as_real(pairs).flatten(1)
        products.addmm_(vectors, vectors.T)
    return Shared(products * (2 / (period * len(residues))), x.new_ones(len(x)), order=1)


def _clips(x: Tensor, period: int) -> Tensor:
    """Those of [N, C, L] that are not silent, in float64, with a peak of 1 over all."""
    if x.ndim != 3 or min(x.shape) < 1:
        raise ValueError(f"clips must be of shape [N, C, L], not {list(x.shape)}.")
    check_period(period, x.shape[2])
    x = x.detach().cpu().double()
    if not bool(x.isfinite().all()):
        raise ValueError("the clips hold values that are not finite.")
    peaks = x.abs().amax((1, 2))
    kept = peaks > _SILENCE * peaks.max()
    if kept.sum() < 2:
        raise ValueError("what clips share needs at least two of them that are not silent.")
    return x[kept] / peaks.max()
