"""How samples are laid out: the frames of an animation, the rows of a picture."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdiff.cli.layout import COLUMNS, arranged, captions, columns, frame_steps
from mmdiff.cli.wanted import Wanted, choose_samples
from mmdiff.conditions import Class

SPEAKERS = ("ann", "bea", "cy")


@settings(derandomize=True, deadline=None)
@given(st.integers(1, 1000), st.integers(1, 60))
def test_an_animation_is_short_even_and_complete(steps: int, most: int) -> None:
    frames = list(frame_steps(steps, most))
    assert 1 <= len(frames) <= most
    assert frames[-1] == steps - 1
    assert frames[0] >= 0
    assert len({b - a for a, b in pairwise(frames)}) <= 1
    if steps <= most:
        assert len(frames) == steps


def _wanted(
    count: int,
    labels: tuple[str, ...] = ("yes", "no"),
    speakers: tuple[str, ...] = SPEAKERS,
    label: str | None = None,
    speaker: str | None = None,
) -> Wanted:
    named = {"label": labels, "speaker": speakers}
    kinds = {name: Class(len(names), names) for name, names in named.items() if names}
    return choose_samples(kinds, {"label": label, "speaker": speaker}, count, None, "m")


@settings(derandomize=True, deadline=None)
@given(st.integers(1, 200), st.sampled_from((1, 3, 10, 40)))
def test_columns_are_the_classes_or_few_samples(count: int, classes: int) -> None:
    wanted = _wanted(count, tuple(map(str, range(classes))), ())
    width = columns(wanted)
    rows, above = arranged(torch.zeros(count, 1, 2), wanted)
    assert sum(len(x) for _, x in rows) == count
    if width is None:
        assert count > COLUMNS or min(count, classes) == 1
        assert (len(rows), above) == (1, [])
    else:
        assert {len(x) for _, x in rows} == {len(above)} == {width}
        assert width <= COLUMNS
        assert width in (classes, count)


@pytest.mark.parametrize(
    ("count", "names", "expected"),
    [
        (20, "0123456789", 10),
        (12, "0123456789", 12),
        (17, "0123456789", None),
        (40, tuple(map(str, range(40))), None),
    ],
)
def test_how_many_stand_side_by_side(count: int, names: str, expected: int | None) -> None:
    assert columns(_wanted(count, tuple(names), ())) == expected
    assert columns(_wanted(count, tuple(names), (), label="0")) is None


def test_captions_say_who_says_what() -> None:
    def said(count: int, width: int, **how: object) -> tuple[list[str], list[str]]:
        return captions(_wanted(count, **how), width)  # type: ignore[arg-type]

    # One row: each sample has a caption of its own.
    assert said(4, 4) == (["yes ann", "no bea", "yes bea", "no cy"], [""])
    # Several: a column's samples from the top down.
    assert said(6, 2) == (["yes ann, yes bea, yes cy", "no bea, no cy, no ann"], [""] * 3)
    # The speakers beside the rows, where each row has one.
    assert said(4, 2, speaker="bea") == (["yes", "no"], ["bea", "bea"])
    assert said(3, 1) == (["yes, no"], ["ann", "bea", "bea"])
    assert said(6, 3, label="no") == (["no ann", "no bea", "no cy"], ["", ""])
    # Whatever the model does not know is not named.
    assert said(4, 2, speakers=()) == (["yes", "no"], ["", ""])
    assert said(3, 3, labels=()) == (["ann", "bea", "cy"], [""])
