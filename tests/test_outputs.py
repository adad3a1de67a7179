"""Where samples go: kinds of destination, what may go there, and what is in the way."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path

import pytest

from mmdiff.errors import UserError
from mmdiff.outputs import Destination


def test_kind_follows_from_the_name(tmp_path: Path) -> None:
    (tmp_path / "dir.gif").mkdir()
    kinds = {
        "a.png": "png",
        "A.PNG": "png",
        "a.gif": "gif",
        "a.wav": "wav",
        "A.Wav": "wav",
        "a": "folder",
        "a/": "folder",
        "a.png/": "folder",
        "a.wav/": "folder",
        f"{tmp_path}/dir.gif": "folder",
        f"{tmp_path}": "folder",
        "runs.d/a": "folder",
    }
    assert {out: Destination.parse(out).kind for out in kinds} == kinds
    for out in ("a.jpg", "a.png.bak", "a.mp3"):
        with pytest.raises(UserError, match=r"\.png.*\.gif.*\.wav"):
            Destination.parse(out)
    for out in (".wav", "a/.PNG"):
        with pytest.raises(UserError, match="no name before its suffix"):
            Destination.parse(out)
    with pytest.raises(UserError, match="--out is empty"):
        Destination.parse("")


def test_sound_and_pictures_go_where_they_can() -> None:
    for sound, refused in ((True, "gif"), (False, "wav")):
        for kind in ("png", "gif", "wav", "folder"):
            destination = Destination(Path(f"x.{kind}"), kind)
            if kind != refused:
                destination.check(sound)
                continue
            with pytest.raises(UserError, match=rf"x\.{kind}"):
                destination.check(sound)


def test_files_are_named_and_never_in_the_way(tmp_path: Path) -> None:
    one = Destination(tmp_path / "new" / "a.wav", "wav")
    many = Destination(tmp_path / "many", "folder")
    assert one.prepare(["7_0", "8_1"], ".wav", False) == [tmp_path / "new" / "a.wav"]
    files = [tmp_path / "many" / "7_0.wav", tmp_path / "many" / "8_1.wav"]
    assert many.prepare(["7_0", "8_1"], ".wav", False) == files
    assert (tmp_path / "new").is_dir()
    files[1].touch()
    with pytest.raises(UserError, match=r"8_1\.wav exists already: add --overwrite"):
        many.prepare(["7_0", "8_1"], ".wav", False)
    files[0].touch()
    with pytest.raises(UserError, match=r"7_0\.wav exists already \(and 1 more\)"):
        many.prepare(["7_0", "8_1"], ".wav", False)
    assert many.prepare(["7_0", "8_1"], ".wav", True) == files
    assert many.prepare(["7_0", "8_1"], ".png", False) != files


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for destination in (
        Destination(tmp_path / "file" / "a.wav", "wav"),
        Destination(tmp_path / "file" / "a", "folder"),
    ):
        with pytest.raises(UserError, match="choose another --out"):
            destination.prepare(["a"], ".wav", True)
    (tmp_path / "many" / "a.wav").mkdir(parents=True)
    with pytest.raises(UserError, match=r"a\.wav is a folder: choose another --out"):
        Destination(tmp_path / "many", "folder").prepare(["a"], ".wav", True)


def test_a_folder_that_cannot_be_written_to_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(dir: Path) -> None:
        raise OSError(errno.EROFS, f"Read-only file system: {dir}")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    for kind in ("wav", "folder"):
        with pytest.raises(
            UserError, match=r"nothing can be written to .*Read-only.*another --out"
        ):
            Destination(tmp_path / "a", kind).prepare(["a"], ".wav", True)
