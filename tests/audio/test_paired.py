"""Pairs: what is told belongs to x, in its units, and comes again after a resumption."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch

from mmdiff.audio import Sound
from mmdiff.audio.degradations import Noise, everyday
from mmdiff.audio.levels import active_level
from mmdiff.audio.mel import Mel
from mmdiff.audio.noises import Coloured
from mmdiff.audio.paired import PairedSounds
from mmdiff.audio.tasks import Enhance, Upsample, Vocode, parse
from mmdiff.conditions import Signal
from mmdiff.errors import UserError

RATE = 16000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sounds")
    for name in ("voices", "noises"):
        (root / name).mkdir()
        for index in range(4):
            x = 0.3 * torch.randn(8000, 2, generator=torch.Generator().manual_seed(index))
            soundfile.write(root / name / f"{index}.wav", x.numpy(), RATE)
    return root


def opened(folder: Path, **options: Any) -> Any:
    return Sound.open(f"folder:{folder / 'voices'}", "train", seconds=0.1, **options)


@pytest.mark.parametrize("channels", [1, 2])
def test_what_is_told_is_of_x(folder: Path, channels: int) -> None:
    """In the units of x; a vocoder is told the frames of the sound in [-1, 1]."""
    for task, name, kind in (
        ("enhance", "source", Signal(channels)),
        ("upsample:8000", "source", Signal(channels)),
        ("vocode", "mel", Signal(80 * channels, 256)),
    ):
        data = opened(folder, channels=channels, task=task)
        item = data.visit(1, 2)
        assert data.task == parse(task, RATE)
        assert data.conditions[name] == kind
        assert set(item) == {"x", *data.conditions}
        x = item["x"]
        kind.check(name, item[name][None], 1, x.shape[1:])
        if task != "enhance":
            torch.testing.assert_close(item[name], data.task.told(x / 4, 4)[name])
    low = Upsample(8000, RATE).told(x / 4, 4)["source"]
    torch.testing.assert_close(low, 4 * Upsample(8000, RATE).told(x / 4)["source"])
    mels = Mel(RATE).of(x / 4)
    torch.testing.assert_close(item["mel"], mels.flatten(0, 1))


def test_the_noise_is_in_the_units_of_x(folder: Path) -> None:
    noise = Noise(RATE, (Coloured("white", RATE),), (6.0, 6.0))
    item = PairedSounds(opened(folder), Enhance(RATE), noise).visit(0, 0)
    added = item["source"] - item["x"]
    assert active_level(item["x"], RATE) / active_level(added, RATE) == pytest.approx(2, rel=0.05)


def test_voices_come_at_many_speeds(tmp_path: Path) -> None:
    """A tone of 1 kHz sounds as its speed tells; what is told sounds the same."""
    tone = 0.3 * torch.sin(2 * torch.pi * 1000 * torch.arange(RATE) / RATE)
    for name in ("a", "b"):
        soundfile.write(tmp_path / f"{name}.wav", tone.numpy(), RATE)
    data = Sound.open(f"folder:{tmp_path}", "train", seconds=0.5)
    pairs = PairedSounds(data, Enhance(RATE), speeds=(80, 125))
    heard = []
    for visit in range(40):
        item = pairs.visit(0, visit)
        torch.testing.assert_close(item["x"], item["source"])
        heard.append(2 * float(torch.fft.rfft(item["x"][0]).abs().argmax()))
        assert item["x"].shape == data.shape
    assert 795 <= min(heard) < 850 < 1200 < max(heard) <= 1255


def test_levels_are_those_of_recordings(folder: Path) -> None:
    data = opened(folder, task="enhance")
    items = [data.visit(index % len(data), index) for index in range(100)]
    assert max(float(item["source"].abs().max()) for item in items) <= 4 * (1 + 1e-6)
    told = opened(folder, task="vocode")
    levels = [
        active_level(told.visit(index % len(told), index)["x"] / 4, RATE) for index in range(100)
    ]
    decibels = 20 * torch.tensor(levels).log10()
    assert -30.01 < decibels.min() < -29
    assert -22 < decibels.max() < -19.99


def test_visits_come_again_and_differ(folder: Path) -> None:
    options = {"task": "enhance", "noise": f"folder:{folder / 'noises'}"}
    first, again = opened(folder, **options), opened(folder, **options)
    assert first.identity == again.identity
    for at in ((0, 0), (0, 1), (3, 0)):
        one, two = first.visit(*at), again.visit(*at)
        assert torch.equal(one["x"], two["x"])
        assert torch.equal(one["source"], two["source"])
    assert not torch.equal(first.visit(0, 0)["source"], first.visit(0, 1)["source"])
    others = [opened(folder, task=task) for task in ("enhance", "vocode", "upsample:8000")]
    assert len({data.identity for data in (first, *others)}) == 4
    seeded = PairedSounds(opened(folder), Enhance(RATE), everyday(RATE), seed=1)
    assert seeded.identity != others[0].identity
    assert seeded.shape == (1, 1600)
    assert len(seeded) == len(opened(folder))
    assert seeded.summary().endswith("told: source (enhance)")


def test_voices_are_no_classes(tmp_path: Path) -> None:
    """A voice that no training file has is held out like any other."""
    for name in ("train/ann", "train/bob", "test/ann", "test/eve"):
        (tmp_path / name).mkdir(parents=True)
        soundfile.write(tmp_path / name / "a.wav", 0.1 * torch.randn(8000).numpy(), RATE)
    folder = f"folder:{tmp_path}"
    held_out = Sound.open(folder, "test", seconds=0.5, task="enhance", noise=folder)
    assert len(held_out) == 2
    with pytest.warns(UserWarning, match="of a class without a training file"):
        assert len(Sound.open(folder, "test", seconds=0.5)) == 1


def test_what_cannot_be_told_is_said(folder: Path) -> None:
    noise = f"folder:{folder / 'noises'}"
    for wrong, said in (
        ({"task": "sing"}, "unknown task 'sing'"),
        ({"task": "upsample"}, "upsample:RATE"),
        ({"task": "upsample:16000"}, "from 16,000 Hz there is nothing to make up at 16,000 Hz"),
        ({"task": "vocode", "noise": noise}, "leave it out to vocode"),
        ({"noise": noise}, "noise is for the task enhance"),
        ({"task": "enhance", "noise": "noises"}, "folder:PATH"),
    ):
        with pytest.raises(ValueError, match=said):
            opened(folder, **wrong)
    (folder / "empty").mkdir()
    with pytest.raises(UserError, match="holds no sounds"):
        opened(folder, task="enhance", noise=f"folder:{folder / 'empty'}")
    with pytest.raises(ValueError, match="at 8,000 Hz needs sounds at that rate"):
        PairedSounds(opened(folder), Vocode(Mel(8000)))
