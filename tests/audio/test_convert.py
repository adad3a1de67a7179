"""Sound from sound: windows give what the whole does, at the level, rate and shape asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import mmdiff
from mmdiff import audio
from mmdiff.audio import convert, sound
from mmdiff.audio.convert import LEVEL, stream
from mmdiff.audio.levels import active_level
from mmdiff.audio.mel import Mel
from mmdiff.audio.modality import Sound
from mmdiff.audio.recording import Recording
from mmdiff.audio.tasks import Enhance, Task, Upsample, Vocode
from mmdiff.nn import MDCT, Residual, UNet

RATE = 8000
TASKS: dict[str, Task] = {
    "enhance": Enhance(RATE),
    "upsample": Upsample(4000, RATE),
    "vocode": Vocode(Mel(RATE, bands=20)),
}


def untrained(name: str, channels: int = 1, std: float = 0.1, **how: Any) -> mmdiff.Diffusion:
    """A small random network, whose output is not zero."""
    torch.manual_seed(0)
    task, inner = TASKS[name], MDCT(16)
    conditions = task.conditions(channels)
    width = 16 * channels
    net = UNet(
        1, width, width, (8, 8), 1, local=how.pop("local", True),
        conditions={name: kind.inside(inner) for name, kind in conditions.items()},
    )  # fmt: skip
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=std)
    codec = inner if name == "vocode" else Residual(inner)
    means = how.pop("means", "flow")
    model = mmdiff.Diffusion(net, mmdiff.Linear(), means, codec=codec, conditions=conditions)
    sampling = mmdiff.Sampling(how.pop("solver", "ddim"), 2)
    model.info = mmdiff.Info((channels, RATE), Sound(RATE, 4.0), sampling, task=task)
    return model.eval().requires_grad_(False)


MODELS = {name: untrained(name) for name in TASKS}
EXACT = untrained("enhance", std=0.0, means="x0")  # changes nothing


def noisy(length: int, channels: int = 1, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    return 0.05 * torch.randn(channels, length)


def decibels(error: Tensor, x: Tensor) -> float:
    return float(10 * (error.square().mean() / x.square().mean()).log10())


@pytest.mark.parametrize("name", TASKS)
@settings(max_examples=5, deadline=None, derandomize=True)
@given(length=st.integers(1, 90_000), seed=st.integers(0, 9))
def test_windows_give_what_the_whole_does(name: str, length: int, seed: int) -> None:
    """Within rounding, so that there is nothing to hear where they join."""
    source = Recording.of(noisy(length, seed=seed), RATE)
    whole = stream(name, source, MODELS[name], margins=1000).whole()
    parts = list(stream(name, source, MODELS[name], margins=3).parts)
    x = torch.cat(parts, 1)
    assert x.shape == (1, length)
    assert len(parts) >= length // 30_000
    assert decibels(x - whole, whole) < -60
    bend = x.diff(n=2).abs()
    ends = torch.tensor([part.shape[1] for part in parts]).cumsum(0)[:-1]
    for end in ends[ends < length].tolist():
        assert bend[:, end - 3 : end + 1].max() <= bend.max()
        assert (bend - whole.diff(n=2).abs())[:, end - 3 : end + 1].abs().max() < 1e-3


def test_an_hour_takes_no_more_than_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the sound, the network sees no more of it at once, and reads it as it goes."""
    model, read = MODELS["enhance"], 0
    seen: set[Any] = set()
    monkeypatch.setattr(model.backbone, "forward", lambda x, *_, **__: seen.add(x.shape) or x)
    monkeypatch.setattr("mmdiff.audio.convert.reach", lambda _: 900)

    def parts() -> Iterator[Tensor]:
        nonlocal read
        for _ in range(1000):
            read += 1
            yield noisy(RATE)

    sizes = []
    for minutes in (2, 60):
        recording = Recording(parts, RATE, 1, minutes * 60 * RATE, LEVEL, 0.5)
        result = stream("enhance", recording, model)
        read, size = 0, max(next(result.parts).shape[1], next(result.parts).shape[1])
        assert read <= 3 * size / RATE + 2
        shapes, seen = seen, set()
        sizes.append(shapes)
    assert sizes[0] == sizes[1]


def test_an_enhancer_hardly_knows_where_frames_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert, "noise_at", lambda _, n, shape, *__: torch.zeros(n, *shape))
    x, step, inside = noisy(20_000), 4, slice(4000, 16_000)

    def unlike() -> float:
        a = audio.enhance(x, RATE, MODELS["enhance"])
        b = audio.enhance(x.roll(step, 1), RATE, MODELS["enhance"]).roll(-step, 1)
        return decibels((a - b)[:, inside], (a - x)[:, inside])

    several = unlike()
    monkeypatch.setattr(convert, "_SPINS", {})
    assert several < unlike() - 4


@pytest.mark.parametrize("name", TASKS)
def test_levels_are_kept(name: str) -> None:
    x = noisy(20_000, 2)
    x[:, 8000:12_000] = 0
    loud = stream(name, Recording.of(x, RATE), MODELS[name]).whole()
    quiet = stream(name, Recording.of(0.1 * x, RATE), MODELS[name]).whole()
    assert decibels(quiet - 0.1 * loud, 0.1 * loud) < -60
    assert decibels(loud, x) > -40


def test_it_never_clips() -> None:
    """What is loud is bent, not cut; what goes beyond full scale comes as if made quieter."""
    x = noisy(20_000)
    for peak in (1.0, 3.0):
        loud = x / x.abs().max() * peak
        y = audio.enhance(loud, RATE, EXACT)
        expected = loud / peak
        assert y.abs().max() <= 1
        untouched = expected.abs() < 0.95
        torch.testing.assert_close(y[untouched], expected[untouched], rtol=0, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 2, 8])
@pytest.mark.parametrize("rate", [6000, 8000, 44_100])
def test_any_rate_and_channels(channels: int, rate: int) -> None:
    """An enhancer that changes nothing gives the channels back, up to half of its own rate."""
    time = torch.arange(rate) / rate
    hertz = 200 * torch.arange(1, channels + 1)[:, None]
    x = 0.2 * (2 * torch.pi * hertz * time).sin()
    y = audio.enhance(x, rate, EXACT)
    assert y.shape == x.shape
    assert decibels((y - x)[:, 500:-500], x) < -60
    upsampled = audio.upsample(x, rate, MODELS["upsample"])
    assert upsampled.shape == (channels, RATE)


def test_channels_are_worked_on_by_themselves() -> None:
    """What one channel becomes depends on the others by the level that they have together."""
    model = MODELS["enhance"]
    x = noisy(9000, 2)
    y = audio.enhance(x, RATE, model)
    other = x.clone()
    other[1] = other[1].flip(0)
    torch.testing.assert_close(audio.enhance(other, RATE, model)[0], y[0])


def test_a_model_of_stereo_takes_any_channels() -> None:
    model = untrained("enhance", channels=2)
    for channels in (1, 2, 3):
        assert audio.enhance(noisy(900, channels), RATE, model).shape == (channels, 900)


def test_strength_mixes() -> None:
    x, model = 0.3 * noisy(9000), MODELS["enhance"]  # so that nothing is bent
    dry, wet = (audio.enhance(x, RATE, model, strength=strength) for strength in (0, 1))
    torch.testing.assert_close(dry, x)
    mixed = audio.enhance(x, RATE, model, strength=0.7)
    torch.testing.assert_close(mixed, 0.3 * x + 0.7 * wet)


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("length", [1, 800])
def test_silence_stays_silence(name: str, length: int) -> None:
    x = stream(name, Recording.of(torch.zeros(2, length), RATE), MODELS[name]).whole()
    assert torch.equal(x, torch.zeros(2, length))


def test_mel_frames_as_the_sound_that_they_are_of() -> None:
    model, mel = MODELS["vocode"], TASKS["vocode"].mel  # type: ignore[attr-defined]
    x = noisy(256 * 40, 2)
    x *= LEVEL / active_level(x, RATE)
    heard = audio.vocode(x, RATE, model)
    frames = mel.of(x)
    torch.testing.assert_close(audio.vocode(frames, model=model), heard, rtol=0, atol=1e-4)
    assert audio.vocode(frames[0, :, :9], model=model).shape == (1, 9 * 256)


def test_seeds_and_steps() -> None:
    x, model = noisy(5000), MODELS["enhance"]
    y = audio.enhance(x, RATE, model)
    assert torch.equal(audio.enhance(x, RATE, model, steps=2, seed=0), y)
    assert not torch.allclose(audio.enhance(x, RATE, model, seed=1), y, atol=1e-3)
    assert not torch.allclose(audio.enhance(x, RATE, model, steps=3), y, atol=1e-3)


def test_a_file_as_its_samples(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", noisy(9000, 2).T.numpy(), 44_100, subtype="PCM_U8")
    x, rate = sound.read(tmp_path / "x.wav")
    result = stream("enhance", Recording.of(tmp_path / "x.wav"), MODELS["enhance"])
    assert (result.channels, result.frames, result.sample_rate) == (2, 9000, rate)
    torch.testing.assert_close(result.whole(), audio.enhance(x, rate, MODELS["enhance"]))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: audio.enhance(x, RATE, untrained("enhance", solver="ddpm")), "adds noise"),
        (lambda x: audio.enhance(x, RATE, untrained("enhance", local=False)), "local=True"),
        (lambda x: audio.enhance(x, RATE, EXACT, strength=1.5), "strength"),
        (lambda x: audio.enhance(x, RATE, EXACT, steps=0), "steps"),
        (lambda x: audio.enhance(x * torch.nan, RATE, EXACT), "NaN"),
        (lambda x: audio.enhance(x[0], RATE, EXACT), "C, L"),
        (lambda x: audio.vocode(x, model=MODELS["vocode"]), r"mel frames \[20, N\]"),
        (lambda x: audio.vocode(x[:, :20].T * torch.nan, model=MODELS["vocode"]), "NaN"),
    ],
)
def test_what_does_not_fit_is_one_sentence(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call(noisy(900))


def test_a_model_of_another_kind() -> None:
    with pytest.raises(mmdiff.UserError, match="digits is no enhancer: it was trained for mnist"):
        audio.enhance(noisy(900), RATE, "digits")
    with pytest.raises(mmdiff.UserError, match="no vocoder: it was trained to upsample"):
        audio.vocode(noisy(900), RATE, MODELS["upsample"])
