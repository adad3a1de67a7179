"""The report on generated speech, held against sets whose answers are known beforehand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmdiff.audio.datasets import SoundItem, open_sounds
from mmdiff.diffusion import Diffusion
from mmdiff.errors import UserError
from mmdiff.metrics import speech
from mmdiff.metrics.frechet import training_part
from mmdiff.metrics.speech import (
    Speech,
    evaluate_speech,
    evaluate_speech_model,
    sample_speech,
    speech_neighbours,
    stack_sounds,
)
from mmdiff.metrics.speech_judge import SpeechJudge, load_speech_judge, run_speech_judge
from mmdiff.sampling import sample
from mmdiff.schedules import Trigonometric
from mmdiff.solvers import DDIM

DIGITS = tuple("0123456789")
VOICES = ("ann", "bea", "cy", "dan", "eve", "flo")
LENGTH = 1024
SCALE = 4.0


@pytest.fixture(scope="module")
def judge() -> SpeechJudge:
    """One that has learned nothing but the scale of its inputs: its answers are arbitrary."""
    torch.manual_seed(0)
    judge = SpeechJudge()
    with torch.no_grad():
        for seed in range(10):
            judge(clips(20, seed).x)
    return judge.eval()


def clips(count: int, seed: int) -> Speech:
    """Short tones with decaying overtones, each with a pitch of its own."""
    generator = torch.Generator().manual_seed(seed)
    pitch, decay, colour = torch.rand(3, count, 1, generator=generator)
    t = torch.arange(LENGTH) / 8000
    cycles = 2 * math.pi * (100 + 700 * pitch) * t
    tones = cycles.sin() + colour * (2 * cycles).sin() + colour**2 * (3 * cycles).sin()
    x = 0.25 * tones * (-(10 + 30 * decay) * t).exp()
    numbers = torch.randint(60, (count,), generator=generator)
    return Speech(x[:, None], numbers % 10, numbers // 10)


class FakeSounds(list[SoundItem]):
    """What `evaluate_speech_model` asks of a data set."""

    scale = 1.0
    speakers = VOICES

    def __init__(self, data: Speech) -> None:
        super().__init__(
            {"x": x, "label": int(label), "speaker": int(speaker)}
            for x, label, speaker in zip(*data, strict=True)
        )


class Recital(nn.Module):
    """Predicts x0: a stored clip for each label and speaker, the first for what is not asked."""

    def __init__(self, stored: Tensor) -> None:
        super().__init__()
        self.stored = nn.Parameter(stored)  # [60, 1, L]

    def forward(
        self, x: Tensor, t: Tensor, label: Tensor | None = None, speaker: Tensor | None = None
    ) -> Tensor:
        none = torch.zeros(len(x), dtype=torch.int64)
        return self.stored[
            (none if label is None else label) + 10 * (none if speaker is None else speaker)
        ]


class Grid(nn.Module):
    """Predicts x0: half of the state, and what is said by whom on a grid of eight positions."""

    def __init__(self) -> None:
        super().__init__()
        self.height = nn.Parameter(torch.tensor(0.1))

    def forward(self, x: Tensor, t: Tensor, label: Tensor, speaker: Tensor) -> Tensor:
        grid = torch.arange(x.shape[2]) % 8 * self.height
        return x / 2 + grid * (label + 10 * speaker)[:, None, None]


def recital(stored: Tensor, **info: Any) -> Diffusion:
    """Stored at the level that the model works at, as a training would."""
    model = Diffusion(Recital(stored * SCALE), Trigonometric(), "x0")
    known = {
        "shape": tuple(stored.shape[1:]),
        "data_range": (-SCALE, SCALE),
        "labels": DIGITS,
        "speakers": VOICES,
        "sample_rate": 8000,
        "dataset": "fsdd",
    }
    model.info = cast(Any, SimpleNamespace(**{**known, **info}))
    return model


def test_accuracies_are_the_judges_reading(judge: SpeechJudge) -> None:
    test, train, samples = clips(50, 0), clips(60, 1), clips(40, 2).x
    _, words, voices = run_speech_judge(judge, samples)
    read, heard = words.argmax(1), voices.argmax(1)
    half = torch.where(torch.arange(40) < 20, read, (read + 1) % 10)
    for labels, speakers, accuracies in (
        (read, heard, (1, 1)),
        ((read + 1) % 10, heard, (0, 1)),
        (half, (heard + 1) % 6, (0.5, 0)),
        (None, None, (None, None)),
    ):
        report = evaluate_speech(
            samples, labels, speakers, test, train, neighbours=False, judge=judge
        )
        assert (report.accuracy, report.speaker_accuracy) == accuracies
    _, words, voices = run_speech_judge(judge, test.x)
    known = test._replace(labels=words.argmax(1), speakers=(voices.argmax(1) + 1) % 6)
    report = evaluate_speech(samples, None, None, known, train, neighbours=False, judge=judge)
    assert (report.real_accuracy, report.real_speaker_accuracy) == (1, 0)
    assert report.neighbours is None


def test_training_clips_measure_the_floor(judge: SpeechJudge) -> None:
    test, train = clips(50, 0), clips(60, 1)
    ours = training_part(train.x, 30)
    report = evaluate_speech(ours, None, None, test, train, neighbours=False, judge=judge)
    assert report.frechet == report.floor > 0
    assert (report.ratio, report.count, report.clamped) == (1, 30, 0)
    assert len(set(ours[:, 0, 1].tolist())) == 30  # none is taken twice
    other = evaluate_speech(clips(30, 2).x, None, None, test, train, neighbours=False, judge=judge)
    assert other.floor == report.floor
    itself = evaluate_speech(test.x, None, None, test, train, neighbours=False, judge=judge)
    assert itself.frechet < 1e-6 < itself.floor


def test_levels_and_clamping(judge: SpeechJudge) -> None:
    test, train, samples = clips(50, 0), clips(60, 1), clips(20, 2).x
    samples = samples / samples.abs().amax(dim=2, keepdim=True) * 0.4
    samples[:3] *= 5  # a peak of 2
    report = evaluate_speech(samples, None, None, test, train, neighbours=False, judge=judge)
    assert report.clamped == 3
    assert report.levels.peak == pytest.approx([0.4, 0.4, 1.0])
    quieter = evaluate_speech(
        samples.clamp(-1, 1) / 10, None, None, test, train, neighbours=False, judge=judge
    )
    assert quieter.clamped == 0
    for louder, quiet in zip(report.levels.loudness, quieter.levels.loudness, strict=True):
        assert louder - quiet == pytest.approx(20, abs=1e-4)
    assert quieter.real_levels == report.real_levels
    assert report.real_levels.peak[1] == pytest.approx(
        test.x.abs().amax(dim=(1, 2)).double().median().item(), rel=0.05
    )


def test_neighbours_are_found_whatever_was_done_to_hide_them(judge: SpeechJudge) -> None:
    """Sign, level, place in the window and hiss; clips as new as unseen ones are let go."""
    test, train = clips(100, 0), clips(120, 1)
    faint = torch.randn(30, 1, LENGTH) * train.x[:30].square().mean(2, keepdim=True).sqrt() / 30
    hidden = -0.1 * F.pad(train.x[:30] + faint, (200, 0))[..., :LENGTH]
    planted = speech_neighbours(judge, hidden, test.x, train.x)
    assert planted.near > 0.9
    exact = speech_neighbours(judge, train.x[:30], test.x, train.x)
    assert exact.near == 1
    assert exact.samples[-1] == 0
    honest = speech_neighbours(judge, clips(100, 2).x, test.x, train.x)
    assert honest.near < 0.1
    assert honest.unseen == planted.unseen


def test_distances_are_in_decibels(judge: SpeechJudge) -> None:
    """A clip of which half the cells are 30 dB or more too quiet is 30 / sqrt(2) dB off."""
    clip = torch.randn(1, 1, 80 * 40)
    half = clip.clone()
    half[..., 80 * 20 :] = 0
    found = speech_neighbours(judge, half, half, clip).samples[2]
    level = judge.spectrogram(clip).sub(1).mul(60).clamp(min=-30).add(30)
    assert found == pytest.approx(float(level[..., 21:].square().sum() / level.numel()) ** 0.5, 0.1)


def test_report_as_text_and_json(judge: SpeechJudge) -> None:
    test, train = clips(50, 0), clips(60, 1)
    samples = clips(20, 2)
    report = evaluate_speech(*samples, test, train, judge=judge)
    stored = json.loads(json.dumps(report.as_dict()))
    assert stored["ratio"] == report.ratio
    assert stored["levels"]["peak"] == list(report.levels.peak)
    text = report.as_text()
    for value in (
        f"{report.frechet:.4f}",
        f"{report.accuracy:.2%}  (test clips {report.real_accuracy:.2%})",
        f"{report.speaker_accuracy:.2%}  (test clips {report.real_speaker_accuracy:.2%})",
        f"{report.levels.loudness[1]:.2f}",
        "nearest training clip",
    ):
        assert value in text
    unlabelled = evaluate_speech(samples.x, None, None, test, train, neighbours=False, judge=judge)
    assert "right" not in unlabelled.as_text()
    assert "nearest" not in unlabelled.as_text()


@pytest.mark.parametrize("batch", [4, 25])
def test_samples_what_it_is_asked_for_whatever_the_batch(batch: int) -> None:
    stored = clips(60, 0).x
    words, voices = torch.arange(25) * 7 % 10, torch.arange(25) * 5 % 6
    x, labels, speakers = sample_speech(
        recital(stored), DDIM(4), words, voices, batch=batch, progress=False
    )
    assert labels is not None
    assert speakers is not None
    assert torch.equal(labels, words)
    assert torch.equal(speakers, voices)
    torch.testing.assert_close(x, stored[words + 10 * voices], rtol=0, atol=1e-5)


def test_parts_are_what_sampling_them_together_gives() -> None:
    """By seed, guidance and cycle spinning; this model's estimate depends on all of them."""
    model = recital(clips(60, 0).x)
    model.backbone = Grid()
    words, voices = torch.arange(7), torch.arange(7) % 6
    settings: dict[str, Any] = {"seed": 3, "guidance": 2.0, "spin": 8}
    x, _, _ = sample_speech(model, DDIM(4), words, voices, batch=3, progress=False, **settings)
    whole = sample(model, (7, 1, LENGTH), DDIM(4), label=words, speaker=voices, **settings)
    torch.testing.assert_close(x, whole / SCALE, rtol=0, atol=1e-5)


def test_asks_a_model_only_for_what_it_knows() -> None:
    stored, wanted = clips(60, 0).x, torch.arange(6)
    for known, index in (
        ({"speakers": ()}, wanted),
        ({"labels": ()}, 10 * wanted),
        ({"labels": (), "speakers": ()}, 0 * wanted),
    ):
        model = recital(stored, **known)
        x, labels, speakers = sample_speech(model, DDIM(3), wanted, wanted, progress=False)
        assert (labels is None) == ("labels" in known)
        assert (speakers is None) == ("speakers" in known)
        torch.testing.assert_close(x, stored[index], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "info",
    [
        {"shape": (2, 5120)},
        {"shape": (1, 1000)},
        {"shape": (1, 28, 28)},
        {"sample_rate": 22050},
        {"sample_rate": None},
        {"labels": ("guitar", "piano")},
        {"labels": (), "dataset": "synthetic"},
    ],
)
def test_refuses_models_of_other_things(info: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="only models of spoken digits, mono at 8000 Hz"):
        evaluate_speech_model(recital(clips(60, 0).x, **info), DDIM(2), 4, data_dir=Path("none"))


def test_refuses_a_model_that_does_not_say_what_it_makes() -> None:
    model = Diffusion(Recital(clips(60, 0).x), Trigonometric(), "x0")
    with pytest.raises(UserError, match="loaded from a checkpoint"):
        evaluate_speech_model(model, DDIM(2), 4, data_dir=Path("none"))


def test_refuses_arguments_that_do_not_fit(judge: SpeechJudge) -> None:
    test, train, x = clips(10, 0), clips(20, 1), clips(5, 2).x
    with pytest.raises(ValueError, match="judge fewer samples"):
        evaluate_speech(clips(21, 2).x, None, None, test, train, judge=judge)
    with pytest.raises(ValueError, match=r"need labels of shape \[5\], not \[4\]"):
        evaluate_speech(x, torch.zeros(4), None, test, train, judge=judge)
    with pytest.raises(ValueError, match=r"need speakers of shape \[5\], not \[6\]"):
        evaluate_speech(x, None, torch.zeros(6), test, train, judge=judge)
    with pytest.raises(ValueError, match="not finite"):
        evaluate_speech(x * torch.nan, None, None, test, train, judge=judge)


def test_evaluates_a_model(monkeypatch: pytest.MonkeyPatch, judge: SpeechJudge) -> None:
    """Its samples have the labels and speakers of the floor's clips, at a waveform's level."""
    test, train = clips(40, 0), clips(60, 1)
    opened = []

    def opening(name: str, split: str, root: Path, **settings: Any) -> FakeSounds:
        opened.append((name, root, settings))
        return FakeSounds(test if split == "test" else train)

    monkeypatch.setattr(speech, "open_sounds", opening)
    monkeypatch.setattr(speech, "load_speech_judge", lambda: judge)
    stored, where = clips(60, 3).x, Path("somewhere")
    report = evaluate_speech_model(
        recital(stored), DDIM(3), 30, data_dir=where, batch=8, progress=False
    )
    labels, speakers = training_part(train.labels, 30), training_part(train.speakers, 30)
    wanted = evaluate_speech(
        stored[labels + 10 * speakers], labels, speakers, test, train, judge=judge
    )
    assert report.accuracy == wanted.accuracy
    assert report.frechet == pytest.approx(wanted.frechet, rel=1e-3)
    assert report.floor == wanted.floor
    seconds = LENGTH / 8000
    assert opened == [("fsdd", where, {"sample_rate": 8000, "seconds": seconds})] * 2
    with pytest.raises(UserError, match="judge fewer samples"):
        evaluate_speech_model(recital(stored), DDIM(3), 61, progress=False)
    with pytest.raises(UserError, match="knows the speakers ann, bea"):
        evaluate_speech_model(recital(stored, speakers=("me",)), DDIM(3), 30, progress=False)


def test_knows_real_speech_from_recited_speech(data_dir: Path) -> None:
    """One in eighteen: real ones are right, as new as others and at the floor; recitals show."""
    test = stack_sounds(open_sounds("fsdd", "test", data_dir))
    whole = stack_sounds(open_sounds("fsdd", "train", data_dir))
    train, unseen = (Speech(*(v[first::18] for v in whole)) for first in (0, 8))
    judge = load_speech_judge()
    honest = evaluate_speech(*unseen, test, train, judge=judge)
    assert honest.accuracy is not None
    assert honest.speaker_accuracy is not None
    assert min(honest.accuracy, honest.speaker_accuracy) >= 0.98
    assert honest.ratio < 1.5
    assert honest.neighbours is not None
    assert honest.neighbours.near <= 0.05
    assert honest.real_levels.peak == pytest.approx([0.9] * 3, abs=1e-4)

    late = [37 * k % 256 for k in range(40)]
    recited = torch.stack(
        [F.pad(train.x[k], (shift, 0))[:, : train.x.shape[2]] for k, shift in enumerate(late)]
    )
    hiss = torch.randn(recited.shape) * 0.002
    assert speech_neighbours(judge, hiss - recited, test.x, train.x).near > 0.95
