"""Sound files: parts are slices of wholes, sines stay sines, bad files are named."""

from __future__ import annotations

import math
import resource
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from mmdiff.audio import sound
from mmdiff.audio.sound import (
    SoundInfo,
    blocks,
    header,
    mix,
    probe,
    read,
    read_resampled,
    resample,
    resampled,
    resampled_length,
    write,
)
from mmdiff.errors import UserError

FORMATS = [
    ("wav", "PCM_U8"), ("wav", "PCM_16"), ("wav", "PCM_24"), ("wav", "FLOAT"), ("wav", "DOUBLE"),
    ("wav", "ULAW"), ("flac", "PCM_16"), ("flac", "PCM_24"), ("ogg", "VORBIS"), ("opus", "OPUS"),
    ("mp3", "MPEG_LAYER_III"), ("aiff", "PCM_16"),
]  # fmt: skip


def noisy(frames: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    """[frames, channels], smooth enough for lossy formats."""
    x = np.random.default_rng(seed).standard_normal((frames, channels)).cumsum(0)
    return (0.9 * x / np.abs(x).max()).astype(np.float32)


def store(path: Path, values: np.ndarray, rate: int = 24000, subtype: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = "OGG" if path.suffix == ".opus" else None
    soundfile.write(path, values, rate, subtype=subtype, format=kind)
    return path


# --- reading


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize(("suffix", "subtype"), FORMATS)
def test_a_part_is_a_slice_of_the_whole(
    tmp_path: Path, suffix: str, subtype: str, channels: int
) -> None:
    if suffix == "mp3" and channels > 2:
        pytest.skip("MP3 has one or two channels")
    path = store(tmp_path / f"a.{suffix}", noisy(9000, channels), subtype=subtype)
    info = probe(path)
    assert (info.sample_rate, info.channels, info.frames) == (24000, channels, 9000)
    assert info.seconds == 0.375
    assert header(str(path)) == (24000, channels)
    whole, rate = read(path)
    expected, _ = soundfile.read(path, dtype="float32", always_2d=True)
    assert rate == 24000
    assert whole.is_contiguous()
    np.testing.assert_allclose(whole.numpy(), expected.T, atol=1e-6, rtol=0)
    assert torch.equal(read(path, 4567, 3000)[0], read(path, 4567, 3000)[0])
    for start, frames in ((0, 1), (0, 9000), (1, 100), (4567, 3000), (8999, 1), (9000, 0)):
        part, _ = read(path, start, frames)
        torch.testing.assert_close(part, whole[:, start : start + frames], atol=1e-6, rtol=0)
    torch.testing.assert_close(read(path, 8000)[0], whole[:, 8000:], atol=1e-6, rtol=0)


def test_what_lies_before_a_part_is_not_read(tmp_path: Path) -> None:
    values = noisy(1000)
    values[10] = np.nan
    path = store(tmp_path / "a.wav", values, subtype="FLOAT")
    np.testing.assert_array_equal(read(path, 11, 500)[0][0].numpy(), values[11:511, 0])
    for start, frames in ((0, None), (10, 1), (0, 11)):
        with pytest.raises(UserError, match=r"a\.wav has NaN or infinite values"):
            read(path, start, frames)
    for value in (-np.inf, 3e38):
        values[10] = value
        with pytest.raises(UserError, match="NaN or infinite values in it, or absurd ones"):
            read(store(path, values, subtype="FLOAT"))
    values[10] = -(2.0**31)  # as float32 of integers
    assert read(store(path, values, subtype="FLOAT"))[0].min() == -(2.0**31)


@pytest.mark.parametrize(("start", "frames"), [(-1, 5), (0, 101), (100, 1), (101, None), (5, -1)])
def test_a_part_lies_within_its_file(tmp_path: Path, start: int, frames: int | None) -> None:
    path = store(tmp_path / "a.wav", noisy(100))
    with pytest.raises(ValueError, match=f"from {start} on"):
        read(path, start, frames)


@pytest.mark.parametrize("channels", [1, 2])
def test_blocks_are_the_whole(
    tmp_path: Path, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store(tmp_path / "a.flac", noisy(1000, channels))
    monkeypatch.setattr(sound, "_BLOCK", 300)
    parts = list(blocks(path))
    assert len(parts) == math.ceil(1000 / (300 // channels))
    assert torch.equal(torch.cat(parts, 1), read(path)[0])


# --- resampling and mixing

RATES = [(44100, 22050), (44100, 48000), (48000, 44100), (8000, 22050), (11025, 8000),
         (96000, 16000), (22051, 16000)]  # fmt: skip


def sine(frequency: float, rate: int, seconds: float) -> Tensor:
    t = torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    return (2 * math.pi * frequency * t).sin().float()[None]


@pytest.mark.parametrize(("source", "target"), RATES)
def test_a_sine_stays_the_sine(source: int, target: int) -> None:
    low = min(source, target)
    for frequency in (100.0, 0.3 * low, 0.42 * low):
        y = resample(sine(frequency, source, 0.5), source, target)
        expected = sine(frequency, target, 0.5)
        inner = slice(target // 20, -target // 20)
        torch.testing.assert_close(y[:, inner], expected[:, inner], atol=1e-3, rtol=0)


@pytest.mark.parametrize(("source", "target"), [(44100, 22050), (48000, 8000)])
def test_what_the_lower_rate_cannot_hold_is_gone(source: int, target: int) -> None:
    y = resample(sine(0.55 * target, source, 0.5), source, target)
    assert y[:, target // 20 : -target // 20].abs().max() < 1e-4


@given(
    st.integers(0, 3000), st.integers(1, 50).map(lambda k: 997 * k), st.integers(4000, 50000),
    st.integers(1, 3),
)  # fmt: skip
@settings(derandomize=True, deadline=None, max_examples=40)
def test_lengths(frames: int, source: int, target: int, channels: int) -> None:
    length = resampled_length(frames, source, target)
    assert abs(length - frames * target / source) <= 0.5
    assert resample(torch.zeros(channels, frames), source, target).shape == (channels, length)
    assert resampled_length(frames, source, source) == frames


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=5), st.sampled_from(RATES))
@settings(derandomize=True, deadline=None, max_examples=20)
def test_parts_are_resampled_as_the_whole(sizes: list[int], rates: tuple[int, int]) -> None:
    parts = [torch.rand(2, size) * 2 - 1 for size in sizes]
    whole = resample(torch.cat(parts, 1), *rates)
    torch.testing.assert_close(torch.cat(list(resampled(parts, *rates)), 1), whole)
    assert list(resampled(parts, 8000, 8000)) == parts


def test_the_same_rate_changes_nothing() -> None:
    x = torch.rand(2, 50, dtype=torch.float64, requires_grad=True)
    assert torch.equal(resample(x, 8000, 8000), x.float())


@pytest.mark.parametrize(("source", "target"), [*RATES, (16000, 16000), (8000, 96000)])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_resampled_part_is_a_slice_of_the_resampled_whole(
    tmp_path: Path, source: int, target: int, channels: int
) -> None:
    values = np.random.default_rng(0).uniform(-1, 1, (source, channels)).astype(np.float32)
    path = store(tmp_path / "a.wav", values, source, "FLOAT")
    info = probe(path)
    whole = resample(torch.from_numpy(values.T), source, target)
    length = resampled_length(info.frames, source, target)
    frames = length // 10
    for start in (0, 1, 3777, length // 2 + 1, length - frames - 1, length - frames):
        part = read_resampled(path, info, target, start, frames)
        torch.testing.assert_close(part, whole[:, start : start + frames], atol=1e-4, rtol=0)
    torch.testing.assert_close(read_resampled(path, info, target, 0, length), whole)


def test_a_resampled_part_reads_only_what_it_depends_on(tmp_path: Path) -> None:
    values = noisy(44100)
    values[:18000] = values[26000:] = np.nan
    path = store(tmp_path / "a.wav", values, 44100, "FLOAT")
    part = read_resampled(
        path, SoundInfo(44100, 1, 44100), 16000, 7200, 1600
    )  # 19845 to 24255 at 44100 Hz
    expected = resample(torch.from_numpy(values[18522:25578].T), 44100, 16000)  # 6720 at 16000 Hz
    torch.testing.assert_close(part, expected[:, 480:2080], atol=1e-4, rtol=0)


def test_mix() -> None:
    mono, stereo = torch.tensor([[0.2, -1.0]]), torch.tensor([[1.0, 0.5], [-1.0, 0.25]])
    assert mix(mono, 2).tolist() == [mono[0].tolist()] * 2
    assert mix(stereo, 1).tolist() == [[0.0, 0.375]]
    assert torch.equal(mix(stereo, 2), stereo)
    surround = torch.cat((stereo, torch.full((1, 2), 0.5)))
    assert mix(surround, 2).tolist() == [[0.75, 0.5], [-0.25, 0.375]]
    torch.testing.assert_close(mix(surround, 1), surround.mean(0, keepdim=True))
    assert torch.equal(mix(stereo, 3), stereo[[0, 1, 0]])


@given(st.integers(1, 8), st.integers(1, 8))
@settings(derandomize=True)
def test_mixing_stays_in_range_and_keeps_what_all_share(before: int, after: int) -> None:
    assert torch.equal(mix(torch.ones(before, 3), after), torch.ones(after, 3))
    x = torch.rand(before, 50) * 2 - 1
    assert mix(x, after).shape == (after, 50)
    assert mix(x, after).abs().max() <= 1


# --- writing

NOTE = {
    "Software": "mmdiff 9.9",
    "Description": "Generated by a diffusion model.",
    "Model": "цифри",
    "Seed": "3",
}


@pytest.mark.parametrize("suffix", ["wav", "flac"])
@pytest.mark.parametrize("bits", [16, 24])
def test_every_level_is_kept(tmp_path: Path, suffix: str, bits: int) -> None:
    """Of 24 bits the first and the last, those around 0 and some between."""
    top = 1 << (bits - 1)
    levels = torch.arange(-top, top, 1 if bits == 16 else 257, dtype=torch.float32)
    levels = torch.cat((levels, torch.tensor([-1.0, 0, 1, top - 1])))[None] / top
    path = f"{tmp_path}/a.{suffix}"  # a path may be a string
    write(path, levels, 8000, NOTE, f"PCM_{bits}")  # type: ignore[arg-type]
    assert torch.equal(read(path)[0], levels)
    assert soundfile.info(path).subtype == f"PCM_{bits}"
    write(path, torch.ones(1, 1), 8000, subtype=f"PCM_{bits}")  # type: ignore[arg-type]
    assert read(path)[0].item() == 1 - 1 / top


@given(st.integers(1, 4), st.integers(1, 500), st.sampled_from([8000, 22050, 48000, 11111]))
@settings(
    derandomize=True, max_examples=30, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
def test_round_trips(tmp_path: Path, channels: int, frames: int, rate: int) -> None:
    x = torch.rand(channels, frames) * 2 - 1
    write(tmp_path / "a.wav", x, rate, NOTE)
    y, found = read(tmp_path / "a.wav")
    assert found == rate
    assert (y - x).abs().max() <= 2**-15
    assert ((y - x).abs() <= 2**-16).logical_or(x > 1 - 2**-15).all()
    write(tmp_path / "a.wav", 3 * x, rate, NOTE, "FLOAT")
    assert torch.equal(read(tmp_path / "a.wav")[0], 3 * x)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_any_precision(tmp_path: Path, dtype: torch.dtype) -> None:
    x = torch.tensor([[-1, -0.5, 0, 0.25, 0.75]], dtype=dtype, requires_grad=True)
    write(tmp_path / "a.wav", x, 8000)
    assert read(tmp_path / "a.wav")[0].tolist() == x.tolist()


@pytest.mark.parametrize("frames", [1, 2, 77])
@pytest.mark.parametrize(
    ("suffix", "subtype"),
    [
        ("wav", "PCM_16"),
        ("wav", "FLOAT"),
        ("wav", "PCM_24"),
        ("flac", "PCM_16"),
        ("FLAC", "PCM_24"),
    ],
)
def test_the_note_is_read_back(tmp_path: Path, suffix: str, subtype: str, frames: int) -> None:
    path = tmp_path / "new" / f"a.{suffix}"
    write(path, torch.full((2, frames), 0.5), 44100, NOTE, subtype)  # type: ignore[arg-type]
    with soundfile.SoundFile(path) as file:
        assert file.subtype == subtype
        assert file.software.startswith("mmdiff 9.9")
        said = "Description: Generated by a diffusion model.\nModel: цифри\nSeed: 3"
        assert file.comment == said
        assert file.frames == frames
    data = path.read_bytes()
    if suffix == "wav":
        assert int.from_bytes(data[4:8], "little") == len(data) - 8
        assert b"INFO" in data


def test_a_long_note_is_cut_off_and_read_back(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", torch.zeros(1, 9), 8000, {"Model": "є" * 3000})
    with soundfile.SoundFile(tmp_path / "a.wav") as file:
        assert file.comment == "Model: " + "є" * 996


def test_other_readers_accept_it(tmp_path: Path) -> None:
    x = torch.tensor([[0.0, 0.5, -1.0], [1.0, -0.5, 2**-15]])
    write(tmp_path / "a.wav", x, 22050, {**NOTE, "Seed": "12"})
    with wave.open(str(tmp_path / "a.wav")) as file:
        shape = (file.getnchannels(), file.getsampwidth(), file.getframerate(), file.getnframes())
        assert shape == (2, 2, 22050, 3)
        values = np.frombuffer(file.readframes(9), "<i2")
    assert values.tolist() == [0, 32767, 16384, -16384, -32768, 1]


def test_the_same_sound_makes_the_same_file(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav"):
        write(tmp_path / name, sine(440, 8000, 0.1), 8000, NOTE)
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


@pytest.mark.parametrize("value", [1.0001, -1.5, 32767.0])
def test_nothing_is_saturated_in_silence(tmp_path: Path, value: float) -> None:
    x = torch.tensor([[0.0, value]])
    with pytest.raises(UserError, match=r"sound reaches .* beyond .* FLOAT"):
        write(tmp_path / "a.wav", x, 8000)
    assert list(tmp_path.iterdir()) == []
    write(tmp_path / "a.wav", x, 8000, subtype="FLOAT")
    assert torch.equal(read(tmp_path / "a.wav")[0], x)


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nan_is_refused(tmp_path: Path, value: float, subtype: str) -> None:
    with pytest.raises(UserError, match="NaN or infinite"):
        write(tmp_path / "a.wav", torch.tensor([[0, value]]), 8, subtype=subtype)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_wrong_arguments(tmp_path: Path) -> None:
    for shape in ((5,), (1, 1, 5), (1, 0), (0, 5)):
        with pytest.raises(ValueError, match=r"shape \[C, L\]"):
            write(tmp_path / "a.wav", torch.zeros(shape), 8000)
    for shape in ((16000, 1), (16000, 2), (9, 8)):
        with pytest.raises(ValueError, match="more channels than samples: is it transposed"):
            write(tmp_path / "a.wav", torch.zeros(shape), 8000)
    with pytest.raises(ValueError, match=r"a\.mp3 ends in neither \.wav nor \.flac"):
        write(tmp_path / "a.mp3", torch.zeros(1, 5), 8000)
    with pytest.raises(ValueError, match="FLAC is not written as 'FLOAT'"):
        write(tmp_path / "a.flac", torch.zeros(1, 5), 8000, subtype="FLOAT")
    with pytest.raises(ValueError, match="WAV is not written as 'PCM_8'"):
        write(tmp_path / "a.wav", torch.zeros(1, 5), 8000, subtype="PCM_8")  # type: ignore[arg-type]
    for channels, rate in ((9, 8000), (1, 0), (1, -8000), (1, 1 << 40), (1, 8000.5), (1, 700_000)):
        with pytest.raises(ValueError, match=f"FLAC holds no {channels} channels at {rate} Hz"):
            write(tmp_path / "a.flac", torch.zeros(channels, 50), rate)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write(path, torch.zeros(1, 5), 8000)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(UserError, match=r"a\.\w+ cannot be written \(File too large"):
            write(path, (0.5 * torch.rand(1, 9000) for _ in range(4)), 8000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(sizes=st.lists(st.integers(0, 50), max_size=5))
def test_parts_are_written_as_the_whole(tmp_path: Path, sizes: list[int]) -> None:
    x = 2 * torch.rand(2, sum(sizes) + 9) - 1
    write(tmp_path / "whole.wav", x, 8000, NOTE)
    write(tmp_path / "parts.wav", iter(x.split([9, *sizes], 1)), 8000, NOTE)
    assert (tmp_path / "parts.wav").read_bytes() == (tmp_path / "whole.wav").read_bytes()


def test_a_place_that_is_no_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        write(tmp_path / "file" / "a.wav", torch.zeros(1, 5), 8000)
