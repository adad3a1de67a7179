"""mmdiff restore: what it keeps, writes, refuses and says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from mmdiff.video import Video

STEP = 1 / 32768  # of 16 bits
QUICK = ("--steps", 2)


@pytest.fixture
def picture() -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)
    Image.fromarray(pixels).save("x.png")
    return Path("x.png")


@pytest.fixture
def mask() -> Path:
    pixels = np.zeros((8, 8), np.uint8)
    pixels[5:] = 255
    Image.fromarray(pixels).save("mask.png")
    return Path("mask.png")


@pytest.fixture
def sound() -> Path:
    wave = 0.3 * np.sin(np.arange(800) / 5)
    soundfile.write("x.wav", wave, 8000, subtype="PCM_16")
    return Path("x.wav")


@pytest.fixture
def video(save: Any, tmp_path: Path) -> Path:
    """A model of films, beside x.apng, that is one."""
    light = torch.rand(1, 8, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    Video(10.0).write(light, tmp_path / "x.apng")
    path: Path = save(tmp_path / "m.safetensors", (1, 8, 8, 8), modality=Video(10.0))
    return path


def _pixels(path: Path | str) -> Any:
    with Image.open(path) as image:
        return np.array(image, np.int64)


def _said(path: str) -> dict[str, str]:
    if path.endswith(".png"):
        with Image.open(path) as image:
            return dict(image.text)  # type: ignore[attr-defined]
    with soundfile.SoundFile(path) as file:
        return dict(line.split(": ", 1) for line in file.comment.split("\n"))


def test_known_pixels_come_back(run: Any, labelled: Path, picture: Path, mask: Path) -> None:
    options = ("--mask", mask, "--label", 7, "--seed", 3, *QUICK)
    assert run("restore", labelled, picture, *options, "--out", "y.png").out == "wrote y.png\n"
    assert np.array_equal(_pixels("y.png")[:5], _pixels(picture)[:5])
    assert not np.array_equal(_pixels("y.png")[5:], _pixels(picture)[5:])
    said = _said("y.png")
    assert "Generated" in said["Description"]
    assert (said["Restored from"], said["Restored by"]) == ("x.png", "mask mask.png")
    assert (said["Label"], said["Seed"], said["Solver"]) == ("7", "3", "dpmpp2msde")
    assert (said["Steps"], said["Guidance"]) == ("2", "none")


def test_answers_beside_mean_and_deviation(
    run: Any, labelled: Path, picture: Path, mask: Path
) -> None:
    options = (labelled, picture, "--mask", mask, "-n", 3, *QUICK)
    assert run("restore", *options, "--out", "y.png").code == 0
    assert run("restore", *options, "--out", "y/").code == 0
    assert sorted(p.name for p in Path("y").iterdir()) == ["x_0.png", "x_1.png", "x_2.png"]
    answers = np.stack([_pixels(f"y/x_{index}.png") for index in range(3)])
    assert np.array_equal(answers[:, :5], _pixels(picture)[None, :5].repeat(3, 0))
    page = _pixels("y.png")
    side = 56  # each pixel 7 wide
    starts = [x for x in range(page.shape[1] - side) if _is_at(page, x, answers[0], side)]
    assert starts, "the first answer is on the page"


def _is_at(page: Any, x: int, image: Any, side: int) -> bool:
    """Whether `image`, enlarged to `side`, stands on the page at the column `x`."""
    enlarged = image.repeat(7, 0).repeat(7, 1)
    return any(
        np.array_equal(page[y : y + side, x : x + side], enlarged)
        for y in range(page.shape[0] - side)
    )


def test_known_samples_come_back(run: Any, speech: Path, sound: Path) -> None:
    options = ("--gap", "0.02:0.03", "--gap", "0.05:0.06", "--speaker", "theo", *QUICK)
    assert run("restore", speech, sound, *options, "--out", "y.wav").code == 0
    before, after = (soundfile.read(path)[0] for path in (sound, "y.wav"))
    changed = np.abs(after - before) > STEP
    assert not changed[:160].any()
    assert not changed[240:400].any()
    assert not changed[480:].any()
    assert changed[160:240].mean() > 0.9
    assert changed[400:480].mean() > 0.9
    said = _said("y.wav")
    assert said["Restored by"] == "gap 0.02:0.03, 0.05:0.06"
    assert said["Speaker"] == "theo"


def test_sounds_of_any_rate_and_length(run: Any, speech: Path) -> None:
    soundfile.write("cd.wav", 0.1 * np.ones((13_230, 2)), 44_100)  # 0.3 s
    assert run("restore", speech, "cd.wav", "--gap", "0.1:0.11", *QUICK).code == 0
    assert soundfile.info("restored.wav").frames == 2400


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--extend", 2), "extend 2"),
        (("--enlarge", 2), "enlarge 2"),
        (("--deblur", 1.5), "deblur 1.5"),
        (("--denoise", 0.2), "denoise 0.2"),
        (("--vary", 0.6), "vary 0.6"),
    ],
)
def test_repairs_of_pictures(
    run: Any, labelled: Path, picture: Path, option: tuple[object, ...], said: str
) -> None:
    assert run("restore", labelled, picture, *option, *QUICK, "--out", "y.png").code == 0
    assert _pixels("y.png").shape == (8, 8)
    assert _said("y.png")["Restored by"] == said


def test_colours(run: Any, plain: Path, picture: Path) -> None:
    assert run("restore", plain, picture, "--colour", *QUICK, "-n", 2, "--out", "y/").code == 0
    assert _pixels("y/x_0.png").shape == (8, 8, 3)


@pytest.mark.parametrize(
    ("option", "said", "frames"),
    [
        (("--continue", 0.15), "continue 0.15 s", 1200),
        (("--band", 1000), "band 1000", 800),
        (("--denoise", 0.1), "denoise 0.1", 800),
        (("--clipped",), "clipped", 800),
        (("--room", "room.wav"), "room room.wav", 800),
        (("--vary", 0.3), "vary 0.3", 800),
    ],
)
def test_repairs_of_sounds(
    run: Any, speech: Path, sound: Path, option: tuple[object, ...], said: str, frames: int
) -> None:
    soundfile.write("room.wav", np.array([0.5, 0.0, 0.2]), 8000)
    if said == "clipped":
        wave = soundfile.read(sound)[0].clip(-0.2, 0.2)
        soundfile.write(sound, wave, 8000, subtype="PCM_16")
    assert run("restore", speech, sound, *option, *QUICK, "--out", "y.wav").code == 0
    assert soundfile.info("y.wav").frames == frames
    assert _said("y.wav")["Restored by"] == said


@pytest.mark.parametrize(
    ("option", "drawn"),
    [
        (("--gap", "0.2:0.5"), (slice(None), slice(2, 5))),
        (("--mask", "mask.png"), (slice(None), slice(None), slice(5, None))),
    ],
)
def test_frames_and_pixels_of_videos(
    run: Any, video: Path, mask: Path, option: tuple[object, ...], drawn: tuple[slice, ...]
) -> None:
    """A gap is of frames; a picture masks the same pixels of every frame."""
    assert run("restore", video, "x.apng", *option, *QUICK, "--out", "y.apng").code == 0
    before, after = (Video(10.0).read(path, (1, 8, 8, 8)) for path in ("x.apng", "y.apng"))
    wanted = torch.zeros(before.shape, dtype=torch.bool)
    wanted[drawn] = True
    assert torch.equal(before[~wanted], after[~wanted])
    assert (before != after)[wanted].float().mean() > 0.9


@pytest.mark.parametrize(
    "option",
    [
        ("--band", 2),
        ("--room", "x.apng"),
        ("--clipped",),
        ("--extend", 1),
        ("--enlarge", 2),
        ("--colour",),
    ],
)
def test_what_is_not_for_videos(run: Any, video: Path, option: tuple[object, ...]) -> None:
    refused = run("restore", video, "x.apng", *option, *QUICK)
    refused.refused(f"{option[0]} is not for videos: use one of --mask, --gap,")


def test_a_mask_of_another_length(run: Any, video: Path) -> None:
    Video(10.0).write(torch.rand(1, 5, 8, 8), "mask.gif")
    run("restore", video, "x.apng", "--mask", "mask.gif").refused("mask.gif", "use one picture")


def test_a_part_of_a_pair_is_no_pair(run: Any, picture: Path) -> None:
    refused = run("restore", "duet", picture, "--denoise", 0.2)
    refused.refused(f"mmdiff sample duet --given {picture} --out FILE")


def test_a_picture_of_repaired_sounds(run: Any, speech: Path, sound: Path) -> None:
    options = ("--gap", "0.02:0.03", "-n", 2, *QUICK, "--out", "y.png")
    assert run("restore", speech, sound, *options).code == 0
    assert _pixels("y.png").shape[1] > 5 * 120


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), ("one thing", "not 0")),
        (("--enlarge", 2, "--deblur", 1), ("one thing", "not 2")),
        (("--enlarge", 3), ("--enlarge 3", "another factor")),
        (("--extend", 4), ("--extend 4", "smaller")),
        (("--colour",), ("three channels",)),
        (("--gap", "0:1"), ("--gap is not for pictures", "--mask")),
        (("--continue", 2), ("--continue is not for pictures", "--extend")),
        (("--clipped",), ("--clipped is not for pictures",)),
        (("--deblur", 0), ("above 0",)),
        (("--denoise", 0), ("above 0",)),
        (("--mask", "none.png"), ("none.png", "does not exist")),
        (("--enlarge", 2, "--speaker", "theo"), ("without a speaker",)),
        (("--enlarge", 2, "--label", "cat"), ("cat",)),
        (("--enlarge", 2, "--out", "y.wav"), ("y.wav", ".png")),
    ],
)
def test_what_does_not_fit_a_picture(
    run: Any, labelled: Path, picture: Path, options: tuple[object, ...], words: tuple[str, ...]
) -> None:
    run("restore", labelled, picture, *options).refused(*words)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--gap", "0.09:0.2"), ("--gap 0.09:0.2", "0:0.1")),
        (("--gap", "0.02"), ("FROM:TO",)),
        (("--clipped",), ("nothing is clipped",)),
        (("--continue", 0.05), ("already",)),
        (("--gap", "0:inf"), ("FROM:TO",)),
        (("--enlarge", 2), ("--enlarge is not for sounds",)),
        (("--band", 5000), ("band",)),
        (("--mask", "mask.png"), ("--mask is not for sounds", "--gap")),
    ],
)
def test_what_does_not_fit_a_sound(
    run: Any,
    speech: Path,
    sound: Path,
    mask: Path,
    options: tuple[object, ...],
    words: tuple[str, ...],
) -> None:
    run("restore", speech, sound, *options, *QUICK).refused(*words)


def test_files_stay(run: Any, labelled: Path, picture: Path) -> None:
    options = ("restore", labelled, picture, "--denoise", 0.2, *QUICK, "--out", "x.png")
    run(*options).refused("x.png", "--overwrite")
    assert run(*options, "--overwrite").code == 0
