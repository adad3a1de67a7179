"""Clips that become one sound."""

from __future__ import annotations

import torch

from mmdiff.audio.joining import one_after_another


def test_clips_one_after_another() -> None:
    clips = torch.arange(1.0, 13).reshape(3, 2, 2)
    joined = one_after_another(clips, 20)  # 3 samples between them
    assert joined.tolist() == [
        [1, 2, 0, 0, 0, 5, 6, 0, 0, 0, 9, 10],
        [3, 4, 0, 0, 0, 7, 8, 0, 0, 0, 11, 12],
    ]
