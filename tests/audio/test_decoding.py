"""Whole files are read to their ends, whatever their headers say, and cut ones are named."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from mmdiff.audio import decoding
from mmdiff.audio.sound import SUFFIXES, blocks, probe, read
from mmdiff.errors import UserError

RATE, LENGTH = 24000, 60000
FORMATS = [
    ("wav", "PCM_U8"), ("wav", "PCM_16"), ("wav", "PCM_24"), ("wav", "FLOAT"), ("wav", "DOUBLE"),
    ("wav", "ULAW"), ("flac", "PCM_16"), ("flac", "PCM_24"), ("ogg", "VORBIS"), ("opus", "OPUS"),
    ("mp3", "MPEG_LAYER_III"), ("aiff", "PCM_16"), ("au", "PCM_16"), ("caf", "PCM_16"),
    ("caf", "ALAC_16"), ("aifc", "ULAW"),
]  # fmt: skip
KINDS = {"opus": "OGG", "aifc": "AIFF"}


def noisy(frames: int = LENGTH, channels: int = 1) -> np.ndarray:
    """[frames, channels], smooth enough for lossy formats."""
    x = np.random.default_rng(0).standard_normal((frames, channels)).cumsum(0)
    return (0.9 * x / np.abs(x).max()).astype(np.float32)


def store(
    path: Path, values: np.ndarray, rate: int = RATE, subtype: str | None = None, **options: object
) -> Path:
    kind = KINDS.get(path.suffix[1:])
    soundfile.write(path, values, rate, subtype=subtype, format=kind, **options)
    return path


def told(path: Path) -> str:
    """What reading the whole file says of it."""
    with pytest.raises(UserError) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError):
        list(blocks(path))
    with pytest.raises(UserError):
        probe(path)
    return str(caught.value)


def check_parts(path: Path) -> None:
    """Any part of a file is a slice of the whole."""
    whole, _ = read(path)
    length = whole.shape[1]
    assert probe(path).frames == length
    for start in (1, length // 3, length - 9000, length - 700):
        part, _ = read(path, start, 700)
        torch.testing.assert_close(part, whole[:, start : start + 700], atol=1e-6, rtol=0)


# --- files that are whole


@pytest.mark.parametrize(("suffix", "subtype"), [*FORMATS, ("w64", "PCM_16"), ("snd", "PCM_16")])
def test_what_libsndfile_reads_is_a_sound(tmp_path: Path, suffix: str, subtype: str) -> None:
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, noisy(), RATE, subtype=subtype, format={**KINDS, "snd": "AU"}.get(suffix))
    assert f".{suffix}" in SUFFIXES
    assert probe(path).frames == LENGTH
    check_parts(path)


def mp3(path: Path, mode: str = "CONSTANT") -> bytes:
    """A quiet second half, so that a variable rate falls in the middle."""
    x = noisy()
    x[LENGTH // 2 :] *= 1e-3
    return store(path, x, compression_level=0.5, bitrate_mode=mode).read_bytes()


def untagged(data: bytes) -> bytes:
    """Without the first frame, which holds the count and no sound."""
    second = data.index(data[:2], 100)
    assert b"Info" in data[:second] or b"Xing" in data[:second]
    return data[second:]


def cover(size: int = 300_000) -> bytes:
    """An ID3 tag with a picture that is larger than the sound."""
    picture = b"\0image/jpeg\0\3\0" + bytes([255, 216]) + bytes(size)
    frame = b"APIC" + struct.pack(">I", len(picture)) + b"\0\0" + picture
    sizes = bytes(len(frame) >> shift & 127 for shift in (21, 14, 7, 0))
    return b"ID3\3\0\0" + sizes + frame


def in_wav(data: bytes) -> bytes:
    """An MP3 in a WAV file."""
    form = struct.pack("<HHIIHHHHIHHH", 0x55, 1, RATE, 8000, 1, 0, 12, 1, 2, 192, 1, 1393)
    chunks = b"fmt " + struct.pack("<I", len(form)) + form
    chunks += b"fact" + struct.pack("<II", 4, LENGTH) + b"data" + struct.pack("<I", len(data))
    return b"RIFF" + struct.pack("<I", len(chunks) + len(data) + 4) + b"WAVE" + chunks + data


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_mp3s_are_read_to_their_ends(tmp_path: Path, mode: str) -> None:
    tagged = mp3(tmp_path / "a.mp3", mode)
    bare = untagged(tagged)
    path = tmp_path / "b.mp3"
    end = b"TAG" + bytes(125)  # an old kind of tag
    for data, times in (
        (tagged, 1), (bare, 1), (cover() + tagged, 1), (cover() + bare, 1), (bare + end, 1),
        (tagged + tagged, 2), (bare + bare, 2), (bare + tagged, 2), (tagged + cover() + tagged, 2),
        (cover() + tagged + end + tagged, 2), (tagged + tagged + tagged, 3),
    ):  # fmt: skip
        path.write_bytes(data)
        slack = 4 * 1152 * times  # what a decoder puts before and after, if it is not told
        assert times * LENGTH <= probe(path).frames <= times * LENGTH + slack
        check_parts(path)
    for data in (tagged, bare):
        (tmp_path / "b.wav").write_bytes(in_wav(data))
        assert LENGTH <= probe(tmp_path / "b.wav").frames <= LENGTH + 4 * 1152
        check_parts(tmp_path / "b.wav")


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_an_mp3_in_blocks_is_the_whole(tmp_path: Path, mode: str) -> None:
    """A decoder that seeks between the blocks gets the first samples of each wrong."""
    mp3(tmp_path / "a.mp3", mode)
    expected, _ = soundfile.read(tmp_path / "a.mp3", dtype="float32")
    whole, _ = read(tmp_path / "a.mp3")
    np.testing.assert_allclose(whole[0].numpy(), expected, atol=1e-6)
    parts = [read(tmp_path / "a.mp3", start, 1000)[0] for start in range(0, LENGTH, 1000)]
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-6, rtol=0)


@pytest.mark.parametrize("suffix", ["ogg", "opus"])
def test_a_chain_is_read_to_its_end(tmp_path: Path, suffix: str) -> None:
    one, two = noisy(), noisy(LENGTH // 2)[::-1]
    first, second = (store(tmp_path / f"{k}.{suffix}", x) for k, x in enumerate((one, two)))
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(first.read_bytes() + second.read_bytes() + first.read_bytes())
    expected = torch.cat([read(link)[0] for link in (first, second, first)], 1)
    assert expected.shape == (1, 5 * LENGTH // 2)
    assert torch.equal(read(path)[0], expected)
    check_parts(path)


def test_a_chain_of_two_kinds_is_refused(tmp_path: Path) -> None:
    first, second = (store(tmp_path / f"{n}.ogg", noisy(9000, n)) for n in (1, 2))
    (tmp_path / "a.ogg").write_bytes(first.read_bytes() + second.read_bytes())
    assert "changes its sample rate or its channels" in told(tmp_path / "a.ogg")


@pytest.mark.parametrize("subtype", ["GSM610", "IMA_ADPCM", "MS_ADPCM"])
def test_coded_wavs_are_read(tmp_path: Path, subtype: str) -> None:
    path = store(tmp_path / "a.wav", noisy(), 8000, subtype)
    assert LENGTH <= probe(path).frames < LENGTH + 4096
    check_parts(path)


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFFFFF - 36])
def test_a_file_from_a_pipe_is_whole(tmp_path: Path, size: int) -> None:
    """Its writer could not go back to the header to put in the length."""
    path = store(tmp_path / "a.wav", noisy(500), subtype="PCM_16")
    whole, _ = read(path)
    data = bytearray(path.read_bytes())
    data[4:8] = data[40:44] = size.to_bytes(4, "little")
    path.write_bytes(data)
    assert torch.equal(read(path)[0], whole)


def test_a_flac_from_a_pipe_is_whole(tmp_path: Path) -> None:
    path = store(tmp_path / "a.flac", noisy())
    whole, _ = read(path)
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0  # 36 bits
    data[22:26] = bytes(4)
    path.write_bytes(data)
    assert torch.equal(read(path)[0], whole)


@pytest.mark.parametrize("beyond", [2, -2])
def test_a_size_field_that_is_a_little_off(tmp_path: Path, beyond: int) -> None:
    path = store(tmp_path / "a.wav", noisy(), subtype="PCM_16")
    whole, _ = read(path)
    data = bytearray(path.read_bytes())
    data[40:44] = (2 * LENGTH + beyond).to_bytes(4, "little")
    path.write_bytes(data)
    assert torch.equal(read(path)[0], whole[:, : LENGTH + min(0, beyond // 2)])


def test_a_name_that_is_not_in_utf8_is_read(tmp_path: Path) -> None:
    data = store(tmp_path / "a.wav", noisy(9)).read_bytes()
    path = tmp_path / os.fsdecode(b"caf\xe9.wav")
    try:
        path.write_bytes(data)
    except OSError:
        pytest.skip("this file system takes no such names")
    assert read(path)[0].shape == (1, 9)


# --- files that are not


@pytest.mark.parametrize(("suffix", "subtype"), FORMATS)
def test_a_cut_file_is_named(tmp_path: Path, suffix: str, subtype: str) -> None:
    data = store(tmp_path / f"a.{suffix}", noisy(20000, 2), subtype=subtype).read_bytes()
    path = tmp_path / f"cut.{suffix}"
    for length in (1, 3, 11, 40, 60, 100, len(data) // 4, len(data) // 2, len(data) * 3 // 4):
        path.write_bytes(data[:length])
        said = told(path)
        assert "cut" in said or "is empty: there is a header" in said
    path.write_bytes(data)
    assert read(path)[0].shape[0] == 2


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = store(tmp_path / "a.flac", noisy())
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) * 2 // 3] = bytes(len(data) * 2 // 3 - len(data) // 2)
    path.write_bytes(data)
    assert "cut or damaged" in told(path)


def test_other_files_are_named(tmp_path: Path) -> None:
    for name in ("a.wav", "a.mp3", "a.flac", "a.ogg", "a.raw", "a.au"):
        path = tmp_path / name
        path.write_text("These are the words of a song, not its sound. " * 20)
        assert "is no sound file" in told(path)
        path.write_bytes(b"")
        assert "is empty" in told(path)
    assert "No such file" in told(tmp_path / "nowhere.wav")
    assert "is a folder" in told(tmp_path)
    assert "is empty: there is a header" in told(store(tmp_path / "a.wav", noisy(9)[:0]))
    assert "2,000,000,000 Hz" in told(store(tmp_path / "a.wav", noisy(9), 2_000_000_000))


def test_a_pipe_is_named_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.wav")
    assert "is not a regular file" in told(tmp_path / "a.wav")


# --- ffmpeg's libraries


def test_what_needs_pyav_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "available", lambda: False)
    (tmp_path / "a.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(500))
    assert "needs PyAV to be read: pip install 'mmdiff[av]'" in told(tmp_path / "a.m4a")


@pytest.mark.parametrize(
    ("suffix", "codec", "delay"),
    [("m4a", "aac", 0), ("m4a", "alac", 0), ("aac", "aac", 1024), ("mka", "flac", 0),
     ("ac3", "ac3", 256)],
)  # fmt: skip
def test_pyav_reads_the_rest(tmp_path: Path, suffix: str, codec: str, delay: int) -> None:
    path = tmp_path / f"a.{suffix}"
    x = noisy(96000).T
    encode(path, codec, x)
    assert path.suffix in SUFFIXES
    info = probe(path)
    assert (info.sample_rate, info.channels) == (48000, 1)
    assert 96000 <= info.frames <= 96000 + 3 * 1536
    check_parts(path)
    y = read(path)[0][:, delay:]
    lossless = codec in ("alac", "flac")
    tolerance = 2**-15 if lossless else 0.1
    torch.testing.assert_close(y[:, :90000], torch.from_numpy(x[:, :90000]), atol=tolerance, rtol=0)


def test_pyav_names_what_is_cut_or_foreign(tmp_path: Path) -> None:
    encode(tmp_path / "whole.m4a", "aac", noisy(96000).T)
    data = (tmp_path / "whole.m4a").read_bytes()
    path = tmp_path / "a.m4a"
    for length in (11, 100, len(data) // 2, len(data) * 3 // 4):
        path.write_bytes(data[:length])
        assert "cut" in told(path)
    # The head may stand before the sound, which then ends early without an error.
    encode(tmp_path / "whole.m4a", "aac", noisy(96000).T, movflags="faststart")
    data = (tmp_path / "whole.m4a").read_bytes()
    path.write_bytes(data[: len(data) * 3 // 4])
    assert "cut" in told(path)
    path.write_text("#EXTM3U\n#EXTINF:1,\nwhole.m4a\n")
    assert "is no sound file" in told(path)


def encode(path: Path, codec: str, x: np.ndarray, **options: str) -> None:
    """`x` [C, L] at 48 kHz."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=48000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(x), "fltp", "mono")
        frame.sample_rate, frame.pts = 48000, 0
        wanted = stream.codec_context.codec.audio_formats[0].name
        change = av.AudioResampler(wanted, "mono", 48000)
        for part in [*change.resample(frame), *change.resample(None), None]:
            container.mux(stream.encode(part))
