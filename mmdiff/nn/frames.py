"""Frames that overlap: where they lie in a signal, and how they add up to it again."""

from __future__ import annotations

from torch import Tensor


def margins(length: int, window: int, hop: int) -> tuple[int, int]:
    """Zeros before and after a signal, for every sample to lie in the same number of windows."""
    before = window - hop
    return before, before + (-(length + before)) % hop


def overlap_add(frames: Tensor, hop: int, length: int) -> Tensor:
    """[B, C, N, window] -> [B, C, length], without the zeros that `margins` put before it."""
    batch, channels, count, window = frames.shape
    parts = frames.split(hop, dim=3)
    x = frames.new_zeros(batch, channels, count + len(parts) - 1, hop)
    for first, part in enumerate(parts):
        x[:, :, first : first + count, : part.shape[3]] += part
    return x.flatten(2)[..., window - hop : window - hop + length]
