"""Whose turn it is, and what samples are called."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdiff.data.turns import evenly, sample_names, take_turns


@settings(deadline=None, derandomize=True)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 200))
def test_classes_take_turns(labels: int, speakers: int, count: int) -> None:
    turns = take_turns({"label": labels, "speaker": speakers}, labels * speakers + count)
    pairs = list(zip(turns["label"].tolist(), turns["speaker"].tolist(), strict=True))
    assert len(set(pairs[: labels * speakers])) == labels * speakers
    assert [label for label, _ in pairs] == [i % labels for i in range(len(pairs))]
    if speakers > 1 and labels > 1:
        assert pairs[1] == (1, 1)
    # More samples change nothing in the first.
    fewer = take_turns({"label": labels, "speaker": speakers}, count)
    assert all(torch.equal(fewer[name], turns[name][:count]) for name in turns)


def test_turns_without_classes() -> None:
    assert take_turns({}, 3) == {}


def test_names_of_files() -> None:
    assert sample_names(["a/b c", "Größe"], 2) == ["a-b-c_0", "Größe_1"]
    assert sample_names(["-x" * 200], 1) == ["x" + "-x" * 24 + "-_0"]
    assert sample_names(None, 2) == ["0", "1"]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    total=st.integers(1, 300),
    count=st.integers(1, 500),
    ends=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_evenly_takes_the_same_share_of_every_stretch(
    total: int, count: int, ends: tuple[float, float]
) -> None:
    places = evenly(total, count)
    assert len(places) == count
    assert places.min() >= 0
    assert places.max() < total
    assert bool((places.diff() >= 0).all())
    first, last = sorted(int(end * total) for end in ends)
    taken = int(((places >= first) & (places < last)).sum())
    assert abs(taken - (last - first) * count / total) <= 1
    if count <= total:
        assert len(places.unique()) == count
