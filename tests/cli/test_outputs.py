"""Where samples go: what may go there, and what is in the way."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path

import pytest

from mmdiff.cli.outputs import Destination
from mmdiff.errors import UserError

SUFFIXES = (".png", ".gif", ".wav")


def test_what_goes_there_follows_from_the_name(tmp_path: Path) -> None:
    (tmp_path / "dir.gif").mkdir()
    suffixes = {
        "a.png": ".png",
        "A.PNG": ".png",
        "a.gif": ".gif",
        "A.Wav": ".wav",
        "a": "",
        "a/": "",
        "a.png/": "",
        f"{tmp_path}/dir.gif": "",
        f"{tmp_path}": "",
        "runs.d/a": "",
    }
    assert {out: Destination.parse(out, SUFFIXES, "it").suffix for out in suffixes} == suffixes
    for out in ("a.jpg", "a.png.bak", "a.mp3"):
        with pytest.raises(UserError, match=r"is not for sounds: use one of \.png, \.gif, \.wav,"):
            Destination.parse(out, SUFFIXES, "sounds")
    for out in (".wav", "a/.PNG"):
        with pytest.raises(UserError, match="no name before its suffix"):
            Destination.parse(out, SUFFIXES, "it")
    with pytest.raises(UserError, match="--out is empty"):
        Destination.parse("", SUFFIXES, "it")


def test_files_are_named_and_never_in_the_way(tmp_path: Path) -> None:
    one = Destination(tmp_path / "new" / "a.wav", ".wav")
    many = Destination(tmp_path / "many", "")
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
        Destination(tmp_path / "file" / "a.wav", ".wav"),
        Destination(tmp_path / "file" / "a", ""),
    ):
        with pytest.raises(UserError, match="choose another"):
            destination.prepare(["a"], ".wav", True)
    (tmp_path / "many" / "a.wav").mkdir(parents=True)
    with pytest.raises(UserError, match=r"a\.wav is a folder: choose another"):
        Destination(tmp_path / "many", "").prepare(["a"], ".wav", True)


def test_a_folder_that_cannot_be_written_to_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(dir: Path) -> None:
        raise OSError(errno.EROFS, f"Read-only file system: {dir}")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    for suffix in (".wav", ""):
        with pytest.raises(UserError, match=r"nothing can be written to .*Read-only.*another"):
            Destination(tmp_path / "a", suffix).prepare(["a"], ".wav", True)
