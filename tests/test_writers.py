"""How samples are laid out: the frames of an animation, the rows of a picture of sounds."""

from __future__ import annotations

from itertools import pairwise

import pytest

from mmdiff.writers import COLUMNS, FRAMES, columns, frame_steps


@pytest.mark.parametrize("steps", [1, 2, 49, 50, 51, 99, 100, 101, 1000])
def test_an_animation_is_short_even_and_complete(steps: int) -> None:
    frames = list(frame_steps(steps))
    assert 1 <= len(frames) <= FRAMES
    assert frames[-1] == steps - 1
    assert frames == sorted(frames)
    assert frames[0] >= 0
    assert len({b - a for a, b in pairwise(frames)}) <= 1
    if steps <= FRAMES:
        assert len(frames) == steps


def test_rows_of_sounds_are_full_and_as_the_labels_where_they_can() -> None:
    for count in range(1, 257):
        for classes in (0, 3, 10, 40):
            width = columns(count, classes)
            assert 1 <= width <= COLUMNS
            assert count % width == 0
    assert columns(60, 10) == 10
    assert columns(20, 10) == 10
    assert columns(12, 10) == 12
    assert columns(64, 0) == 16
    assert columns(80, 40) == 16
    assert columns(17, 10) == 1
