"""Which classes each sample gets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdiff.cli.wanted import Wanted, choose_samples
from mmdiff.conditions import Class, Condition, Signal
from mmdiff.errors import UserError


def _kinds(labels: int, speakers: int) -> Mapping[str, Condition]:
    counts = {"label": labels, "speaker": speakers}
    named = {n: Class(c, tuple(f"{n}{i}" for i in range(c))) for n, c in counts.items() if c}
    return {**named, "mel": Signal(4)}  # which has no classes that could take turns


def _choose(
    labels: int, speakers: int, count: int | None = None, usual: int | None = None, **told: str
) -> Wanted:
    return choose_samples(_kinds(labels, speakers), told, count, usual, "m")


@settings(derandomize=True, deadline=None)
@given(st.integers(1, 12), st.integers(1, 7), st.integers(1, 3))
def test_all_pairs_come_equally_often(labels: int, speakers: int, rounds: int) -> None:
    names = _choose(labels, speakers, rounds * labels * speakers).names()
    pairs = list(zip(names["label"], names["speaker"], strict=True))
    assert set(Counter(pairs).values()) == {rounds}
    # Whatever comes again comes only after all pairs.
    assert len(set(pairs[: labels * speakers])) == labels * speakers
    # Both change from sample to sample; the speakers are one further after all the labels.
    assert pairs == [
        (f"label{i % labels}", f"speaker{(i % labels + i // labels) % speakers}")
        for i in range(len(pairs))
    ]
    # What is told has no turn, and the others take theirs as if it were not there.
    one = _choose(labels, speakers, 8, label=f"label{labels - 1}").names()
    assert one["label"] == [f"label{labels - 1}"] * 8
    assert one["speaker"] == [f"speaker{i % speakers}" for i in range(8)]
    one = _choose(labels, speakers, 8, speaker=str(speakers - 1)).names()
    assert one["label"] == [f"label{i % labels}" for i in range(8)]
    assert one["speaker"] == [f"speaker{speakers - 1}"] * 8


def test_values_are_the_classes_of_the_names() -> None:
    values = _choose(2, 3, 8).values
    assert values["label"].tolist() == [0, 1, 0, 1, 0, 1, 0, 1]
    assert values["speaker"].tolist() == [0, 1, 1, 2, 2, 0, 0, 1]
    assert _choose(0, 0, 8).values == {}
    assert _choose(0, 2, 3).values.keys() == {"speaker"}


def test_how_many_where_nobody_says() -> None:
    assert _choose(10, 6).count == 10
    assert _choose(10, 6, label="label7").count == 1
    assert _choose(10, 6, label="label7").turns == 0
    assert _choose(0, 0).count == 1
    assert _choose(10, 0, usual=64).count == 64
    assert _choose(10, 6, 3, usual=64).count == 3


def test_what_a_file_says_of_its_samples() -> None:
    wanted = _choose(3, 2, 6)
    assert wanted.said(0, 6) == {
        "Label": "label0, label1, label2",
        "Speaker": "speaker0, speaker1",
    }
    assert wanted.said(4, 1) == {"Label": "label1", "Speaker": "speaker0"}
    assert _choose(0, 0).said(0, 1) == {}
    many = _choose(1000, 0).said(0, 1000)["Label"]
    assert many.startswith("label0, label1, ")
    assert len(many) <= 200  # a WAV's comment is short


def test_unknown_names_are_one_sentence() -> None:
    with pytest.raises(UserError, match="--speaker 'x' is unknown to m: use speaker0, speaker1"):
        _choose(3, 2, speaker="x")
    with pytest.raises(UserError, match="--label '3' is unknown"):
        _choose(3, 2, label="3")
    with pytest.raises(UserError, match="without a label: leave --label out"):
        _choose(0, 2, label="x")
