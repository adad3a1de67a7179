"""mmdiff sample with models of sound: what it writes, refuses and says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray
from PIL import Image

import mmdiff
from mmdiff import tensorfile
from mmdiff.audio.pictures import gallery

LABELS = ("yes", "no", "or/else")
GAP = 1200  # 0.15 s at 8 kHz
STEP = 1 / 32768  # of 16 bits

Wave = NDArray[np.float64]


def _wave(path: Path | str) -> Wave:
    wave, rate = soundfile.read(path)
    assert rate == 8000
    return wave


def _pixels(image: Any) -> NDArray[np.int64]:
    return np.array(image, np.int64)


def _said(path: Path | str) -> dict[str, str]:
    """The comment of a file, by its keys."""
    with soundfile.SoundFile(path) as file:
        return dict(line.split(": ", 1) for line in file.comment.split("\n"))


def _sample(path: Path, count: int, steps: int = 2, **options: Any) -> Wave:
    """What the library draws for the labels and speakers that take turns, at full scale 1."""
    index = torch.arange(count)
    conditions = {"label": index % 3, "speaker": (index % 3 + index // 3) % 2}
    x = mmdiff.sample(
        mmdiff.load(path), (count, 1, 800), mmdiff.DPMpp2MSDE(steps), **{**conditions, **options}
    )
    return (x[:, 0] / 4).numpy().astype(float)


def _near(wave: Wave, expected: Wave) -> bool:
    """Equal to the rounding of 16 bits and of sums in another order."""
    return bool(np.abs(wave - expected.clip(-1, 1)).max() <= 3 * STEP)


def test_labels_and_speakers_take_turns(run: Any, speech: Path) -> None:
    assert run("sample", speech, "-n", 8, "--steps", 2, "--out", "x/").code == 0
    words = ["yes", "no", "or-else", "yes", "no", "or-else", "yes", "no"]
    names = [f"{word}_{index}.wav" for index, word in enumerate(words)]
    assert {file.name for file in Path("x").iterdir()} == set(names)
    expected = _sample(speech, 8)
    for index, name in enumerate(names):
        assert _near(_wave(f"x/{name}"), expected[index])
        said = _said(f"x/{name}")
        assert said["Sample"] == name.removesuffix(".wav")
        assert said["Label"] == LABELS[index % 3]
        assert said["Speaker"] == ("george", "theo")[(index % 3 + index // 3) % 2]


def test_one_label_by_every_speaker(run: Any, speech: Path) -> None:
    assert run("sample", speech, "--label", "no", "-n", 3, "--steps", 2, "--out", "x").code == 0
    files = sorted(Path("x").iterdir())
    assert [file.name for file in files] == ["no_0.wav", "no_1.wav", "no_2.wav"]
    assert [_said(file)["Speaker"] for file in files] == ["george", "theo", "george"]


def test_one_label_by_one_speaker_is_one_sound(run: Any, speech: Path) -> None:
    options = ("--label", "or/else", "--speaker", "theo", "--steps", 2)
    assert run("sample", speech, *options, "--out", "one.wav").out == "wrote one.wav\n"
    expected = _sample(speech, 1, label=torch.tensor([2]), speaker=torch.tensor([1]))
    assert _near(_wave("one.wav"), expected[0])
    said = _said("one.wav")
    assert (said["Label"], said["Speaker"]) == ("or/else", "theo")


def test_a_wav_holds_the_sounds_one_after_another(run: Any, speech: Path) -> None:
    options = ("sample", speech, "-n", 4, "--speaker", "theo", "--steps", 2)
    assert run(*options, "--out", "x/").code == 0
    assert run(*options, "--out", "x.wav").code == 0
    wave = _wave("x.wav")
    assert len(wave) == 4 * 800 + 3 * GAP
    silence = np.zeros(GAP)
    for index, name in enumerate(("yes_0", "no_1", "or-else_2", "yes_3")):
        begin = index * (800 + GAP)
        assert np.array_equal(wave[begin : begin + 800], _wave(f"x/{name}.wav"))
        if index < 3:
            assert np.array_equal(wave[begin + 800 : begin + 800 + GAP], silence)
    assert _said("x.wav")["Label"] == "yes, no, or/else"


def test_without_options_one_wav_counts_through_the_labels(run: Any, speech: Path) -> None:
    assert run("sample", speech, "--steps", 2).out == "wrote samples.wav\n"
    wave, said = _wave("samples.wav"), _said("samples.wav")
    assert len(wave) == 3 * 800 + 2 * GAP
    for index, clip in enumerate(_sample(speech, 3)):
        assert _near(wave[index * (800 + GAP) :][:800], clip)
    assert (said["Label"], said["Speaker"]) == ("yes, no, or/else", "george, theo")


def test_a_png_shows_waveforms_and_spectrograms(run: Any, speech: Path) -> None:
    assert run("sample", speech, "-n", 6, "--steps", 2, "--out", "x.png").code == 0
    x = torch.from_numpy(_sample(speech, 6)).float()[:, None].clamp(-1, 1)
    who = ["yes george, yes theo", "no theo, no george", "or/else george, or/else theo"]
    expected = gallery([("", x[:3]), ("", x[3:])], 8000, who)
    with Image.open("x.png") as picture:
        said, pixels = picture.text, _pixels(picture)  # type: ignore[attr-defined]
    assert (said["Label"], said["Speaker"]) == ("yes, no, or/else", "george, theo")
    assert pixels.shape == _pixels(expected).shape
    # Equal but for a pixel here and there: batches may sum in another order.
    assert (np.abs(pixels - _pixels(expected)) > 8).mean() < 1e-3


def test_batch_size_changes_nothing(run: Any, speech: Path) -> None:
    for name, batch in (("a.wav", 7), ("b.wav", 3)):
        options = ("-n", 7, "--steps", 3, "--spin", 8, "--batch", batch)
        assert run("sample", speech, *options, "--out", name).code == 0
    assert np.abs(_wave("a.wav") - _wave("b.wav")).max() <= 3 * STEP


def test_a_sound_says_how_it_was_made(run: Any, speech: Path) -> None:
    options = ("--seed", 9, "--solver", "ddim", "--steps", 3, "--guidance", 1.5, "--spin", 4)
    assert run("sample", speech, "-n", 2, *options, "--out", "x.wav").code == 0
    said = _said("x.wav")
    assert "Generated" in said["Description"]
    assert said["Model"] == f"{speech.parent.name}/speech"
    assert (said["Seed"], said["Solver"], said["Steps"]) == ("9", "ddim", "3")
    assert (said["Guidance"], said["Spin"]) == ("1.5", "4")
    with soundfile.SoundFile("x.wav") as file:
        assert f"mmdiff {mmdiff.__version__}" in file.software


def test_the_checkpoint_recommends_and_the_user_decides(run: Any, save: Any) -> None:
    sampling = mmdiff.Sampling("ddim", 3, guidance=2.0, spin=5)
    path = save(Path("model.safetensors"), (1, 800), LABELS, ("george", "theo"), sampling=sampling)
    model = mmdiff.load(path)
    who: dict[str, Any] = {"label": torch.arange(3), "speaker": torch.tensor([0, 1, 0])}

    def drawn(name: str, *options: object) -> tuple[Wave, dict[str, str]]:
        assert run("sample", path, *options, "--out", name).code == 0
        wave, said = _wave(name), _said(name)
        return np.stack([wave[i * (800 + GAP) :][:800] for i in range(3)]), said

    def expected(solver: Any, **options: Any) -> Wave:
        x = mmdiff.sample(model, (3, 1, 800), solver, **who, **options)
        return (x[:, 0] / 4).numpy().astype(float)

    wave, said = drawn("a.wav")
    assert (said["Solver"], said["Steps"]) == ("ddim", "3")
    assert (said["Guidance"], said["Spin"]) == ("2", "5")
    assert _near(wave, expected(mmdiff.DDIM(3), guidance=2.0, steer=[mmdiff.Spin(5)]))
    wave, said = drawn("b.wav", "--steps", 2, "--guidance", 1, "--spin", 0)
    assert (said["Solver"], said["Steps"], said["Guidance"]) == ("ddim", "2", "none")
    assert "Spin" not in said
    assert _near(wave, expected(mmdiff.DDIM(2)))
    wave, said = drawn("c.wav", "--solver", "heun", "--guidance", 0)
    assert (said["Solver"], said["Steps"], said["Guidance"]) == ("heun", "3", "0")
    assert _near(wave, expected(mmdiff.Heun(3), guidance=0.0, steer=[mmdiff.Spin(5)]))


def test_what_goes_beyond_full_scale_is_clamped_and_said(run: Any, save: Any) -> None:
    model = Path("model.safetensors")
    x = torch.from_numpy(_sample(save(model, (1, 800), LABELS, ("a", "b")), 5))
    peaks = 4 * x.abs().amax(1)
    ordered = peaks.sort().values
    place = int(ordered.diff().argmax())
    scale = float(ordered[place : place + 2].mean())  # in the widest gap between the peaks
    save(model, (1, 800), LABELS, ("a", "b"), scale=scale)
    for out in ("x.wav", "x/", "x.png"):
        result = run("sample", model, "-n", 5, "--steps", 2, "--batch", 2, "--out", out)
        assert result.code == 0
        assert result.err == (
            f"{4 - place} of 5 sounds went beyond the range of the data and were clipped.\n"
        )
    wave = _wave("x.wav")
    assert wave.max() == 1 - STEP or wave.min() == -1
    quiet = run("sample", model, "-n", 1, "--seed", 0, "--steps", 2, "--out", "quiet.wav")
    assert (quiet.err == "") == (float(peaks[0]) <= scale)


@pytest.mark.parametrize("out", ["x.wav", "x.png", "x/"])
def test_never_overwrites_unasked(run: Any, speech: Path, out: str) -> None:
    options = ("sample", speech, "-n", 2, "--steps", 2, "--out", out)
    assert run(*options).code == 0
    written = {path: path.read_bytes() for path in Path(".").rglob("*") if path.is_file()}
    run(*options, "--seed", 1).refused(next(iter(written)).suffix, "--overwrite")
    assert {path: path.read_bytes() for path in written} == written
    assert run(*options, "--seed", 1, "--overwrite").code == 0
    assert all(path.read_bytes() != before for path, before in written.items())


def test_what_cannot_be_done_is_one_sentence(run: Any, speech: Path, labelled: Path) -> None:
    run("sample", labelled, "--out", "x.wav").refused("x.wav", ".png", ".gif", "folder")
    run("sample", labelled, "--speaker", "theo").refused("--speaker")
    run("sample", speech, "--speaker", "nobody").refused("'nobody'", "george, theo")
    run("sample", speech, "--label", "7").refused("'7'", "yes, no, or/else")
    run("sample", speech, "--spin", 801).refused("801", "800")
    run("sample", speech, "-n", 257, "--out", "x.png").refused("256", "-n", "folder/")
    run("sample", speech, "-n", 999_999, "--out", "x.wav").refused("999,999", "-n", "folder/")
    run("sample", speech, "--size", 20).refused("sounds have no height and width", "size")
    run("sample", speech, "--steps", 10**9).refused("steps", "100,000")
    run("sample", speech, "--out", "").refused("--out is empty")
    run("sample", speech, "--vary", "a.wav", "--seconds", 1).refused("a.wav", "--seconds")
    assert not list(Path(".").iterdir())


def test_the_longest_spin_works(run: Any, speech: Path) -> None:
    assert run("sample", speech, "--spin", 800, "--steps", 2, "--out", "x.wav").code == 0


def test_a_class_has_a_number_too(run: Any, speech: Path) -> None:
    for label in ("no", 1):
        assert (
            run("sample", speech, "--label", label, "--steps", 2, "--out", f"{label}.wav").code == 0
        )
    assert np.array_equal(_wave("no.wav"), _wave("1.wav"))


def test_sounds_of_another_length_in_24_bits(run: Any, speech: Path) -> None:
    options = ("sample", speech, "-n", 3, "--steps", 2, "--seconds", 0.05)
    assert run(*options, "--out", "x.flac").code == 0
    assert soundfile.info("x.flac").subtype == "PCM_24"
    wave = _wave("x.flac")
    assert len(wave) == 3 * 400 + 2 * GAP
    who = {"label": torch.arange(3), "speaker": torch.tensor([0, 1, 0])}
    x = mmdiff.sample(mmdiff.load(speech), (3, 1, 400), mmdiff.DPMpp2MSDE(2), **who)
    for index, clip in enumerate(x[:, 0] / 4):
        given = wave[index * (400 + GAP) :][:400]
        assert np.abs(given - clip.clamp(-1, 1).numpy()).max() < 1e-5


def test_a_variation_is_as_long_as_its_file(run: Any, speech: Path) -> None:
    given = 0.5 * np.sin(np.arange(1000) * 0.3)
    soundfile.write("given.wav", given, 8000)
    options = ("--vary", "given.wav", "--strength", 0.01, "--steps", 2, "-n", 1)
    assert run("sample", speech, *options, "--out", "x.wav").code == 0
    assert np.corrcoef(_wave("x.wav"), given)[0, 1] > 0.9
    assert _said("x.wav")["Variation of"] == "given.wav"


def test_sounds_come_out_of_the_noise(run: Any, speech: Path) -> None:
    assert run("sample", speech, "-n", 2, "--steps", 20, "--out", "x.gif").code == 0
    with Image.open("x.gif") as image:
        assert image.n_frames == 10


def test_a_foreign_recommendation_is_one_sentence(run: Any, save: Any) -> None:
    path = save(Path("m.safetensors"))
    tensors, said = tensorfile.read(path)
    said["info"]["sampling"]["steps"] = -1
    tensorfile.write(path, tensors, said)
    run("sample", path).refused("m.safetensors", "-1")


def test_a_diverged_model_is_one_sentence(run: Any, save: Any) -> None:
    path = save(Path("m.safetensors"), (1, 800), std=float("inf"))
    for out in ("x.wav", "x.png", "x/"):
        run("sample", path, "--steps", 2, "--out", out).refused("diverged", "--guidance")
