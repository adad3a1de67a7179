"""Data sets of sounds by name, from small files made here and from the real digits."""

from __future__ import annotations

import io
import os
import shutil
import threading
import wave
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader

from mmdiff.audio import datasets, decoding, folders, fsdd
from mmdiff.audio.datasets import Sounds, open_sounds
from mmdiff.audio.folders import Held, HeldSound
from mmdiff.audio.sound import resample
from mmdiff.audio.synthetic import LABELS
from mmdiff.conditions import Class
from mmdiff.errors import UserError

DIGITS = "0123456789"
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")


def wav(values: list[float] | Tensor, rate: int = 8000) -> bytes:
    """A WAV file of 16 bits, mono."""
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.asarray(values) * 32768).round().astype("<i2").tobytes())
    return data.getvalue()


def spoken(digit: str, speaker: int, index: int) -> list[float]:
    """A clip that tells what it is by its values, the largest of which is 0.25."""
    return [0.25, int(digit) / 64, -speaker / 64, index / 256]


def write_fsdd(root: Path, speakers: tuple[str, ...] = ("bob", "anna")) -> Path:
    folder = root / "fsdd" / "recordings"
    folder.mkdir(parents=True)
    for digit in DIGITS:
        for number, speaker in enumerate(sorted(speakers)):
            for index in range(50):
                name = f"{digit}_{speaker}_{index}.wav"
                (folder / name).write_bytes(wav(spoken(digit, number, index)))
    return folder


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of data sets with two speakers; not to be changed."""
    root = tmp_path_factory.mktemp("data")
    write_fsdd(root)
    return root


def read_spoken(x: Tensor) -> tuple[int, int, int]:
    """(digit, speaker, index) of a clip in which it is."""
    values = x / x.abs().max() / 4
    return (
        round(float(values[1]) * 64),
        round(-float(values[2]) * 64),
        round(float(values[3]) * 256),
    )


def store(path: Path, values: Tensor, rate: int = 8000, subtype: str | None = None) -> Path:
    """`values` [C, L] as a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, values.T.numpy(), rate, subtype=subtype)
    return path


def ramp(frames: int, start: float = 0.01, end: float = 0.99) -> Tensor:
    """[1, frames] that tells the place of each of its values."""
    return torch.linspace(start, end, frames)[None]


# --- spoken digits


def test_fsdd_is_what_its_names_say(digits: Path) -> None:
    train, test = (open_sounds("fsdd", split, digits, scale=4.0) for split in ("train", "test"))
    assert (train.name, train.shape, train.sample_rate, train.scale) == (
        "fsdd", (1, 5120), 8000, 4.0,
    )  # fmt: skip
    told = {"label": Class(10, tuple(DIGITS)), "speaker": Class(2, ("anna", "bob"))}
    assert train.conditions == test.conditions == told
    assert not train.costly
    assert (len(train), len(test)) == (900, 100)
    seen = set()
    for sounds, indices in ((train, range(5, 50)), (test, range(5))):
        for item in sounds:
            digit, speaker, index = read_spoken(item["x"][0])
            assert (item["label"], item["speaker"]) == (digit, speaker)
            assert index in indices
            seen.add((digit, speaker, index))
    assert len(seen) == 1000


def test_every_digit_begins_the_window_with_one_peak(digits: Path) -> None:
    x = open_sounds("fsdd", "test", digits, scale=4.0)[7]["x"]
    assert x.dtype == torch.float32
    assert x[0, 0] == pytest.approx(3.6)
    assert x[0, 4:].eq(0).all()


def test_long_words_fade_out_at_the_end(tmp_path: Path) -> None:
    folder = write_fsdd(tmp_path, ("anna",))
    (folder / "3_anna_0.wav").write_bytes(wav([0.5] * 6000))
    sounds = open_sounds("fsdd", "test", tmp_path)
    (x,) = (item["x"][0] for item in sounds if item["x"][0, 4] != 0)
    torch.testing.assert_close(x[:5040], torch.full((5040,), 0.9))
    assert x[5039:].diff().le(0).all()
    assert abs(x[-1]) < 1e-6
    assert x[5080] == pytest.approx(0.45, abs=0.02)  # half-way through 10 ms
    (folder / "3_anna_0.wav").write_bytes(wav([0.5] * 5120))
    (x,) = (item["x"] for item in open_sounds("fsdd", "test", tmp_path) if item["x"][0, 4] != 0)
    torch.testing.assert_close(x, torch.full((1, 5120), 0.9))


def test_augmented_digits_are_late_and_flipped(digits: Path) -> None:
    plain = open_sounds("fsdd", "test", digits)
    sounds = open_sounds("fsdd", "test", digits, shift=True, flip=True, seed=3)
    shifts, signs = [], []
    for index in range(20):
        for count in range(16):
            x = sounds.visit(index, count)["x"][0]
            shifts.append(int(x.nonzero()[0]))
            signs.append(float(x[shifts[-1]].sign()))
            original = signs[-1] * plain[index]["x"][0, : 5120 - shifts[-1]]
            assert torch.equal(x[shifts[-1] :], original)
    assert (min(shifts), max(shifts)) == (0, 255)
    assert 0.4 < np.mean(np.array(signs) > 0) < 0.6
    assert abs(np.corrcoef(shifts, signs)[0, 1]) < 0.15
    # Each on its own is what both are together.
    both = sounds.visit(3, 4)["x"]
    late = open_sounds("fsdd", "test", digits, shift=True, seed=3).visit(3, 4)["x"]
    turned = open_sounds("fsdd", "test", digits, flip=True, seed=3).visit(3, 4)["x"]
    assert torch.equal(both.abs(), late.abs())
    assert torch.equal(turned * both.sum().sign(), plain[3]["x"] * plain[3]["x"].sum().sign())


def test_augmentation_is_that_of_the_bundled_speech(digits: Path) -> None:
    """A run goes on bit for bit: the numbers of a visit never change."""
    x = open_sounds("fsdd", "train", digits, shift=True, flip=True, seed=7)
    visits = (0, 0), (1, 1), (450, 3), (451, 3), (899, 9), (899, 10)
    drawn = [x.visit(index, count)["x"][0] for index, count in visits]
    firsts = [int(clip.nonzero()[0]) for clip in drawn]
    assert firsts == [229, 241, 28, 248, 42, 94]
    signs = [int(clip[first].sign()) for clip, first in zip(drawn, firsts, strict=True)]
    assert signs == [-1, 1, -1, 1, -1, -1]


def test_late_words_that_reach_the_end_fade_out(tmp_path: Path) -> None:
    folder = write_fsdd(tmp_path, ("anna",))
    for index in range(5):
        (folder / f"3_anna_{index}.wav").write_bytes(wav([0.5] * 5000))
    sounds = open_sounds("fsdd", "test", tmp_path, shift=True)
    for index in range(15, 20):
        x = sounds[index]["x"][0].abs()
        shift = int(x.nonzero()[0])
        late = shift > 120
        assert x[-1] < 1e-6
        assert x[shift : shift + 4900 - 136 * late].min() == pytest.approx(0.9)


def test_visits_are_functions_of_seed_index_and_count(digits: Path) -> None:
    def visit(seed: int, index: int, count: int) -> Tensor:
        return open_sounds("fsdd", "test", digits, shift=True, seed=seed).visit(index, count)["x"]

    x = visit(0, 5, 2)
    assert torch.equal(x, visit(0, 5, 2))
    assert not torch.equal(x, visit(0, 5, 3))
    assert not torch.equal(x, visit(1, 5, 2))
    sounds = open_sounds("fsdd", "test", digits, shift=True)
    assert torch.equal(sounds[9]["x"], sounds.visit(9, 0)["x"])


def test_digits_in_other_formats(tmp_path: Path) -> None:
    folder = write_fsdd(tmp_path, ("anna",))
    x = ramp(400).sin() * torch.linspace(0, 30, 400).cos() * 0.5
    (folder / "0_anna_0.wav").write_bytes(wav(x[0]))
    sounds = open_sounds("fsdd", "test", tmp_path, 16000, seconds=0.1, channels=2)
    assert (sounds.shape, sounds.sample_rate) == ((2, 1600), 16000)
    item = sounds[0]["x"]
    assert torch.equal(item[0], item[1])
    expected = resample(x, 8000, 16000)[0]
    expected = expected * 0.9 / expected.abs().max()
    torch.testing.assert_close(item[0, :800], expected, atol=1e-3, rtol=0)
    assert item[0, 800:].eq(0).all()


def test_what_is_wrong_with_the_digits_is_named(tmp_path: Path) -> None:
    folder = write_fsdd(tmp_path, ("anna",))
    (folder / "notes.txt").write_text("mine")
    assert len(open_sounds("fsdd", "test", tmp_path)) == 50
    (folder / "4_anna_2.wav").write_bytes(wav([0.0] * 50))
    with pytest.raises(UserError, match=r"4_anna_2\.wav is silent"):
        open_sounds("fsdd", "test", tmp_path)
    (folder / "4_anna_2.wav").write_bytes(wav([0.5] * 50)[:100])
    with pytest.raises(UserError, match=r"4_anna_2\.wav is cut"):
        open_sounds("fsdd", "test", tmp_path)
    (folder / "4_anna_2.wav").unlink()
    (folder / "9_anna_49.wav").unlink()
    for split in ("train", "test"):
        with pytest.raises(UserError, match=r"lacks 2 recordings, 4_anna_2\.wav among them"):
            open_sounds("fsdd", split, tmp_path)


# --- the download


@pytest.fixture
def archive() -> bytes:
    """As GitHub packs the six speakers."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        top = "free-spoken-digit-dataset-1.0.10"
        file.writestr(f"{top}/README.md", "digits")
        file.writestr(f"{top}/../../0_evil_0.wav", "outside")
        for digit in DIGITS:
            for number, speaker in enumerate(SPEAKERS):
                data = wav(spoken(digit, number, 0))
                for index in range(50):
                    file.writestr(f"{top}/recordings/{digit}_{speaker}_{index}.wav", data)
    return packed.getvalue()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """Serves what the list holds first, in place of GitHub; nothing as 404."""
    content: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if content else 404)
            self.send_header("Content-Length", str(len(content[0]) if content else 0))
            self.end_headers()
            self.wfile.write(content[0] if content else b"")

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        monkeypatch.setattr(fsdd, "_URL", f"http://127.0.0.1:{http.server_port}/v1.0.10.zip")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield content
        http.shutdown()
        thread.join()


def test_missing_digits_are_downloaded_once(
    tmp_path: Path, server: list[bytes], archive: bytes
) -> None:
    server.append(archive)
    sounds = open_sounds("fsdd", "test", tmp_path / "data")
    assert (len(sounds), sounds.conditions["speaker"]) == (300, Class(6, SPEAKERS))
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["fsdd"]
    assert len(list((tmp_path / "data" / "fsdd" / "recordings").iterdir())) == 3000
    assert not list(tmp_path.rglob("*evil*"))
    server.clear()
    assert len(open_sounds("fsdd", "train", tmp_path / "data")) == 2700


def test_another_process_may_be_faster(
    tmp_path: Path, server: list[bytes], archive: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two that find no data both download them, and the second finds those of the first."""
    server.append(archive)
    unpack = fsdd._unpack

    def late(packed: Path, folder: Path) -> None:
        unpack(packed, folder)
        shutil.copytree(folder, tmp_path / "fsdd" / "recordings")

    monkeypatch.setattr(fsdd, "_unpack", late)
    assert len(open_sounds("fsdd", "test", tmp_path)) == 300
    assert [path.name for path in tmp_path.iterdir()] == ["fsdd"]


def test_a_download_that_is_not_whole_leaves_nothing(
    tmp_path: Path, server: list[bytes], archive: bytes
) -> None:
    few = io.BytesIO()
    with zipfile.ZipFile(few, "w") as file:
        file.writestr("x/recordings/0_theo_0.wav", b"RIFF")
    for data, said in (
        (archive[: len(archive) // 2], "not a zip file"),
        (few.getvalue(), "the archive holds 1 recordings, not 3,000"),
        (b"", "not a zip file"),
    ):
        server[:] = [data]
        with pytest.raises(UserError, match=said):
            open_sounds("fsdd", "test", tmp_path / "new" / "data")
        assert list(tmp_path.iterdir()) == []


def test_without_network_one_sentence_says_where_the_files_go(
    tmp_path: Path, server: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="404"):
        open_sounds("fsdd", "train", tmp_path)
    monkeypatch.setattr(fsdd, "_URL", "http://127.0.0.1:9/v1.0.10.zip")  # where nobody answers
    monkeypatch.setenv("MMDIFF_DATA", str(tmp_path))
    with pytest.raises(UserError) as caught:
        open_sounds("fsdd")
    message = str(caught.value)
    for part in (f"{tmp_path}/fsdd/recordings", "WAV", "data_dir", "MMDIFF_DATA"):
        assert part in message
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == []


def test_a_data_dir_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UserError, match="could not be downloaded"):
        open_sounds("fsdd", "train", tmp_path / "file" / "data")


# --- synthetic


def test_synthetic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "_SYNTHETIC_COUNTS", {"train": 40, "test": 20})
    train, test = (open_sounds("synthetic", split, None, 8000, 0.05) for split in ("train", "test"))
    assert (train.shape, len(train) > len(test) > 0) == ((1, 400), True)
    assert train.conditions == test.conditions == {"label": Class(len(LABELS), LABELS)}
    assert [train[index]["label"] for index in range(len(LABELS))] == list(range(len(LABELS)))
    assert not torch.equal(train[0]["x"], test[0]["x"])
    assert torch.equal(train.visit(3, 0)["x"], train.visit(3, 1)["x"])  # nothing to crop


# --- folders


def test_the_rate_is_that_of_most_files(tmp_path: Path) -> None:
    for index, rate in enumerate((8000, 11025, 11025, 22050)):
        store(tmp_path / f"{index}.wav", ramp(100), rate)
    for split in ("train", "test"):
        sounds = open_sounds(f"folder:{tmp_path}", split)
        assert (sounds.sample_rate, sounds.shape) == (11025, (1, round(1.5 * 11025)))
    store(tmp_path / "4.wav", ramp(100), 22050)
    assert open_sounds(f"folder:{tmp_path}").sample_rate == 22050
    assert open_sounds(f"folder:{tmp_path}", "train", None, 4000, 0.5, 2).shape == (2, 2000)


def test_short_files_have_zeros_after_them(tmp_path: Path) -> None:
    store(tmp_path / "a.wav", ramp(300), subtype="FLOAT")
    sounds = open_sounds(f"folder:{tmp_path}", seconds=0.1, scale=2.0)
    assert len(sounds) == 1
    assert sounds.conditions == {}
    assert sounds[0].keys() == {"x"}
    for count in range(3):
        x = sounds.visit(0, count)["x"]
        torch.testing.assert_close(x[:, :300], 2 * ramp(300))
        assert x[:, 300:].eq(0).all()


@given(st.integers(1, 400), st.integers(20, 300), st.integers(0, 3))
@settings(derandomize=True, deadline=None, max_examples=30)
def test_crops_cover_a_sound_evenly(length: int, window: int, seed: int) -> None:
    held = Held([HeldSound(torch.arange(1.0, length + 1)[None])], 8000)
    sounds = Sounds("", held, (1, window), seed=seed)
    assert abs(len(sounds) - length / window) <= 0.5 or len(sounds) == 1
    free = max(0, length - window)
    for index in range(len(sounds)):
        for count in range(3):
            x = sounds.visit(index, count)["x"][0]
            start = int(x[0]) - 1
            if len(sounds) == 1:  # it begins where the sound does, and may fade out
                assert start == 0
                continue
            assert torch.equal(x, torch.arange(start + 1.0, start + window + 1))
            assert index * (free + 1) // len(sounds) <= start
            assert start <= min(free, (index + 1) * (free + 1) // len(sounds))


def test_every_place_is_visited() -> None:
    held = Held([HeldSound(torch.arange(1.0, 31)[None])], 8000)
    sounds = Sounds("", held, (1, 15))
    starts = {int(sounds.visit(i, count)["x"][0, 0]) for i in range(2) for count in range(100)}
    assert starts == set(range(1, 17))


@pytest.mark.parametrize("length", [50, 100, 149])
def test_one_shots_begin_where_their_files_do(tmp_path: Path, length: int) -> None:
    store(tmp_path / "a.wav", ramp(length), subtype="FLOAT")
    sounds = open_sounds(f"folder:{tmp_path}", seconds=0.0125)  # 100 samples
    assert len(sounds) == 1
    for count in range(20):
        x = sounds.visit(0, count)["x"]
        whole = min(length, 20)
        assert torch.equal(x[:, :whole], ramp(length)[:, :whole])
        assert x[:, length:].eq(0).all()
        if length > 100:  # it fades out in 10 ms
            assert abs(x[0, -1]) < 1e-6


def test_crops_with_next_to_nothing_are_drawn_again() -> None:
    """A hit that decays by 60 dB: what lies below -40 dB is left to others."""
    x = torch.ones(1, 8000) * 10 ** (-torch.arange(8000) / 8000 * 3)
    sounds = Sounds("", Held([HeldSound(x)], 8000), (1, 800))
    assert len(sounds) == 10
    visits = [sounds.visit(index, count)["x"] for index in range(10) for count in range(50)]
    assert min(float(visit.max()) for visit in visits) >= 0.01
    first = [float(sounds.visit(0, count)["x"].max()) for count in range(50)]
    assert min(first) > 0.5  # what is loud enough stays where it was
    assert torch.equal(sounds.visit(9, 3)["x"], sounds.visit(9, 3)["x"])
    # The places are spread over all that is loud.
    assert np.std([float(visit.max().log10()) for visit in visits[-50:]]) > 0.2


def test_a_sound_that_is_nearly_all_silence_is_visited_at_its_loudest() -> None:
    x = torch.full((1, 80_000), 1e-4)
    x[0, 40_000] = 1
    visits = [
        Sounds("", Held([HeldSound(x)], 8000), (1, 100)).visit(index, 0)["x"].max()
        for index in range(0, 800, 100)
    ]
    assert all(value in (torch.tensor(1e-4), 1) for value in visits)


@pytest.mark.parametrize("rate", [8000, 12000, 5000])
def test_small_folders_in_memory_are_large_ones_on_disk(
    tmp_path: Path, rate: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.rand(2, 9000) * 1.8 - 0.9
    store(tmp_path / "train" / "a" / "0.flac", x)
    store(tmp_path / "train" / "b" / "0.wav", x[:1, :3000], 11025)
    store(tmp_path / "test" / "b" / "1.ogg", x[:, :2000])
    store(tmp_path / "train" / "a" / "loud.wav", 3 * x, subtype="FLOAT")
    (tmp_path / "train" / "a" / "cut.wav").write_bytes(wav([0.5] * 500)[:300])

    def open_it() -> Sounds:
        with pytest.warns(UserWarning, match=r"left out: 1 unreadable \(train/a/cut\.wav: is cut"):
            return open_sounds(f"folder:{tmp_path}", "train", None, rate, 0.2, 2, seed=5)

    memory = open_it()
    monkeypatch.setattr(folders, "CACHE_BYTES", 1000)
    disk = open_it()
    assert (memory.costly, disk.costly) == (False, True)
    assert memory.identity == disk.identity
    assert len(memory) == len(disk) > 10
    for index in range(len(memory)):
        for count in range(2):
            ours, theirs = memory.visit(index, count), disk.visit(index, count)
            torch.testing.assert_close(ours["x"], theirs["x"], atol=1e-4, rtol=0)
            assert ours["label"] == theirs["label"]


@pytest.mark.parametrize("change", ["gone", "shorter", "cut", "foreign"])
def test_a_file_that_breaks_later_is_one_error(
    tmp_path: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "CACHE_BYTES", 0)
    path = store(tmp_path / "a.wav", ramp(9000))
    sounds = open_sounds(f"folder:{tmp_path}", seconds=0.5)
    if change == "gone":
        path.unlink()
    elif change == "shorter":
        store(path, ramp(100))
    elif change == "cut":
        path.write_bytes(path.read_bytes()[:5000])
    else:
        path.write_text("no sound at all")
    with pytest.raises(UserError, match=r"a\.wav"):
        sounds[0]


def test_files_beyond_the_range_become_quieter_as_a_whole(tmp_path: Path) -> None:
    store(tmp_path / "a.wav", torch.tensor([[0.5, -4.0, 1.0, 2.0]]), subtype="FLOAT")
    sounds = open_sounds(f"folder:{tmp_path}", seconds=4 / 8000)
    assert sounds[0]["x"].tolist() == [[0.125, -1, 0.25, 0.5]]


def test_resampling_does_not_leave_the_range(tmp_path: Path) -> None:
    store(tmp_path / "a.wav", torch.ones(1, 800) * (torch.arange(800) // 40 % 2 * 2 - 1))
    sounds = open_sounds(f"folder:{tmp_path}", "train", None, 44100, 0.1, scale=3.0)
    assert sounds[0]["x"].abs().max() == 3


def test_channels_are_mixed(tmp_path: Path) -> None:
    store(tmp_path / "a.wav", torch.tensor([[0.5, 0.25], [0.0, -0.75]]))
    name, seconds = f"folder:{tmp_path}", 2 / 8000
    assert open_sounds(name, seconds=seconds)[0]["x"].tolist() == [[0.25, -0.25]]
    stereo = open_sounds(name, seconds=seconds, channels=2)[0]["x"]
    assert stereo.tolist() == [[0.5, 0.25], [0, -0.75]]


def test_what_is_kept_in_memory_is_counted_as_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two channels at 44.1 kHz take 11 times as much as one at 8 kHz."""
    for index in range(4):
        store(tmp_path / f"{index}.wav", torch.rand(2, 44100) - 0.5, 44100)
    monkeypatch.setattr(folders, "CACHE_BYTES", 3 * 4 * 8000)
    assert not open_sounds(f"folder:{tmp_path}", sample_rate=8000).costly
    assert open_sounds(f"folder:{tmp_path}", sample_rate=8020).costly


def test_folders_are_flipped_only_if_asked(tmp_path: Path) -> None:
    store(tmp_path / "a.wav", torch.full((1, 100), 0.5))
    for flip, signs in ((False, {0.5}), (True, {0.5, -0.5})):
        sounds = open_sounds(f"folder:{tmp_path}", seconds=0.01, shift=True, flip=flip)
        values = [float(sounds.visit(0, count)["x"][0, 0]) for count in range(200)]
        assert set(values) == signs
        assert not flip or 0.4 < np.mean(np.array(values) > 0) < 0.6


def test_sub_folders_are_the_classes(tmp_path: Path) -> None:
    for index in range(12):
        store(tmp_path / "dog" / "more" / f"{index}.flac", -ramp(50))
        store(tmp_path / "cat" / f"{index}.WAV", ramp(50))
    store(tmp_path / ".trash" / "0.wav", ramp(50))
    train, test = (open_sounds(f"folder:{tmp_path}", s, seconds=0.01) for s in ("train", "test"))
    assert train.conditions == test.conditions == {"label": Class(2, ("cat", "dog"))}
    assert (len(train), len(test)) == (22, 2)
    for sounds in (train, test):
        for item in sounds:
            assert item["label"] == (item["x"].mean() < 0)
    store(tmp_path / "loose.wav", ramp(50))
    with pytest.warns(UserWarning, match=r"outside of the folders of the classes \(loose\.wav\)"):
        sounds = open_sounds(f"folder:{tmp_path}")
    assert len(sounds) == 22
    assert "1 outside of the folders of the classes (loose.wav)" in sounds.summary()
    assert "1 hidden (.trash/)" in sounds.summary()


def test_labels_without_a_training_sound_are_not_offered(tmp_path: Path) -> None:
    """Neither those that only test has, nor those whose training files are all silent or broken."""
    for split, names in (("train", "abcd"), ("test", "abce")):
        for name in names:
            store(tmp_path / split / name / "0.wav", ramp(50))
    store(tmp_path / "train" / "c" / "0.wav", torch.zeros(1, 50))
    (tmp_path / "train" / "d" / "0.wav").write_bytes(b"RIFF")
    left_out = r"2 of a class without a training file \(test/c/0\.wav, test/e/0\.wav\)"
    for split in ("train", "test"):
        with pytest.warns(UserWarning, match=left_out):
            sounds = open_sounds(f"folder:{tmp_path}", split)
        assert sounds.conditions == {"label": Class(2, ("a", "b"))}
        assert [item["label"] for item in sounds] == [0, 1]


def test_train_and_test_folders_are_the_splits(tmp_path: Path) -> None:
    for inner in ("a", "b"):
        store(tmp_path / "train" / inner / "0.wav", ramp(50))
        store(tmp_path / "train" / inner / "1.wav", ramp(50))
        store(tmp_path / "test" / inner / "0.wav", -ramp(50))
    train, test = (open_sounds(f"folder:{tmp_path}", split) for split in ("train", "test"))
    assert train.conditions == test.conditions == {"label": Class(2, ("a", "b"))}
    assert (len(train), len(test)) == (4, 2)
    assert all(item["x"].min() == 0 for item in train)
    assert all(item["x"].max() == 0 for item in test)


def spoil(folder: Path) -> None:
    """Files of which nothing can be had."""
    cut = store(folder / "cut.flac", torch.rand(1, 5000) - 0.5)
    cut.write_bytes(cut.read_bytes()[:6000])
    (folder / "foreign.mp3").write_text("%!PS-Adobe-3.0 EPSF-3.0\n" * 50)
    (folder / "empty.wav").touch()
    nan = torch.zeros(1, 3000)
    nan[0, -1] = torch.nan
    store(folder / "nan.wav", nan, subtype="FLOAT")
    store(folder / "header.wav", torch.zeros(1, 0))


def test_broken_and_silent_files_are_left_out_with_a_warning(tmp_path: Path) -> None:
    for inner in ("train", "test"):
        for index in range(5):
            store(tmp_path / inner / f"{index}.wav", torch.full((1, 50), (index + 1) / 8))
    spoil(tmp_path / "train")
    store(tmp_path / "train" / "silent.wav", torch.zeros(1, 3000))
    opposite = torch.tensor([[1.0], [-1.0]]) * ramp(3000)
    store(tmp_path / "train" / "cancels.wav", opposite)
    (tmp_path / "train" / "cover.jpg").touch()
    os.mkfifo(tmp_path / "train" / "pipe.wav")
    with pytest.warns(UserWarning, match="left out") as caught:
        sounds = open_sounds(f"folder:{tmp_path}")
    (said,) = (str(warning.message) for warning in caught)
    assert "5 unreadable (train/cut.flac: is cut or damaged, train/empty.wav: is empty, " in said
    assert "2 silent (train/cancels.wav, train/silent.wav)" in said
    assert "cover.jpg" not in said
    assert caught[0].filename == __file__
    assert "1 of another kind (train/cover.jpg)" in sounds.summary()
    assert "1 not a file (train/pipe.wav)" in sounds.summary()
    assert "5 unreadable" in sounds.summary()
    levels = sorted(float(item["x"].max()) for item in sounds)
    assert levels == [(index + 1) / 8 for index in range(5)]


def test_folders_without_sounds_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no sound")
    with pytest.raises(UserError, match=r"holds no sounds \(left out: 1 of another kind"):
        open_sounds(f"folder:{tmp_path}")
    (tmp_path / "foreign.mp3").write_text("no sound")
    with pytest.raises(
        UserError,
        match=r"no readable sound: .* \(foreign\.mp3\).* first .* unreadable: is no sound file",
    ):
        open_sounds(f"folder:{tmp_path}")
    spoil(tmp_path)
    with pytest.raises(UserError, match=r"train split: every file .*\.\w+\) is broken or silent"):
        open_sounds(f"folder:{tmp_path}")
    with pytest.raises(UserError, match=r"does not exist: give folder:PATH .* folder of sounds"):
        open_sounds(f"folder:{tmp_path}/nowhere")


def test_sounds_that_need_pyav_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "available", lambda: False)
    store(tmp_path / "a.wav", ramp(50))
    (tmp_path / "b.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(500))
    with pytest.warns(UserWarning, match=r"1 unreadable \(b\.m4a: needs PyAV to be read\)"):
        assert len(open_sounds(f"folder:{tmp_path}")) == 1


def test_summaries_say_what_there_is(tmp_path: Path, digits: Path) -> None:
    for index in range(20):
        store(tmp_path / "ab"[index % 2] / f"{index}.au", torch.rand(1, 12_000) - 0.5, 8000)
    said = open_sounds(f"folder:{tmp_path}", seconds=0.5).summary()
    assert said == (
        f"folder:{tmp_path}: 18 sounds, 0.5 minutes, as 54 clips of 0.5 s, 8,000 Hz, 1 channel\n"
        "label: a 9, b 9"
    )
    said = open_sounds("fsdd", "test", digits, channels=2).summary()
    assert "100 sounds, 0.0 minutes, as 100 clips of 0.64 s, 8,000 Hz, 2 channels\n" in said
    assert said.endswith("speaker: anna 50, bob 50")


def test_the_identity_is_that_of_the_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(12):
        store(tmp_path / "one" / f"{index}.wav", ramp(50 + index))
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    monkeypatch.chdir(tmp_path)
    names = (f"folder:{tmp_path}/one", "folder:one", "folder:./one/", "folder:two")
    (same,) = {open_sounds(name).identity for name in names}
    others = [
        open_sounds("folder:one", "test"), open_sounds("folder:one", seconds=1),
        open_sounds("folder:one", sample_rate=4000), open_sounds("folder:one", flip=True),
        open_sounds("folder:one", scale=2), open_sounds("folder:one", channels=2),
        open_sounds("synthetic", "test"),
    ]  # fmt: skip
    store(tmp_path / "two" / "3.wav", ramp(99))
    others.append(open_sounds("folder:two"))
    assert len({same, *(sounds.identity for sounds in others)}) == len(others) + 1


def test_a_loader_batches_items(digits: Path) -> None:
    batch = next(iter(DataLoader(open_sounds("fsdd", "test", digits), batch_size=7)))
    assert batch["x"].shape == (7, 1, 5120)
    assert batch["label"].tolist() == [0] * 7
    assert batch["speaker"].tolist() == [0] * 5 + [1] * 2


def test_wrong_arguments() -> None:
    with pytest.raises(
        UserError, match="unknown data set 'fsd'; known are fsdd, synthetic, folder"
    ):
        open_sounds("fsd")
    with pytest.raises(UserError, match="unknown data set 'folder:'"):
        open_sounds("folder:")
    with pytest.raises(ValueError, match="unknown split 'valid'"):
        open_sounds("fsdd", "valid")
    for argument, value in (
        ("seconds", -1.0), ("seconds", float("nan")), ("channels", 0), ("scale", 0.0),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"must be positive, not {value}"):
            open_sounds("synthetic", **{argument: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("rate", [0, 1, 99, 1_000_001, 10**9])
def test_rates_that_no_sound_has(digits: Path, rate: int) -> None:
    for name in ("fsdd", "synthetic", "folder:does/not/exist"):
        with pytest.raises(ValueError, match=f"100 to 1,000,000 Hz, not {rate:,}"):
            open_sounds(name, data_dir=digits, sample_rate=rate)


def test_the_lowest_rate_works(tmp_path: Path) -> None:
    store(tmp_path / "a.wav", ramp(50), 50)
    with pytest.raises(ValueError, match="not 50: choose another"):
        open_sounds(f"folder:{tmp_path}", seconds=1)
    assert open_sounds(f"folder:{tmp_path}", sample_rate=100, seconds=1)[0]["x"].shape == (1, 100)


def test_lengths_that_no_memory_holds(digits: Path, tmp_path: Path) -> None:
    store(tmp_path / "a.wav", ramp(50))
    for name in ("fsdd", f"folder:{tmp_path}"):
        for seconds in (10000, 1e300):
            with pytest.raises(ValueError, match="fewer seconds or a lower sample rate"):
                open_sounds(name, data_dir=digits, seconds=seconds)
    with pytest.raises(ValueError, match=r"1,000 synthetic clips of 60 s .* more than 4 GiB"):
        open_sounds("synthetic", seconds=60)


# --- the real thing


def test_the_real_digits(data_dir: Path) -> None:
    if not (data_dir / "fsdd").is_dir():
        pytest.skip("MMDIFF_DATA has no fsdd")
    test = open_sounds("fsdd", "test", data_dir)
    assert test.conditions["speaker"] == Class(6, SPEAKERS)
    assert (len(test), test.shape) == (300, (1, 5120))
    items = [test[index] for index in range(300)]
    assert torch.tensor([item["label"] for item in items]).bincount().tolist() == [30] * 10
    assert torch.tensor([item["speaker"] for item in items]).bincount().tolist() == [50] * 6
    peaks = torch.stack([item["x"].abs().max() for item in items])
    torch.testing.assert_close(peaks, torch.full((300,), 0.9))
