"""A long sound in windows that overlap, so that a model works on any length in constant memory.

What a network that is local makes of a place depends on what is near it alone. Windows whose
margins hold all that is near, and whose noise is a function of the place in the whole sound, give
what the whole would give in one piece.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from einops import rearrange
from torch import Tensor

from mmdiff import noise
from mmdiff.conditions import Signal
from mmdiff.diffusion import Diffusion

_EVEN = 1 << 12  # samples: what halves them a few times comes out even
_LEVELS = 32  # positions of a code, likewise
_FURTHEST = 64  # grids that a network may look at
_SIGNAL = 1 << 40  # keys of noise from one signal to the next


@dataclass(frozen=True)
class Window:
    """Samples `start` to `stop`; of what comes out, `first` to `last` are kept."""

    start: int
    stop: int
    first: int
    last: int

    def kept(self, x: Tensor) -> Tensor:
        """Of [..., stop - start] what is kept."""
        return x[..., self.first - self.start : self.last - self.start]


def windows(length: int, size: int, margin: int, grid: int) -> Iterator[Window]:
    """Windows that together keep each of `length` samples once, and begin and end on a grid.

    All are of one `size`; the last lies further back for it. Only where all fit into one may that
    be shorter. Beyond what is kept there are `margin` samples or more, but at the two ends.

    Args:
        length: of the sound; the last window ends less than a grid beyond it.
        size, margin: multiples of `grid`, size > 2 margin.
        grid: in samples.
    """
    total = -(-length // grid) * grid
    size = min(size, total)
    start = first = 0
    while first < length:
        start = min(start, total - size)
        stop = start + size
        last = length if stop == total else stop - margin
        yield Window(start, stop, first, last)
        start, first = last - margin, last


def cut(parts: Iterable[Tensor], into: Iterable[Window]) -> Iterator[tuple[Window, Tensor]]:
    """Each window and what is in it, [C, size], of a sound in parts; its end is mirrored."""
    left, at, held = iter(parts), 0, torch.empty(0)
    for window in into:
        held, at = held[..., window.start - at :], window.start
        while at + held.shape[-1] < window.stop:
            part = next(left, None)
            if part is None:
                held = mirrored(held, window.stop - at)
            else:
                held = torch.cat((held, part), 1) if held.ndim == 2 else part
        yield window, held[:, : window.stop - at]


def mirrored(x: Tensor, length: int) -> Tensor:
    """[..., L] -> [..., length]: go on beyond the end as from a mirror there, and so forth."""
    place = torch.arange(length) % (2 * x.shape[-1])
    return x[..., torch.minimum(place, 2 * x.shape[-1] - 1 - place)]


def grid(model: Diffusion) -> int:
    """Samples from one place to the next at which a window may begin."""
    hops = (round(kind.factor) for kind in model.conditions.values() if isinstance(kind, Signal))
    return math.lcm(_EVEN, _LEVELS * factor(model), *hops)


@lru_cache(maxsize=1)  # it costs what seconds of sound do, and short sounds are many
@torch.no_grad()
def reach(model: Diffusion) -> int:
    """How many samples to either side one call of the network looks at, about, and no fewer.

    NaN at one place comes out wherever that is looked at.

    Raises:
        ValueError: it looks at all of a sound.
    """
    home = next(model.parameters())
    channels, each = model.info.shape[0], factor(model)
    channels = channels if model.codec is None else model.codec.channels(channels)
    width = grid(model) // each
    t = torch.zeros(1, device=home.device)
    grids = 8
    while grids < _FURTHEST:
        grids *= 2
        x = torch.zeros(1, channels, grids * width, device=home.device, dtype=home.dtype)
        begin, end = grids // 2 * width, (grids // 2 + 1) * width
        x[..., begin:end] = torch.nan
        seen = model.backbone(x, t).isnan().any(1).nonzero()[:, 1]
        low, high = int(seen.min()), int(seen.max()) + 1
        if low > 0 and high < x.shape[-1]:
            return max(begin - low, high - end) * each
    raise ValueError(
        "what this model makes of a place depends on too much around it for sounds of any length: "
        "train a network with local=True."
    )


def noise_at(
    seed: int, count: int, shape: Sequence[int], start: int, device: torch.device
) -> Tensor:
    """[count, channels, length]: initial noise of `shape` (channels, length) from a position on.

    It is a function of the seed, of which of `count` signals it is for, and of the position in the
    whole: the same in all windows.
    """
    channels, length = shape
    signal = torch.arange(count, device=device)[:, None] * _SIGNAL
    keys = signal + torch.arange(start, start + length, device=device)
    drawn = noise.normal(seed, keys.flatten(), -1, (channels,))
    return rearrange(drawn, "(b l) c -> b c l", b=count)


def factor(model: Diffusion) -> int:
    return 1 if model.codec is None else int(model.codec.factor)
