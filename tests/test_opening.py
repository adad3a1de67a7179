"""Which label and which speaker each sample gets."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mmdiff
from mmdiff.errors import UserError
from mmdiff.opening import choose_samples


def _info(labels: int, speakers: int, sound: bool = True) -> mmdiff.Info:
    return mmdiff.Info(
        (1, 800) if sound else (1, 8, 8),
        labels=tuple(f"label{i}" for i in range(labels)),
        speakers=tuple(f"speaker{i}" for i in range(speakers)),
        sample_rate=8000 if sound else None,
    )


@settings(derandomize=True, deadline=None)
@given(st.integers(1, 12), st.integers(1, 7), st.integers(1, 3))
def test_all_pairs_come_equally_often(labels: int, speakers: int, rounds: int) -> None:
    info = _info(labels, speakers)
    wanted = choose_samples(info, "m", None, None, rounds * labels * speakers)
    assert wanted.label is not None
    assert wanted.speaker is not None
    pairs = list(zip(wanted.label, wanted.speaker, strict=True))
    assert set(Counter(pairs).values()) == {rounds}
    assert len(set(pairs)) == labels * speakers
    # Both change from sample to sample; the speakers are one further after all the labels.
    assert wanted.label == [info.labels[i % labels] for i in range(len(pairs))]
    assert wanted.speaker == [
        info.speakers[(i % labels + i // labels) % speakers] for i in range(len(pairs))
    ]
    # Whatever comes again comes only after all pairs.
    assert len(set(pairs[: labels * speakers])) == labels * speakers
    # What is fixed has no turn, and the others take theirs as if it were not there.
    one = choose_samples(info, "m", info.labels[-1], None, 8)
    assert one.label == [info.labels[-1]] * 8
    assert one.speaker == [info.speakers[i % speakers] for i in range(8)]
    one = choose_samples(info, "m", None, info.speakers[-1], 8)
    assert one.label == [info.labels[i % labels] for i in range(8)]
    assert one.speaker == [info.speakers[-1]] * 8


def test_conditions_are_the_classes_of_the_names() -> None:
    given = choose_samples(_info(2, 3), "m", None, None, 8).conditions()
    assert given["label"].tolist() == [0, 1, 0, 1, 0, 1, 0, 1]
    assert given["speaker"].tolist() == [0, 1, 1, 2, 2, 0, 0, 1]
    given = choose_samples(_info(3, 2), "m", None, "speaker1", 4).conditions()
    assert given["speaker"].tolist() == [1, 1, 1, 1]
    assert choose_samples(_info(0, 0), "m", None, None, 8).conditions() == {}
    assert choose_samples(_info(0, 2), "m", None, None, 3).conditions().keys() == {"speaker"}


def test_how_many_where_nobody_says() -> None:
    assert choose_samples(_info(10, 6), "m", None, None, None).count == 10
    assert choose_samples(_info(10, 6), "m", "label7", None, None).count == 1
    assert choose_samples(_info(0, 0), "m", None, None, None).count == 1
    assert choose_samples(_info(10, 0, sound=False), "m", None, None, None).count == 64
    assert choose_samples(_info(10, 6), "m", None, None, 3).count == 3


def test_what_a_file_says_of_its_samples() -> None:
    wanted = choose_samples(_info(3, 2), "m", None, None, 6)
    assert wanted.said(0, 6) == {
        "Label": "label0, label1, label2",
        "Speaker": "speaker0, speaker1",
    }
    assert wanted.said(3, 1) == {"Label": "label0", "Speaker": "speaker1"}
    assert wanted.said(4, 1) == {"Label": "label1", "Speaker": "speaker0"}
    assert choose_samples(_info(0, 0), "m", None, None, 1).said(0, 1) == {}
    many = choose_samples(_info(1000, 0), "m", None, None, 1000).said(0, 1000)["Label"]
    assert many.startswith("label0, label1, ")
    assert len(many) <= 200  # a WAV's comment is short


def test_unknown_names_are_one_sentence() -> None:
    with pytest.raises(UserError, match="has no speaker 'x'; it knows speaker0, speaker1"):
        choose_samples(_info(3, 2), "m", None, "x", 1)
    with pytest.raises(UserError, match="without labels: leave --label out"):
        choose_samples(_info(0, 2), "m", "x", None, 1)
