"""mmdiff spectrogram draws a sound file, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from mmdiff.audio.pictures import spectrogram_picture
from mmdiff.audio.sound import read


@pytest.fixture
def tone(tmp_path: Path) -> Path:
    path = tmp_path / "tone.wav"
    soundfile.write(path, 0.5 * np.sin(np.arange(4000) * 0.3), 8000)
    return path


def _pixels(path: str) -> np.ndarray[Any, Any]:
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_draws_what_the_library_draws(run: Any, tone: Path) -> None:
    assert run("spectrogram", tone.name).out == "wrote tone.png\n"
    assert run("spectrogram", tone, "--out", "a/b.png").out == "wrote a/b.png\n"
    expected = np.asarray(spectrogram_picture(read(tone)[0], 8000, "tone.wav"))
    assert np.array_equal(_pixels("tone.png"), expected)
    assert np.array_equal(_pixels("a/b.png"), expected)


def test_never_overwrites_unasked(run: Any, tone: Path) -> None:
    Path("tone.png").write_text("mine")
    run("spectrogram", tone.name).refused("tone.png", "--overwrite")
    assert Path("tone.png").read_text() == "mine"
    assert run("spectrogram", tone.name, "--overwrite").code == 0
    assert _pixels("tone.png").ndim == 3


def test_what_cannot_be_done_is_one_sentence(run: Any, tone: Path) -> None:
    run("spectrogram", "nothing.wav").refused("nothing.wav", "check its name")
    for folder in ("", ".", "..", "/"):
        run("spectrogram", folder).refused("is a folder")
    Path("foreign.wav").write_text("this is text")
    run("spectrogram", "foreign.wav").refused("foreign.wav")
    for out in ("x.wav", "x.gif", "x/", "x"):
        run("spectrogram", tone, "--out", out).refused(f"--out {out}", ".png")
    run("spectrogram", tone, "--out", "x.jpg").refused("x.jpg", ".png")
    assert {path.name for path in Path(".").iterdir()} == {"tone.wav", "foreign.wav"}
