"""Spectrograms against librosa and closed forms; pictures are read back."""

from __future__ import annotations

import itertools
import math
import weakref
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmdiff.audio import pictures, sound
from mmdiff.audio.pictures import gallery, spectrogram_picture
from mmdiff.audio.spectrogram import mel, outline
from mmdiff.errors import UserError

RATE, LENGTH = 8000, 5120
BLACK, BLUE = (0, 0, 3), (52, 101, 164)  # the floor of the colours, and waveforms


def tone(hertz: float, length: int = LENGTH, rate: int = RATE) -> torch.Tensor:
    return torch.sin(2 * math.pi * hertz / rate * torch.arange(length))


def levels(x: torch.Tensor, rate: int = RATE) -> torch.Tensor:
    """[L] or [C, L] -> [mels, frames] in dB, with as many frames as there are."""
    length = x.shape[-1]
    return outline([x.reshape(-1, length)], length, rate, length).levels


def power(decibels: torch.Tensor) -> torch.Tensor:
    return 10 ** (decibels / 10)


def middle(decibels: torch.Tensor) -> torch.Tensor:
    """Without the frames whose windows reach beyond the clip."""
    return decibels[..., 8:-8]


@pytest.mark.parametrize(
    ("rate", "window", "mels"),
    [(8000, 256, 67), (16000, 512, 88), (22050, 1024, 99), (48000, 2048, 125)],
)
def test_librosa_agrees(rate: int, window: int, mels: int) -> None:
    x = torch.randn(2, 3 * window + 17) * torch.tensor([[0.5], [1e-3]])
    theirs = librosa.feature.melspectrogram(
        y=x.numpy(), sr=rate, n_fft=2 * window, win_length=window, hop_length=window // 8,
        pad_mode="constant", n_mels=mels, htk=True, norm=None,
    )  # fmt: skip
    hann = np.hanning(window + 1)[:-1]
    theirs = 10 * np.log10(np.maximum(theirs * 2 / (2 * window * (hann**2).sum()), 1e-12))
    for ours, one in zip(map(partial(levels, rate=rate), x), theirs, strict=True):
        frames = min(ours.shape[1], one.shape[1])
        np.testing.assert_allclose(ours.numpy()[:, :frames], one[:, :frames], atol=0.02)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(amplitude=st.floats(0.01, 1), hertz=st.floats(300, 3300))
def test_the_bands_add_up_to_the_mean_square(amplitude: float, hertz: float) -> None:
    total = power(middle(levels(amplitude * tone(hertz)))).sum(0)
    torch.testing.assert_close(
        total, torch.full_like(total, amplitude**2 / 2), rtol=0.02, atol=1e-9
    )


def test_levels() -> None:
    """Ten times the amplitude is 20 dB more; silence is -120 dB; bands are wider further up."""
    x = 0.1 * torch.randn(20 * LENGTH)
    heard = levels(x)
    torch.testing.assert_close(levels(10 * x), heard + 20, rtol=0, atol=1e-3)
    assert torch.equal(levels(0 * x), torch.full_like(heard, -120))
    # Of white noise a band has the power of its share of 4 kHz.
    mean = power(middle(heard)).mean(1)
    mel = torch.linspace(0, 2595 * math.log10(1 + 4000 / 700), len(mean) + 2)
    hertz = 700 * (10 ** (mel / 2595) - 1)
    share = (hertz[2:] - hertz[:-2]) / 2 / 4000
    torch.testing.assert_close(mean / 0.01, share, rtol=0.15, atol=0)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.floats(150, 3800))
def test_a_tone_lies_in_its_band(hertz: float) -> None:
    loudest = middle(levels(tone(hertz))).mean(1).argmax()
    centre = (int(loudest) + 1) / (67 + 1) * mel(RATE / 2)
    assert abs(mel(hertz) - centre) < 20  # bands are 31.6 apart


def test_a_click_lies_in_its_frame() -> None:
    x = torch.zeros(LENGTH)
    x[32 * 50] = 1
    assert levels(x).mean(0).argmax() == 50


def pixels(image: Image.Image) -> np.ndarray:
    assert image.mode == "RGB"
    return np.asarray(image)


def boxes(page: np.ndarray, colour: tuple[int, int, int]) -> list[tuple[int, int, int, int]]:
    """(left, right, top, bottom) of all that has this colour, without the gaps between columns
    and rows."""
    found = (abs(page.astype(int) - colour) <= 2).all(2)
    return [
        (left, right, top, bottom)
        for top, bottom in runs(found.any(1))
        for left, right in runs(found[top:bottom].any(0))
    ]


def runs(line: np.ndarray) -> list[tuple[int, int]]:
    """[(start, end)] of every stretch of at least 20 that is true, but for holes of 5."""
    places = np.flatnonzero(line)
    parts = np.split(places, np.flatnonzero(np.diff(places) > 5) + 1)
    return [(part[0], part[-1] + 1) for part in parts if len(part) and part[-1] - part[0] >= 20]


def test_a_gallery_has_a_place_for_each_clip() -> None:
    silence = torch.zeros(3, 1, LENGTH)
    page = pixels(gallery([("generated", silence), ("real", silence)], RATE, ["a", "b", "c"]))
    width, height = 400, 110
    spectrograms = boxes(page, BLACK)
    assert [(right - left, bottom - top) for left, right, top, bottom in spectrograms] == [
        (pytest.approx(width, abs=1), pytest.approx(height, abs=1))
    ] * 6
    lefts = sorted({box[0] for box in spectrograms})
    assert np.diff(lefts).tolist() == [width + 8] * 2
    # With their waveforms of 44 pixels they fill most of the page.
    assert 6 * width * (height + 44) > 0.65 * page.shape[0] * page.shape[1]


def test_a_waveform_is_drawn_to_scale() -> None:
    """A square wave of half of full scale fills the middle half of its lane, where it sounds."""
    x = 0.5 * tone(1000, 8000).sign()
    x[: 8000 // 4] = 0
    page = pixels(spectrogram_picture(x[None], RATE))
    blue = (abs(page.astype(int) - BLUE) <= 2).all(2)
    heights = blue.sum(0)
    assert np.median(heights[heights > 5]) == pytest.approx(50, abs=2)
    left = boxes(page, BLACK)[0][0]
    start = np.flatnonzero(heights > 30)[0]
    assert (start - left) / 840 == pytest.approx(0.25, abs=0.005)


def test_a_waveform_stays_in_its_lane() -> None:
    page = pixels(spectrogram_picture(1.5 * tone(3000)[None].sign(), RATE))
    heights = (abs(page.astype(int) - BLUE) <= 2).all(2).sum(0)
    assert 98 <= heights.max() <= 102
    with_infinity = torch.cat((tone(10), torch.tensor([torch.inf])))
    spectrogram_picture(with_infinity[None], RATE)


@pytest.mark.parametrize("rate", [8000, 48000])
def test_a_tone_and_a_click_are_where_the_axes_say(rate: int) -> None:
    """Brightest beside the tick of its frequency, and at its time."""
    background = boxes(pixels(spectrogram_picture(torch.zeros(1, rate), rate)), BLACK)[0]
    left, right, top, bottom = background
    light = pixels(spectrogram_picture(0.1 * tone(2000, rate, rate)[None], rate)).astype(int)
    row = light[top:bottom, left:right].sum((1, 2)).argmax()
    ticks = np.flatnonzero(light[top:bottom, left - 4].sum(1) < 3 * 200)
    places = [place for place, _ in pictures._hertz(rate, 260)]
    found = 260 - np.array([ticks[abs(260 - place - ticks).argmin()] for place in places])
    np.testing.assert_allclose(found, places, atol=1.5)
    names = [name for _, name in pictures._hertz(rate, 260)]
    assert 260 - row == pytest.approx(places[names.index("2 kHz")], abs=4)

    click = torch.zeros(1, rate)
    click[0, int(0.7 * rate)] = 1
    light = pixels(spectrogram_picture(click, rate)).astype(int)
    columns = light[top:bottom, left:right].sum((0, 2))
    bright = np.flatnonzero(columns > 0.9 * columns.max())
    assert bright.mean() / (right - left) == pytest.approx(0.7, abs=0.005)


def test_equal_clips_are_drawn_equal_and_others_are_not() -> None:
    """Wherever they stand, whatever stands beside them: the scales are always the same."""
    x = torch.stack([tone(440), 0.01 * torch.randn(LENGTH)])[:, None]
    page = pixels(gallery([("", x), ("", x.flip(0))], RATE, ["", ""]))
    boxes_of = boxes(pixels(gallery([("", 0 * x), ("", 0 * x)], RATE, ["", ""])), BLACK)
    a, b, c, d = (page[top - 44 : bottom, left:right] for left, right, top, bottom in boxes_of)
    for one, other in ((a, d), (b, c)):  # but for where single pixels are rounded to
        assert (abs(one.astype(int) - other) > 3).any(2).mean() < 0.01
    assert (abs(a.astype(int) - b) > 30).any(2).mean() > 0.2
    quiet = pixels(gallery([("", 0.1 * x), ("", x)], RATE, ["", ""]))
    left, right, top, bottom = boxes_of[0]
    assert quiet[top:bottom, left:right].sum() < 0.9 * a[44:].sum()


def test_each_channel_has_its_lane_and_all_share_a_spectrogram() -> None:
    mono = spectrogram_picture(tone(440)[None], RATE)
    phases = spectrogram_picture(torch.stack([tone(440), -tone(440)]), RATE)
    assert phases.height - mono.height == 100
    top = boxes(pixels(spectrogram_picture(torch.zeros(1, LENGTH), RATE)), BLACK)[0][2]
    # Opposite phases do not cancel out, and sides are equal.
    assert np.array_equal(pixels(mono)[top:], pixels(phases)[top + 100 :])
    sides = torch.stack([tone(440), 0 * tone(440)])
    left, right = (
        pixels(spectrogram_picture(x, RATE))[top + 100 :] for x in (sides, sides.flip(0))
    )
    assert np.array_equal(left, right)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_any_precision(dtype: torch.dtype) -> None:
    x = (0.5 * tone(440)).to(dtype)[None].requires_grad_()
    expected = spectrogram_picture(x.detach().float(), RATE)
    assert np.array_equal(pixels(spectrogram_picture(x, RATE)), pixels(expected))


def test_text_is_drawn_as_it_is() -> None:
    """A name is no formula, and a picture without one has no room for it."""
    x = torch.zeros(1, LENGTH)
    titled = spectrogram_picture(x, RATE, r"$\\oops{$ 5_a.wav")
    plain = spectrogram_picture(x, RATE)
    room = titled.height - plain.height
    assert room > 10
    assert (pixels(titled)[:room] < 128).sum() > 100
    # One that is too wide for its column ends before the next.
    columns = torch.zeros(10, 1, LENGTH)
    page = pixels(gallery([("", columns)], RATE, ["n" * 80] + [""] * 9))
    assert np.flatnonzero((page[:room] < 128).any((0, 2))).max() < 76 + 120
    captions = gallery([("", x[None])], RATE, ["a"]).height - gallery([("", x[None])], RATE).height
    assert captions == room


def test_a_long_caption_takes_as_many_lines_as_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it is there, one line below the other, within its column and above its clips."""
    written: list[tuple[float, float, str]] = []
    write = pictures._Paper.write

    def note(paper: Any, x: float, y: float, text: str, size: int, *others: Any, **more: Any):
        if size == 14:
            written.append((x, y, text))
        write(paper, x, y, text, size, *others, **more)

    monkeypatch.setattr(pictures._Paper, "write", note)
    speakers = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
    captions = [", ".join(f"{digit} {name}" for name in speakers) for digit in range(9)] + ["9"]
    silence = torch.zeros(10, 1, LENGTH)
    page = pixels(gallery([("", silence)] * 2, RATE, captions))
    columns: dict[float, list[tuple[float, str]]] = {}
    for x, y, text in written:
        if text:
            columns.setdefault(x, []).append((y, text))
    for lines, caption in zip(columns.values(), captions, strict=True):
        texts = [text.replace("\N{NO-BREAK SPACE}", " ") for _, text in sorted(lines)]
        assert " ".join(texts) == caption
        assert all(text[0].isdigit() for text in texts)  # nobody is parted from what is said
    assert len(pictures._lines("a class whose name is long", 120)) == 2
    assert np.diff(sorted(columns)).tolist() == [120 + 8] * 9
    assert all(np.diff([y for y, _ in sorted(lines)]).tolist() == [18] * (len(lines) - 1)
               for lines in columns.values())  # fmt: skip
    lane = boxes(page, BLACK)[0][2] - 4 - 44  # the top of the first row's waveforms
    assert {max(lines)[0] for lines in columns.values()} == {lane - 8 - 7}
    assert min(y for _, y, text in written if text) == 8 + 7
    dark = (page[:lane] < 128).any((0, 2))
    assert not any(dark[int(x) + 61 : int(x) + 67].any() for x in columns)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(length=st.floats(1e-3, 1e4), width=st.integers(120, 840))
def test_seconds_are_marked_at_round_times(length: float, width: int) -> None:
    marks = pictures._seconds(length, width)
    places = [place for place, _ in marks]
    assert places[0] == 0
    assert places[-1] < width - 20  # half of a name
    assert all(np.diff(places) >= 50)
    for place, name in marks[1:]:
        assert float(name.removesuffix(" s")) == pytest.approx(place / width * length, rel=1e-4)
        assert f"{float(name.removesuffix(' s')):e}"[0] in "123456789"
    assert len(marks) > 1 or width < 160


@settings(max_examples=30, deadline=None, derandomize=True)
@given(length=st.integers(1, 6000), width=st.integers(120, 840))
def test_a_spectrogram_reaches_both_ends(length: int, width: int) -> None:
    seen = outline([torch.ones(1, length)], length, RATE, width)
    levels, (left, right) = seen.levels, seen.span
    assert left <= 0
    assert right >= width
    # No frame lies wholly beyond the end.
    assert right - (right - left) / levels.shape[1] < width


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    length=st.integers(1, 9000),
    cuts=st.lists(st.integers(0, 9000), max_size=5),
    width=st.integers(1, 300),
    channels=st.integers(1, 3),
)
def test_parts_are_drawn_as_the_whole(
    length: int, cuts: list[int], width: int, channels: int
) -> None:
    x = torch.randn(channels, length)
    places = sorted({0, length, *(cut for cut in cuts if cut < length)})
    parts = [x[:, a:b] for a, b in itertools.pairwise(places)]
    whole, seen = (outline(cut, length, RATE, width) for cut in ([x], parts))
    assert seen.span == whole.span
    assert torch.equal(seen.low, whole.low)
    assert torch.equal(seen.high, whole.high)
    torch.testing.assert_close(seen.levels, whole.levels, atol=1e-3, rtol=0)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(length=st.integers(1, 9000), width=st.integers(1, 300))
def test_an_outline_is_the_spectrogram_and_the_extremes(length: int, width: int) -> None:
    x = torch.randn(2, length)
    seen = outline([x], length, RATE, width)
    size = -(-length // width)
    stretches = x.split(size, 1)
    assert torch.equal(seen.low, torch.stack([part.amin(1) for part in stretches], 1))
    assert torch.equal(seen.high, torch.stack([part.amax(1) for part in stretches], 1))
    if length // (2 * width) <= 32:  # the hop of a spectrogram
        mean = power(torch.stack([levels(one) for one in x])).mean(0)
        torch.testing.assert_close(power(seen.levels), mean, rtol=1e-3, atol=1e-12)


def test_a_file_is_drawn_as_what_is_in_it(tmp_path: Path) -> None:
    x = 0.1 * torch.randn(2, 30_000).clamp(-9, 9)
    sound.write(tmp_path / "a.flac", x, RATE, subtype="PCM_24")
    for path in (tmp_path / "a.flac", str(tmp_path / "a.flac")):
        ours = pixels(spectrogram_picture(path, title="a"))
        theirs = pixels(spectrogram_picture(sound.read(path)[0], RATE, "a"))
        assert np.array_equal(ours, theirs)


def test_an_hour_needs_no_memory() -> None:
    """48 kHz in two channels: 1.4 GB, of which no more than a part or two lives at a time."""
    length, size = 3600 * 48_000, 1 << 19
    alive: list[weakref.ref[torch.Tensor]] = []

    def parts() -> Iterator[torch.Tensor]:
        for start in range(0, length, size):
            assert sum(part() is not None for part in alive) <= 2
            x = torch.full((2, min(size, length - start)), 0.5)
            alive.append(weakref.ref(x))
            yield x
            del x

    process = psutil.Process()
    used: list[int] = []

    def watched() -> Iterator[torch.Tensor]:
        for part in parts():
            yield part
            used.append(process.memory_info().rss)

    seen = outline(watched(), length, 48_000, 840)
    assert len(alive) == 330
    # The allocator takes what it likes, most of it for the first parts; it must not be the hour.
    assert max(used) - used[30] < 300e6
    assert seen.high.eq(0.5).all()
    assert seen.levels.shape[1] in range(1680, 1684)


def test_what_cannot_be_drawn_is_refused() -> None:
    x = torch.zeros(2, 1, LENGTH)
    with pytest.raises(ValueError, match="rows of one shape"):
        gallery([("generated", x), ("real", x[:1])], RATE)
    with pytest.raises(ValueError, match="not none"):
        gallery([], RATE)
    with pytest.raises(ValueError, match="2 columns need as many captions, not 3"):
        gallery([("", x)], RATE, ["a", "b", "c"])
    for clips in (x[:0], x[:, :0], x[..., :0], x[0]):
        with pytest.raises(ValueError, match="need clips"):
            gallery([("", clips)], RATE)
    with pytest.raises(ValueError, match="needs a sample_rate"):
        spectrogram_picture(x[0])
    with pytest.raises(ValueError, match=r"need clips .* not \[5120\]"):
        spectrogram_picture(x[0, 0], RATE)
    x[1, 0, 7] = torch.nan
    with pytest.raises(UserError, match="NaN"):
        gallery([("", x)], RATE)
