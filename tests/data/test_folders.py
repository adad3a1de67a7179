"""Which files of a folder are data, and what is said of the others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mmdiff.data.folders import describe, find, for_each, identity, some, warn_of
from mmdiff.errors import UserError


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def test_find(tmp_path: Path) -> None:
    touch(tmp_path, "b.x", "a/c/D.X", "a.y", ".hidden.x", ".git/a.x", "__MACOSX/a.x", "a/.x/b.x")
    found = find(tmp_path, (".x",), "things")
    assert found.files == {"a/c/D.X": 7, "b.x": 3}
    assert found.left_out == {
        ".git/": "hidden",
        "__MACOSX/": "hidden",
        "a/.x/": "hidden",
        ".hidden.x": "hidden",
        "a.y": "of another kind",
    }
    assert find(str(tmp_path), (".x",), "things") == found
    with pytest.raises(UserError, match=r"holds no things \(.*, 3 of another kind \(.*\)\): put"):
        find(tmp_path, (".z", ".w"), "things")
    with pytest.raises(UserError, match="does not exist"):
        find(tmp_path / "nowhere", (".x",), "things")
    with pytest.raises(UserError, match="is not a folder"):
        find(tmp_path / "b.x", (".x",), "things")


@pytest.mark.parametrize(
    "written",
    [("model.safetensors", "losses.csv"), ("resume/state.safetensors",)],
)
def test_runs_are_no_data(tmp_path: Path, written: tuple[str, ...]) -> None:
    touch(tmp_path, "cat/1.x", "runs/mine/samples.x", "runs/mine/progress/1.x", "runs/note.x")
    touch(tmp_path / "runs" / "mine", *written)
    touch(tmp_path, "cvs/resume/1.x", "models/model.safetensors", "models/1.x")  # these are none
    found = find(tmp_path, (".x",), "things")
    assert list(found.files) == ["cat/1.x", "cvs/resume/1.x", "models/1.x", "runs/note.x"]
    assert found.left_out["runs/mine/"] == "written by a training run"


def test_only_regular_files_are_data(tmp_path: Path) -> None:
    """Opening a pipe waits for whoever writes to it."""
    touch(tmp_path, "a.x")
    os.mkfifo(tmp_path / "pipe.x")
    (tmp_path / "gone.x").symlink_to(tmp_path / "nowhere")
    (tmp_path / "linked.x").symlink_to(tmp_path / "a.x")
    found = find(tmp_path, (".x",), "things")
    assert list(found.files) == ["a.x", "linked.x"]
    assert found.left_out == {"pipe.x": "not a file", "gone.x": "not a file"}


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind root")
def test_a_folder_that_may_not_be_read_is_said(tmp_path: Path) -> None:
    touch(tmp_path, "a.x", "secret/b.x")
    (tmp_path / "secret").chmod(0)
    found = find(tmp_path, (".x",), "things")
    assert found.left_out == {"secret/": "unreadable: Permission denied"}


def test_links_to_folders_are_followed(tmp_path: Path) -> None:
    """To classes that lie elsewhere, to links, and to a folder further up."""
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    touch(root, "cat/a.x")
    touch(elsewhere, "dogs/deep/b.x", "c.x")
    (root / "dog").symlink_to(elsewhere / "dogs")
    (root / "newt").symlink_to(root / "more")
    (root / "more").symlink_to(elsewhere, target_is_directory=True)
    (root / ".hidden").symlink_to(elsewhere)
    (root / "gone").symlink_to(tmp_path / "nowhere")
    # Round in circles, and back to what lies there already.
    (root / "cat" / "up").symlink_to(root)
    (elsewhere / "dogs" / "up").symlink_to(elsewhere)
    (root / "all").symlink_to(root / "cat")
    expected = ["cat/a.x", "dog/deep/b.x", "more/c.x"]
    assert list(find(root, (".x",), "things").files) == expected
    (root / "linked").symlink_to(root)
    assert list(find(root / "linked", (".x",), "things").files) == expected


def test_identity_is_the_content_and_not_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("here", "there"):
        touch(tmp_path / folder, "a.x", "b/c.x")
    monkeypatch.chdir(tmp_path / "here")
    spelt = (".", "./", "../here", tmp_path / "here", f"{tmp_path}/there/", "b/..")
    whole = [find(root, (".x",), "things").files for root in spelt]
    assert len({identity(files, size=8) for files in whole}) == 1
    first = identity(whole[0], size=8)
    assert first != identity(whole[0], size=9)
    assert first != identity({**whole[0], "a.x": 99}, size=8)
    assert first != identity({"a.x": 3}, size=8)
    assert identity({"b": 1, "a": 2}) == identity({"a": 2, "b": 1})


def test_what_is_left_out_is_said_with_number_names_and_reason(tmp_path: Path) -> None:
    left_out = {f"{k}.x": "hidden" for k in range(5)} | {"a.x": "unreadable: cut", "b/": "silent"}
    said = "left out: 5 hidden (0.x, 1.x, 2.x, ...), 1 unreadable (a.x: cut), 1 silent (b/)"
    assert describe(left_out) == said
    with pytest.warns(UserWarning, match=r".*: left out: 5 hidden \(0\.x"):
        warn_of(tmp_path, left_out)
    assert some([os.fsdecode(b"\xff.x")]) == "\ufffd.x"


def test_for_each_keeps_the_order() -> None:
    assert for_each(lambda value: 2 * value, range(100), "doubling") == list(range(0, 200, 2))
