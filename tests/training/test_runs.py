"""How long runs are, and whose turn it is."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdiff.training.runs import configure, evenly, looks, sample_names, take_turns


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


@pytest.mark.parametrize(
    ("items", "epochs", "steps", "expected"),
    [(100, 3, None, 36), (100, 3, 5, 5), (5, 3, None, 3), (8, 1, None, 1)],
)
def test_the_length_of_a_run(items: int, epochs: int, steps: int | None, expected: int) -> None:
    config, made = configure({"batch": 8, "lr": 0.5}, items, epochs, steps, seed=7)
    assert (config.steps, config.batch, config.lr, config.seed) == (expected, 8, 0.5, 7)
    assert made == {"epochs": round(expected * 8 / items, 2), "seed": 7}


@pytest.mark.parametrize(("steps", "warmup"), [(10_000, 500), (400, 40), (5, 0)])
def test_a_warm_up_is_a_tenth_of_the_run_at_most(steps: int, warmup: int) -> None:
    config, _ = configure({"batch": 8, "warmup": 500}, 100, 1, steps, seed=0)
    assert config.warmup == warmup


@pytest.mark.parametrize(
    ("steps", "epoch", "every"), [(500, 937, 1), (500, 7, 72), (1600, 84, 20), (1, 1, 1)]
)
def test_looks_are_so_many_steps_apart_at_least(steps: int, epoch: int, every: int) -> None:
    assert looks(steps, epoch) == every


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
