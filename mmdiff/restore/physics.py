"""What damages signals, as linear operators in any number of dimensions.

They are what `Posterior` and `restore` take, beside deepinv's physics: `A` measures x
[B, C, *spatial], and `A_adjoint` is its transpose.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor
from torchaudio.functional import fftconvolve

_BLUR_REACH = 4  # deviations of a Gaussian on each side
_LOBES = 3  # of a low-pass on each side, as of Pillow's LANCZOS


class Linear(ABC):
    """A linear operator on signals of `shape`, [C, *spatial]."""

    shape: tuple[int, ...]

    @property
    def reach(self) -> tuple[int, int] | None:
        """How far before and after it, on the last axis, x counts for a position of A x, if known.

        None also where A x has no such positions.
        """
        return None

    @abstractmethod
    def A(self, x: Tensor) -> Tensor:  # noqa: N802  # deepinv's name
        """What is measured of `x` [B, *shape]."""

    def A_adjoint(self, y: Tensor) -> Tensor:  # noqa: N802
        """<A x, y> = <x, A_adjoint y>: the transpose, by differentiating `A`."""
        pull = torch.func.vjp(self.A, y.new_zeros(len(y), *self.shape))[1]
        x: Tensor = pull(y)[0]
        return x


@dataclass(frozen=True)
class Mask(Linear):
    """x where `known` (bool, broadcasts to `shape`), 0 elsewhere."""

    shape: tuple[int, ...]
    known: Tensor

    def A(self, x: Tensor) -> Tensor:  # noqa: N802
        return x * self.known


@dataclass(frozen=True)
class Filter(Linear):
    """Some axes filtered by the symmetric `taps` [K], then every `stride`-th position of them.

    What is kept stands for the middle of `stride` positions. The ends are repeated beyond them.

    Attributes:
        shape: [C, *spatial] of x.
        taps: the same for all axes.
        stride: 1 keeps all positions.
        axes: which of `shape` are filtered; all but the channels if None.

    Raises:
        ValueError: sides that `stride` does not divide, or taps with no middle for it: there are
            as many as `stride`, or more by an even number.
    """

    shape: tuple[int, ...]
    taps: Tensor
    stride: int = 1
    axes: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if any(self.shape[axis] % self.stride for axis in self._axes):
            raise ValueError(f"{self.stride} does not divide all sides of {list(self.shape)}.")
        if len(self.taps) < self.stride or (len(self.taps) - self.stride) % 2:
            raise ValueError(f"{len(self.taps)} taps have no middle at a stride of {self.stride}.")

    @property
    def reach(self) -> tuple[int, int] | None:
        """As of `Linear`."""
        if self.stride > 1:
            return None
        return 2 * (len(self.taps) // 2 if len(self.shape) - 1 in self._axes else 0,)

    @property
    def _axes(self) -> Sequence[int]:
        return range(1, len(self.shape)) if self.axes is None else self.axes

    def A(self, x: Tensor) -> Tensor:  # noqa: N802
        beyond = (len(self.taps) - self.stride) // 2
        taps = self.taps.to(x)[None, None]
        for axis in self._axes:
            lines = x.movedim(axis + 1, -1)
            flat = F.pad(lines.reshape(-1, 1, lines.shape[-1]), (beyond, beyond), "replicate")
            flat = F.conv1d(flat, taps, stride=self.stride)
            x = flat.reshape(*lines.shape[:-1], -1).movedim(-1, axis + 1)
        return x


@dataclass(frozen=True)
class Room(Linear):
    """The last axis convolved with an impulse `response` [K]: nothing is heard before its cause."""

    shape: tuple[int, ...]
    response: Tensor

    @property
    def reach(self) -> tuple[int, int]:
        """As of `Linear`."""
        return len(self.response) - 1, 0

    def A(self, x: Tensor) -> Tensor:  # noqa: N802
        response = self.response.to(x).expand(*x.shape[:-1], -1)
        heard: Tensor = fftconvolve(x, response)[..., : x.shape[-1]]
        return heard


@dataclass(frozen=True)
class Following(Linear):
    """What `whole` measures of x where it goes on after `past` positions that are known.

    That is the first `known` positions of x themselves, and then the first `heard` of what is
    measured, without the part that the past has in it, which `of_past` gives.
    """

    shape: tuple[int, ...]
    whole: Linear
    past: int
    known: int
    heard: int

    def A(self, x: Tensor) -> Tensor:  # noqa: N802
        return torch.cat((x[..., : self.known], self._heard(F.pad(x, (self.past, 0)))), -1)

    def of_past(self, past: Tensor) -> Tensor:
        """What the positions before x [B, C, past] add to what is heard."""
        return self._heard(F.pad(past, (0, self.shape[-1])))

    def _heard(self, x: Tensor) -> Tensor:
        return self.whole.A(x)[..., self.past : self.past + self.heard]


def gaussian(width: float) -> Tensor:
    """Taps of a blur with a deviation of `width` positions; their sum is 1.

    Raises:
        ValueError: a width that is not above 0.
    """
    if not 0 < width < math.inf:
        raise ValueError(f"the width of a blur must be above 0, not {width}.")
    reach = math.ceil(_BLUR_REACH * width)
    taps = torch.exp(-torch.arange(-reach, reach + 1).square() / (2 * width**2))
    return taps / taps.sum()


def lowpass(cutoff: float, even: bool = False, lobes: int = _LOBES) -> Tensor:
    """Taps of a low-pass, a sinc in a Lanczos window; their sum is 1.

    Args:
        cutoff: the end of the band that stays, as a part of the whole band, in (0, 1).
        even: an even number of taps, for an even stride.
        lobes: of the sinc on each side; the more, the steeper.

    Raises:
        ValueError: a cutoff out of range.
    """
    if not 0 < cutoff < 1:
        raise ValueError(f"the band that stays must be a part of the whole, not {cutoff:g} of it.")
    reach = math.ceil(lobes / cutoff)
    place = torch.arange(-reach, reach + 1, dtype=torch.float32)
    if even:
        place = torch.tensor([(a + b) / 2 for a, b in pairwise(place.tolist())])
    place = place * cutoff
    taps = torch.sinc(place) * torch.sinc(place / lobes) * (place.abs() < lobes)
    return taps / taps.sum()
