"""Handwritten digits that bounce in a box, computed on the spot (Srivastava et al. 2015)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdiff import noise

LEAST = 24  # pixels of a side: the ink of a digit takes up to 20 of them
_SPEED = (10.0, 25.0)  # pixels a second


@dataclass(frozen=True)
class Way:
    """How something of `ink` [h, w] moves: its corner, from `start`, between 0 and `room`.

    All [2], rows and columns, in pixels; the velocity is in pixels a second.
    """

    ink: Tensor
    start: Tensor
    velocity: Tensor
    room: Tensor

    def clip(self, frames: int, fps: float, sides: Sequence[int]) -> Tensor:
        """float32 [1, T, H, W] in [-1, 1]."""
        time = torch.arange(frames) / fps
        return drawn(self.ink, bounced(self.start, self.velocity, self.room, time), sides)

    def touches(self, seconds: float) -> list[float]:
        """When it touches a wall, in seconds from 0 on, in order."""
        return touches(self.start, self.velocity, self.room, seconds)


@dataclass(frozen=True)
class MovingDigits:
    """Clips of one digit each, on a straight line that the walls reflect.

    Attributes:
        digits: uint8 [N, 1, 28, 28], ink on black.
        shape: (1, T, H, W) of a clip.
        fps: frames a second.
    """

    digits: Tensor
    shape: tuple[int, int, int, int]
    fps: float

    def __len__(self) -> int:
        return len(self.digits)

    def clip(self, seed: int, index: int, visit: int) -> Tensor:
        """float32 [1, T, H, W] in [-1, 1]: digit `index` on a way of (seed, index, visit)."""
        _, frames, *sides = self.shape
        return self.way(seed, index, visit).clip(frames, self.fps, sides)

    def way(self, seed: int, index: int, visit: int) -> Way:
        """How digit `index` moves in the clip of (seed, index, visit)."""
        ink = cropped(self.digits[index, 0])
        sides = self.shape[2:]
        room = torch.tensor([side - long for side, long in zip(sides, ink.shape, strict=True)])
        keys = 4 * index + torch.arange(4)
        row, column, turn, quick = noise.uniform(seed, keys, visit, noise.DATA)
        angle, (slow, fast) = 2 * math.pi * turn, _SPEED
        velocity = torch.stack((angle.sin(), angle.cos())) * (slow + (fast - slow) * quick)
        return Way(ink, torch.stack((row, column)) * room, velocity, room)


def cropped(digit: Tensor) -> Tensor:
    """[H, W] -> the smallest part of it that holds all ink, the values above 0."""
    rows, columns = ((digit > 0).any(axis).nonzero()[:, 0].tolist() for axis in (1, 0))
    return digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def bounced(start: Tensor, velocity: Tensor, room: Tensor, time: Tensor) -> Tensor:
    """Where something is at `time` [T] that walls at 0 and `room` reflect: [T, D].

    Along each axis the triangle wave room - |p mod 2 room - room| of p = start + velocity time;
    `start`, `velocity` and `room` are [D], in any unit and that a second.
    """
    place = start + velocity * time[:, None]
    return room - (place.remainder(2 * room) - room).abs()


def touches(start: Tensor, velocity: Tensor, room: Tensor, seconds: float) -> list[float]:
    """When what `bounced` moves is at a wall along any axis, in seconds from 0 on, in order."""
    found = []
    for begin, speed, side in zip(start, velocity, room, strict=True):
        first, last = sorted((float(begin / side), float((begin + speed * seconds) / side)))
        walls = range(math.ceil(first), math.floor(last) + 1)
        found += [float((wall * side - begin) / speed) for wall in walls]
    return sorted(found)


def drawn(ink: Tensor, places: Tensor, sides: Sequence[int]) -> Tensor:
    """`ink` uint8 [h, w] on black of `sides`, its corner at `places` [T, 2] (rows, columns).

    float32 [1, T, H, W] in [-1, 1]. Between pixels it is interpolated by cubic convolution.
    """
    high, wide = ink.shape
    rows, columns = (
        (torch.arange(side) - place[:, None] + 0.5) * 2 / long - 1
        for side, long, place in zip(sides, (high, wide), places.unbind(1), strict=True)
    )
    light = sampled((ink / 255).expand(len(places), 1, high, wide), rows, columns)
    return (light[:, 0].clamp(0, 1) * 2 - 1)[None]


def sampled(light: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """`light` [N, 1, h, w] at `rows` [N, H] and `columns` [N, W]: [N, 1, H, W], 0 outside.

    Both go from -1 to 1 from edge to edge. Between pixels it is cubic convolution.
    """
    grid = torch.stack(torch.broadcast_tensors(columns[:, None, :], rows[:, :, None]), dim=-1)
    return F.grid_sample(light, grid, "bicubic", align_corners=False)
