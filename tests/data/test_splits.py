"""Which files of a folder belong to which split and class."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdiff.data.splits import choose, describe_classes
from mmdiff.errors import UserError

NAMES = st.sets(st.text("abc", min_size=1, max_size=6), min_size=2, max_size=60)
CLASSES = st.dictionaries(st.sampled_from("pqrst"), st.integers(1, 40), min_size=2)


def both(files: list[str]) -> tuple[list[str], list[str]]:
    return choose(files, "train").names, choose(files, "test").names


def classes(files: list[str], split: str = "train") -> dict[str, str]:
    chosen = choose(files, split)
    named = zip(chosen.names, chosen.targets, strict=True)
    return {name: chosen.labels[target] for name, target in named if target >= 0}


@given(NAMES, st.text("abc", min_size=7, max_size=7))
@settings(derandomize=True, deadline=None)
def test_a_tenth_is_held_out_and_stays_so(names: set[str], added: str) -> None:
    files = sorted(names)
    train, test = both(files)
    assert sorted(train + test) == files
    assert len(test) == max(1, len(files) // 10)
    # One more file: it may join the test split, or one other file may, or leave it.
    assert len(set(both([*files, added])[1]) ^ set(test)) <= 2


@given(CLASSES, st.sampled_from("pqrst"))
@settings(derandomize=True, deadline=None)
def test_each_class_gives_its_tenth(counts: dict[str, int], grown: str) -> None:
    pairs = [(name, index) for name, count in counts.items() for index in range(count)]
    files = sorted(f"{name}/{index}.x" for name, index in pairs)
    train, test = both(files)
    trained, held = (Counter(name[0] for name in part) for part in (train, test))
    assert set(trained) == set(counts)
    if max(counts.values()) == 1:  # nothing can be held out
        assert train == test == files
        return
    assert sorted(train + test) == files
    assert held == {name: max(1, n // 10) for name, n in counts.items() if n > 1}
    assert choose(files, "train").labels == choose(files, "test").labels == tuple(sorted(counts))
    changed = set(both([*files, f"{grown}/new.x"])[1]) ^ set(test)
    assert len(changed) <= 2
    assert all(name[0] == grown for name in changed)


def test_a_single_file_serves_both() -> None:
    assert both(["a"]) == (["a"], ["a"])


@given(NAMES)
@settings(derandomize=True, deadline=None)
def test_named_splits_and_classes(names: set[str]) -> None:
    files = [f"{split}/{name[0]}/{name}" for name in sorted(names) for split in ("train", "test")]
    train, test = both(files)
    assert all(name.startswith("train/") for name in train)
    assert all(name.startswith("test/") for name in test)
    assert len(train) + len(test) == len(files)
    several = len({name[0] for name in names}) > 1
    for split, part in (("train", train), ("test", test)):
        expected = {file: file.split("/")[1] for file in part} if several else {}
        assert classes(files, split) == expected


@pytest.mark.parametrize("train", ["train", "Train", "TRAINING"])
@pytest.mark.parametrize("test", ["test", "Test", "testing", "val", "Valid", "VALIDATION"])
def test_names_of_splits(train: str, test: str) -> None:
    files = [f"{train}/cat/1", f"{train}/dog/2", f"{test}/cat/3"]
    assert both(files) == (files[:2], files[2:])
    assert choose(files, "test").labels == ("cat", "dog")


def test_what_lies_beside_the_splits_is_left_out() -> None:
    files = ["train/1", "train/2", "test/3", "val/4", "more/5", "cover"]
    assert both(files) == (["train/1", "train/2"], ["test/3"])
    assert set(choose(files, "train").left_out) == {"val/4", "more/5", "cover"}


def test_a_folder_of_training_files_alone_gives_a_tenth() -> None:
    train, test = both([f"train/{index}" for index in range(20)] + ["cover"])
    assert (len(train), len(test)) == (18, 2)


@pytest.mark.parametrize(
    ("others", "said"),
    [
        (["train/a/1", "train/b/2", "bus/3", "car/4"], "train needs a folder test .* bus, car:"),
        (["cat/1", "dog/2", "Test/cat/3"], "Test needs a folder train .* has cat, dog:"),
        (["test/1", "val/2"], "test needs a folder train .* has val:"),
    ],
)
def test_a_split_does_not_become_a_class(others: list[str], said: str) -> None:
    with pytest.raises(UserError, match=rf"folder {said} .*folder:PATH"):
        choose(others, "train")


def test_a_stray_file_does_not_drop_the_classes() -> None:
    files = [f"{name}/{index}" for name in ("cat", "dog") for index in range(10)]
    chosen = choose([*files, "readme"], "train")
    assert chosen.labels == ("cat", "dog")
    assert chosen.left_out == {"readme": "outside of the folders of the classes"}
    assert chosen.note == ""
    train, test = both([*files, "readme"])
    assert sorted(train + test) == files


def test_where_most_files_are_stray_there_are_no_classes() -> None:
    files = ["cat/1", "dog/2", "a", "b", "c"]
    chosen = choose(files, "train")
    assert (chosen.labels, chosen.left_out, set(chosen.targets)) == ((), {}, {-1})
    assert chosen.note == "no classes: 3 of 5 files lie outside of their folders"
    train, test = both(files)
    assert sorted(train + test) == sorted(files)


def test_a_class_that_nothing_is_trained_on_is_not_offered() -> None:
    files = ["train/cat/1", "train/dog/2", "test/cat/3", "test/newt/4"]
    for split in ("train", "test"):
        chosen = choose(files, split)
        assert chosen.labels == ("cat", "dog")
        assert chosen.left_out == {"test/newt/4": "of a class without a training file"}
    assert both(files)[1] == ["test/cat/3"]


def test_a_class_whose_training_files_are_all_broken_is_not_offered() -> None:
    files = [f"{name}/{index}" for name in ("cat", "dog") for index in range(10)]
    held = next(name for name in both(files)[1] if name.startswith("dog"))
    for split in ("train", "test"):
        chosen = choose(files, split, lambda name: name.startswith("cat") or name == held)
        assert chosen.labels == ("cat",)
        assert chosen.left_out == {held: "of a class without a training file"}


def test_a_flat_test_folder_is_no_use_to_classes() -> None:
    """As of competitions, whose test pictures have no labels: training files are held out."""
    files = [f"train/{name}/{index}" for name in ("cat", "dog") for index in range(10)]
    chosen = choose([*files, "test/1", "test/2"], "test")
    assert len(chosen.names) == 2
    assert set(chosen.left_out) == {"test/1", "test/2"}


def test_classes_are_counted() -> None:
    assert describe_classes(("cat", "dog"), [1, 1, 0, 1]) == "cat 1, dog 3"
    many = describe_classes([f"c{index:02}" for index in range(20)], range(20))
    assert many.startswith("c00 1, c01 1, ")
    assert many.endswith(", c11 1, and 8 more")
