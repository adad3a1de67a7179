"""How samples are laid out: the frames of an animation, the rows of a picture of sounds."""

from __future__ import annotations

from itertools import pairwise

import pytest

from mmdiff.opening import choose_samples
from mmdiff.training.checkpoints import Info
from mmdiff.writers import COLUMNS, FRAMES, captions, columns, frame_steps


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


def _captions(
    count: int,
    width: int,
    labels: tuple[str, ...] = ("yes", "no"),
    speakers: tuple[str, ...] = ("ann", "bea", "cy"),
    label: str | None = None,
    speaker: str | None = None,
) -> tuple[list[str], list[str]]:
    info = Info((1, 800), labels=labels, speakers=speakers, sample_rate=8000)
    return captions(choose_samples(info, "m", label, speaker, count), width)


def test_a_picture_of_sounds_says_who_says_what() -> None:
    # One row: each clip has a caption of its own.
    assert _captions(4, 4) == (["yes ann", "no bea", "yes bea", "no cy"], [""])
    # Several: a column's clips from the top down.
    assert _captions(6, 2) == (["yes ann, yes bea, yes cy", "no bea, no cy, no ann"], [""] * 3)
    # The speakers beside the rows, where each row has one.
    assert _captions(4, 2, speaker="bea") == (["yes", "no"], ["bea", "bea"])
    assert _captions(3, 1) == (["yes, no"], ["ann", "bea", "bea"])
    assert _captions(6, 3, label="no") == (["no ann", "no bea", "no cy"], ["", ""])
    # Whatever the model does not know is not named.
    assert _captions(4, 2, speakers=()) == (["yes", "no"], ["", ""])
    assert _captions(3, 3, labels=()) == (["ann", "bea", "cy"], [""])
    assert _captions(2, 2, labels=(), speakers=()) == (["", ""], [""])
