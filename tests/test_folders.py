"""Which files of a folder belong to which split and class."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdiff.errors import UserError
from mmdiff.folders import choose, find, for_each, warn_of_skipped

NAMES = st.sets(st.text("abc", min_size=1, max_size=6), min_size=2, max_size=60)


@given(NAMES, st.text("abc", min_size=7, max_size=7))
@settings(derandomize=True, deadline=None)
def test_a_tenth_is_held_out_and_stays_so(names: set[str], added: str) -> None:
    files = sorted(names)
    train, test = (choose(files, split)[0] for split in ("train", "test"))
    assert sorted(train + test) == files
    assert len(test) == max(1, len(files) // 10)
    # One more file: it may join the test split, or one other file may, or leave it.
    assert len(set(choose([*files, added], "test")[0]) ^ set(test)) <= 2


@given(NAMES, st.booleans())
@settings(derandomize=True, deadline=None)
def test_named_splits_and_classes(names: set[str], loose: bool) -> None:
    files = [f"{split}/{name[0]}/{name}" for name in sorted(names) for split in ("train", "test")]
    files += ["train/x"] if loose else []
    train, classes = choose(files, "train")
    test, same = choose(files, "test")
    assert all(name.startswith("train/") for name in train)
    assert all(name.startswith("test/") for name in test)
    assert len(train) + len(test) == len(files)
    several = len({name[0] for name in names}) > 1
    expected = {file: file.split("/")[1] for file in files} if several and not loose else {}
    assert classes == same == expected


@pytest.mark.parametrize(
    ("others", "said"),
    [
        (["val/a/3"], "has val beside it"),
        (["test/a/3", "val/a/4"], "has test, val beside it"),
        (["test/a/3", "cover.png"], "has cover.png, test beside it"),
        ([], "has no other"),
    ],
)
def test_a_split_does_not_become_a_class(others: list[str], said: str) -> None:
    with pytest.raises(UserError, match=rf"folder train needs .* {said}: .*folder:PATH"):
        choose(["train/a/1", "train/b/2", *others], "train")


def test_find(tmp_path: Path) -> None:
    for name in ("b.x", "a/c/D.X", "a.y", ".hidden.x", ".git/a.x", "__MACOSX/a.x", "a/.x/b.x"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert find(tmp_path, (".x",), "things") == ["a/c/D.X", "b.x"]
    with pytest.raises(UserError, match=r"holds no things: put \.z, \.w files into it"):
        find(tmp_path, (".z", ".w"), "things")


def test_links_to_folders_are_followed(tmp_path: Path) -> None:
    """To classes that lie elsewhere, to links, and to a folder further up."""
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    for path in (root / "cat" / "a.x", elsewhere / "dogs" / "deep" / "b.x", elsewhere / "c.x"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (root / "dog").symlink_to(elsewhere / "dogs")
    (root / "newt").symlink_to(root / "more")
    (root / "more").symlink_to(elsewhere, target_is_directory=True)
    (root / ".hidden").symlink_to(elsewhere)
    (root / "gone").symlink_to(tmp_path / "nowhere")
    # Round in circles, and back to what lies there already.
    (root / "cat" / "up").symlink_to(root)
    (elsewhere / "dogs" / "up").symlink_to(elsewhere)
    (root / "all").symlink_to(root / "cat")
    assert find(root, (".x",), "things") == ["cat/a.x", "dog/deep/b.x", "more/c.x"]
    (root / "linked").symlink_to(root)
    assert find(root / "linked", (".x",), "things") == ["cat/a.x", "dog/deep/b.x", "more/c.x"]


@pytest.mark.parametrize(
    ("names", "said"),
    [("a", "1 cut file skipped in .*: a$"), ("abcd", r"4 cut files skipped .*: a, b, c, \.\.\.$")],
)
def test_skipped_files_are_counted(tmp_path: Path, names: str, said: str) -> None:
    with pytest.warns(UserWarning, match=said):
        warn_of_skipped(tmp_path, names, "cut")


def test_for_each_keeps_the_order() -> None:
    assert for_each(lambda value: 2 * value, range(100), "doubling") == list(range(0, 200, 2))
