"""A joint model of parts that go on together in time, such as a video and its sound."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import torch

from mmdiff.checkpoints import Info
from mmdiff.diffusion import Diffusion
from mmdiff.joint.model import Joint, Shares
from mmdiff.joint.pairs import Pairs
from mmdiff.modality import Data
from mmdiff.nn import MDCT, Bridge, FrontEnd, UNet
from mmdiff.noise import as_seed
from mmdiff.sampling import Sampling
from mmdiff.schedules import Trigonometric

_SLICE = 0.4  # seconds that a token of the bridge is close to
_CUBE, _LEVELS = 2, (32, 64)  # frames and pixels that a position of a video is; widths
_BLOCK = 0.016  # seconds that a position of a sound is close to
_NARROWEST, _WIDEST, _MULTIPLE = 64, 256, 32  # widths for blocks
_KEPT = 3 / 8  # of the values of a block, so many channels
_TIMES = (0.8, 0.7)  # where it is decided how a part looks or sounds, see `Diffusion`


class Grid(NamedTuple):
    """How the bridge sees a part: positions a slice, time first, of so many samples each."""

    block: int
    slices: tuple[int, ...]


def sliced(data: Pairs, seed: int = 0) -> tuple[Joint, Sampling]:
    """A fresh joint model, as `recipes/bounce.py` has it, and how it is best sampled from.

    What has more axes than time, such as a video, is made of cubes of two; what has none, such as a
    sound, of blocks of about 16 ms behind an MDCT. All that is within about 0.4 s is one token of
    the bridge. Parts are drawn in turn, that with most axes first and each told those before it.

    Args:
        data: parts that go on together.
        seed: of the weights.
    """
    grids = _grids(data.parts, data.seconds)
    turns = sorted(data.parts, key=lambda name: -len(data.parts[name].shape))
    torch.manual_seed(as_seed(seed))
    models, infos = {}, {}
    for name, part in data.parts.items():
        cubes = len(part.shape) > 2
        models[name] = _of_cubes(part) if cubes else _of_blocks(part, grids[name].block)
        guidance = 3.0 if part.conditions and name == turns[0] else None
        clip = part.modality.data_range if cubes else None
        how = Sampling("dpmpp2msde", 25, guidance=guidance, clip=clip)
        infos[name] = Info(part.shape, part.modality, how)
    bridge = Bridge(
        {name: cast(Any, model.backbone).width for name, model in models.items()},
        width=64,
        depth=2,
        slices={name: grid.slices for name, grid in grids.items()},
    )
    joint = Joint(
        models, bridge, shares=Shares(0.1, 0.5, 0.4, 0.0), hide=0.5, infos=infos, given_at=0.1,
        times="logit_normal", given_times=(2.0, 1.2), turns=turns,
    )  # fmt: skip
    return joint, Sampling("dpmpp2msde", 25, guidance=2.0)


def _of_cubes(part: Data) -> Diffusion:
    channels, *sides = part.shape
    how = (_LEVELS, 1, (False, True), _CUBE, part.conditions)
    network = UNet(len(sides), channels, channels, *how)
    return Diffusion(network, Trigonometric(), "x0", "v", times=_TIMES)


def _of_blocks(part: Data, block: int) -> Diffusion:
    codec = MDCT(block)
    inside = codec.channels(part.shape[0])
    width = min(_WIDEST, max(_NARROWEST, round(inside * _KEPT / _MULTIPLE) * _MULTIPLE))
    network = UNet(1, inside, inside, (width,), 1, (True,), conditions=part.conditions)
    return Diffusion(FrontEnd(codec, network), Trigonometric(), "x0", "v", times=_TIMES)


def _grids(parts: Mapping[str, Data], seconds: float) -> dict[str, Grid]:
    """As many slices of each part, as close to `_SLICE` as all parts can; at worst one of all."""
    longest = max(part.shape[1] for part in parts.values())
    counts = range(1, min(longest, math.ceil(2 * seconds / _SLICE)) + 1)
    for count in sorted(counts, key=lambda count: abs(math.log(seconds / count / _SLICE))):
        found = {name: _grid(part, count) for name, part in parts.items()}
        grids = {name: grid for name, grid in found.items() if grid is not None}
        if len(grids) == len(parts):
            return grids
    raise AssertionError("one slice is all of a part.")


def _grid(part: Data, count: int) -> Grid | None:
    """So many slices of a part; None if its positions do not make them."""
    _, long, *others = part.shape
    if others:
        coarse = _CUBE * 2 ** (len(_LEVELS) - 1)
        positions, *rest = (-(-side // coarse) for side in (long, *others))
        return None if positions % count else Grid(_CUBE, (positions // count, *rest))
    wanted = _BLOCK * part.modality.rate
    blocks = range(2, max(4, round(2 * wanted)), 2)
    fit = [block for block in blocks if -(-long // block) % count == 0]
    if not fit:
        return None
    block = min(fit, key=lambda block: abs(block - wanted))
    return Grid(block, (-(-long // block) // count,))
