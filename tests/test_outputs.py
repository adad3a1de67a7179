"""Where samples go: names, kinds of destination, and the frames of an animation."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from mmdiff.errors import UserError
from mmdiff.outputs import FRAMES, Destination, frame_steps, sample_names


def test_kind_follows_from_the_name(tmp_path: Path) -> None:
    (tmp_path / "dir.gif").mkdir()
    kinds = {
        "a.png": "png",
        "A.PNG": "png",
        "a.gif": "gif",
        "a": "folder",
        "a/": "folder",
        "a.png/": "folder",
        f"{tmp_path}/dir.gif": "folder",
        f"{tmp_path}": "folder",
        "runs.d/a": "folder",
    }
    assert {out: Destination.parse(out).kind for out in kinds} == kinds
    for out in ("a.jpg", "a.png.bak"):
        with pytest.raises(UserError, match=r"\.png.*\.gif"):
            Destination.parse(out)


def test_names_are_plain_and_different() -> None:
    assert sample_names(None, 3) == ["0", "1", "2"]
    names = sample_names(["7", "a/b", "a b", "..", "é"], 5)
    assert names == ["7_0", "a-b_1", "a-b_2", ".._3", "é_4"]


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
