"""The report on generated speech, held against sets whose answers are known beforehand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmdiff.audio.datasets import open_sounds
from mmdiff.audio.modality import Sound
from mmdiff.checkpoints import Info
from mmdiff.conditions import Class
from mmdiff.diffusion import Diffusion
from mmdiff.errors import UserError
from mmdiff.image.modality import Pictures
from mmdiff.metrics import speech
from mmdiff.metrics.batches import DIGITS, Batch, draw, take
from mmdiff.metrics.frechet import training_part
from mmdiff.metrics.judge import run_judge
from mmdiff.metrics.speech import (
    SHIFTS,
    evaluate_speech,
    evaluate_speech_model,
    says_digits,
    speech_neighbours,
)
from mmdiff.metrics.speech_judge import SpeechJudge, load_speech_judge
from mmdiff.metrics.tails import silent_tail
from mmdiff.sampling import Sampling
from mmdiff.schedules import Trigonometric

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
            judge(clips(20, seed)["x"])
    return judge.eval()


def clips(count: int, seed: int) -> Batch:
    """Short tones with decaying overtones, each with a pitch of its own."""
    generator = torch.Generator().manual_seed(seed)
    pitch, decay, colour = torch.rand(3, count, 1, generator=generator)
    t = torch.arange(LENGTH) / 8000
    cycles = 2 * math.pi * (100 + 700 * pitch) * t
    tones = cycles.sin() + colour * (2 * cycles).sin() + colour**2 * (3 * cycles).sin()
    x = 0.25 * tones * (-(10 + 30 * decay) * t).exp()
    numbers = torch.randint(60, (count,), generator=generator)
    return {"x": x[:, None], "label": numbers % 10, "speaker": numbers // 10}


class Recital(nn.Module):
    """Predicts x0: a stored clip for each label and speaker, the first for what is not asked."""

    def __init__(self, stored: Tensor, conditions: dict[str, Class]) -> None:
        super().__init__()
        self.stored = nn.Parameter(stored)  # [60, 1, L]
        self.conditions = conditions

    def forward(
        self, x: Tensor, t: Tensor, label: Tensor | None = None, speaker: Tensor | None = None
    ) -> Tensor:
        none = torch.zeros(len(x), dtype=torch.int64)
        return self.stored[
            (none if label is None else label) + 10 * (none if speaker is None else speaker)
        ]


def recital(
    stored: Tensor,
    labels: tuple[str, ...] = DIGITS,
    speakers: tuple[str, ...] = VOICES,
    dataset: str = "fsdd",
    shape: tuple[int, ...] = (1, LENGTH),
    modality: Any = None,
) -> Diffusion:
    """Stored at the level that the model works at, as a training would."""
    names = {"label": labels, "speaker": speakers}
    kinds = {name: Class(len(known), known) for name, known in names.items() if known}
    model = Diffusion(Recital(stored * SCALE, kinds), Trigonometric(), "x0")
    model.info = Info(shape, modality or Sound(8000, SCALE), dataset=dataset)
    return model


def test_accuracies_are_the_judges_reading(judge: SpeechJudge) -> None:
    test, train, samples = clips(50, 0), clips(60, 1), clips(40, 2)["x"]
    _, words, voices = run_judge(judge, samples)
    read, heard = words.argmax(1), voices.argmax(1)
    half = torch.where(torch.arange(40) < 20, read, (read + 1) % 10)
    for labels, speakers, accuracies in (
        (read, heard, (1, 1)),
        ((read + 1) % 10, heard, (0, 1)),
        (half, (heard + 1) % 6, (0.5, 0)),
    ):
        meant = {"x": samples, "label": labels, "speaker": speakers}
        report = evaluate_speech(meant, test, train, neighbours=False, judge=judge)
        assert (report.accuracy, report.speaker_accuracy) == accuracies
    _, words, voices = run_judge(judge, test["x"])
    known = test | {"label": words.argmax(1), "speaker": (voices.argmax(1) + 1) % 6}
    report = evaluate_speech({"x": samples}, known, train, neighbours=False, judge=judge)
    assert (report.accuracy, report.speaker_accuracy) == (None, None)
    assert (report.real_accuracy, report.real_speaker_accuracy) == (1, 0)
    assert report.neighbours is None


def test_training_clips_measure_the_floor(judge: SpeechJudge) -> None:
    test, train = clips(50, 0), clips(60, 1)
    ours = training_part(train["x"], 30)
    report = evaluate_speech({"x": ours}, test, train, neighbours=False, judge=judge)
    assert report.frechet == report.floor > 0
    assert (report.ratio, report.count, report.clamped) == (1, 30, 0)
    assert len(set(ours[:, 0, 1].tolist())) == 30  # none is taken twice
    other = evaluate_speech(clips(30, 2), test, train, neighbours=False, judge=judge)
    assert other.floor == report.floor
    itself = evaluate_speech(test, test, train, neighbours=False, judge=judge)
    assert itself.frechet < 1e-6 < itself.floor


def test_levels_and_clamping(judge: SpeechJudge) -> None:
    test, train, samples = clips(50, 0), clips(60, 1), clips(20, 2)["x"]
    samples = samples / samples.abs().amax(dim=2, keepdim=True) * 0.4
    samples[:3] *= 5  # a peak of 2
    report = evaluate_speech({"x": samples}, test, train, neighbours=False, judge=judge)
    assert report.clamped == 3
    assert report.levels.peak == pytest.approx([0.4, 0.4, 1.0])
    quiet = {"x": samples.clamp(-1, 1) / 10}
    quieter = evaluate_speech(quiet, test, train, neighbours=False, judge=judge)
    assert quieter.clamped == 0
    for loud, soft in zip(report.levels.loudness, quieter.levels.loudness, strict=True):
        assert loud - soft == pytest.approx(20, abs=1e-4)
    assert quieter.real_levels == report.real_levels
    assert report.real_levels.peak[1] == pytest.approx(
        test["x"].abs().amax(dim=(1, 2)).double().median().item(), rel=0.05
    )


def test_neighbours_are_found_whatever_was_done_to_hide_them(judge: SpeechJudge) -> None:
    """Sign, level, place in the window and hiss; clips as new as unseen ones are let go."""
    test, train = clips(100, 0), clips(120, 1)
    faint = torch.randn(30, 1, LENGTH) * train["x"][:30].square().mean(2, keepdim=True).sqrt() / 30
    hidden = -0.1 * F.pad(train["x"][:30] + faint, (200, 0))[..., :LENGTH]
    planted = speech_neighbours(judge, hidden, test["x"], train["x"])
    assert planted.near > 0.9
    exact = speech_neighbours(judge, train["x"][:30], test["x"], train["x"])
    assert exact.near == 1
    assert exact.samples[-1] == 0
    honest = speech_neighbours(judge, clips(100, 2)["x"], test["x"], train["x"])
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
    report = evaluate_speech(samples, test, train, judge=judge)
    stored = json.loads(json.dumps(report.as_dict()))
    assert stored["ratio"] == report.ratio
    assert stored["levels"]["peak"] == list(report.levels.peak)
    text = report.as_text()
    for value in (
        f"{report.frechet:.4f}",
        f"{report.accuracy:.2%}  (test clips {report.real_accuracy:.2%})",
        f"{report.speaker_accuracy:.2%}  (test clips {report.real_speaker_accuracy:.2%})",
        f"{report.levels.loudness[1]:.2f}",
        "nearest training clips",
    ):
        assert value in text
    unlabelled = evaluate_speech({"x": samples["x"]}, test, train, neighbours=False, judge=judge)
    assert "right" not in unlabelled.as_text()
    assert "nearest" not in unlabelled.as_text()


def test_what_follows_the_words_is_heard_beside_clips_that_begin_as_late(
    judge: SpeechJudge,
) -> None:
    test, train, samples = clips(50, 0), clips(60, 1), clips(20, 2)["x"]
    report = evaluate_speech(
        {"x": 5 * samples}, test, train, grid=500.0, neighbours=False, judge=judge
    )
    assert report.tail == silent_tail((5 * samples).clamp(-1, 1), 8000, 500.0)
    late = [F.pad(test["x"], (shift, 0))[..., :LENGTH] for shift in SHIFTS]
    assert report.real_tail == silent_tail(torch.cat(late), 8000, 500.0)
    lines = report.as_text().splitlines()
    assert [line for line in lines if line.endswith(report.tail.as_text())]
    assert [line for line in lines if line.endswith(report.real_tail.as_text())]
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize(
    "info",
    [
        {"shape": (2, 5120)},
        {"shape": (1, 1000)},
        {"shape": (1, 28, 28)},
        {"modality": Sound(22050, SCALE)},
        {"modality": Pictures()},
        {"labels": ("guitar", "piano")},
        {"labels": (), "dataset": "synthetic"},
    ],
)
def test_refuses_models_of_other_things(info: dict[str, Any]) -> None:
    model = recital(clips(60, 0)["x"], **info)
    assert not says_digits(model)
    with pytest.raises(UserError, match="only models of spoken digits, mono at 8000 Hz"):
        evaluate_speech_model(model, Sampling(), 4, data_dir=Path("none"))


def test_refuses_arguments_that_do_not_fit(judge: SpeechJudge) -> None:
    test, train, samples = clips(10, 0), clips(20, 1), clips(5, 2)
    with pytest.raises(ValueError, match="judge fewer samples"):
        evaluate_speech(clips(21, 2), test, train, judge=judge)
    for name in ("label", "speaker"):
        with pytest.raises(ValueError, match=r"5 samples need as many classes, not \[4\]"):
            evaluate_speech(samples | {name: torch.zeros(4)}, test, train, judge=judge)
    with pytest.raises(ValueError, match="not finite"):
        evaluate_speech({"x": samples["x"] * torch.nan}, test, train, judge=judge)


class Held(list[dict[str, Any]]):
    """What `evaluate_speech_model` asks of a data set."""

    modality = Sound(8000)
    conditions: ClassVar = {"label": Class(10, DIGITS), "speaker": Class(6, VOICES)}


def test_evaluates_a_model(monkeypatch: pytest.MonkeyPatch, judge: SpeechJudge) -> None:
    """Its samples have the labels and speakers of the floor's clips, at a waveform's level."""
    test, train = clips(40, 0), clips(60, 1)
    opened = []

    def opening(name: str, split: str, root: Path, **settings: Any) -> Held:
        opened.append((name, root, settings))
        values = (test if split == "test" else train).values()
        keys = ("x", "label", "speaker")
        return Held(dict(zip(keys, item, strict=True)) for item in zip(*values, strict=True))

    monkeypatch.setattr(speech, "open_sounds", opening)
    monkeypatch.setattr(speech, "load_speech_judge", lambda: judge)
    stored, where, how = clips(60, 3)["x"], Path("somewhere"), Sampling("ddim", 3)
    report = evaluate_speech_model(
        recital(stored), how, 30, data_dir=where, batch=8, progress=False
    )
    label, speaker = (training_part(train[name], 30) for name in ("label", "speaker"))
    said = {"x": stored[label + 10 * speaker], "label": label, "speaker": speaker}
    wanted = evaluate_speech(said, test, train, judge=judge)
    assert report.accuracy == wanted.accuracy
    assert report.speaker_accuracy == wanted.speaker_accuracy
    assert report.frechet == pytest.approx(wanted.frechet, rel=1e-3)
    assert report.floor == wanted.floor
    assert report.frames is not None
    seconds = LENGTH / 8000
    assert opened == [("fsdd", where, {"sample_rate": 8000, "seconds": seconds})] * 2
    with pytest.raises(ValueError, match="judge fewer samples"):
        evaluate_speech_model(recital(stored), how, 61, progress=False)
    strange = recital(stored, speakers=("me",))
    with pytest.raises(UserError, match=r"speakers ann, bea, .* but this model speaks as me"):
        evaluate_speech_model(strange, how, 30, progress=False)


@pytest.mark.parametrize("untold", ["labels", "speakers"])
def test_asks_a_model_only_for_what_it_knows(untold: str, judge: SpeechJudge) -> None:
    stored, wanted = clips(60, 0)["x"], {"label": torch.arange(6), "speaker": torch.arange(6)}
    model = recital(stored, **{untold: ()})  # type: ignore[arg-type]
    drawn = draw(model, Sampling("ddim", 3), 6, wanted, progress=False)
    index = torch.arange(6) * (10 if untold == "labels" else 1)
    torch.testing.assert_close(drawn["x"], stored[index], rtol=0, atol=1e-5)
    report = evaluate_speech(drawn, clips(40, 1), clips(60, 2), neighbours=False, judge=judge)
    assert (report.accuracy is None) == (untold == "labels")
    assert (report.speaker_accuracy is None) == (untold == "speakers")


def test_knows_real_speech_from_recited_speech(data_dir: Path) -> None:
    """One in eighteen: real ones are right, as new as others and at the floor; recitals show."""
    test, whole = (take(open_sounds("fsdd", split, data_dir)) for split in ("test", "train"))
    train, unseen = ({name: v[first::18] for name, v in whole.items()} for first in (0, 8))
    judge = load_speech_judge()
    honest = evaluate_speech(unseen, test, train, judge=judge)
    assert honest.accuracy is not None
    assert honest.speaker_accuracy is not None
    assert min(honest.accuracy, honest.speaker_accuracy) >= 0.98
    assert honest.ratio < 1.5
    assert honest.neighbours is not None
    assert honest.neighbours.near <= 0.05
    assert honest.real_levels.peak == pytest.approx([0.9] * 3, abs=1e-4)
    assert honest.tail.median == honest.real_tail.median == pytest.approx(-60)

    late = [37 * k % 256 for k in range(40)]
    recited = torch.stack(
        [F.pad(train["x"][k], (shift, 0))[:, : train["x"].shape[2]] for k, shift in enumerate(late)]
    )
    hiss = torch.randn(recited.shape) * 0.002
    assert speech_neighbours(judge, hiss - recited, test["x"], train["x"]).near > 0.95
