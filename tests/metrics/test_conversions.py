"""Models of sound from sound, judged by pairs: some that do nothing are judged as such."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

import mmdiff
from mmdiff.audio import Enhance, Mel, Sound, Upsample, Vocode, sound
from mmdiff.errors import UserError
from mmdiff.metrics import conversions
from mmdiff.metrics.conversions import evaluate_conversion
from mmdiff.metrics.paired import Estimate

pytest.importorskip("pesq")
pytest.importorskip("pystoi")

RATE, LENGTH = 16_000, 16_000
FAIR = mmdiff.Sampling("ddim", 1)


@pytest.fixture
def folder(tmp_path: Path) -> str:
    for index in range(4):
        x = 0.1 * torch.randn(1, LENGTH)
        path = tmp_path / "test" / f"{index}.wav"
        path.parent.mkdir(exist_ok=True)
        sound.write(path, x, RATE)
    (tmp_path / "train").mkdir()
    sound.write(tmp_path / "train" / "x.wav", x, RATE)
    return f"folder:{tmp_path}"


class Copy(torch.nn.Module):
    """A network that takes the source that it is told for the true sound."""

    def __init__(self, task: Any) -> None:
        super().__init__()
        self.conditions = task.conditions(1)
        self.zero = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor, t: torch.Tensor, **told: torch.Tensor) -> torch.Tensor:
        assert told.keys() == self.conditions.keys()  # as in training and in use
        return told["source"] if "source" in told else x * self.zero


def model(task: Any) -> mmdiff.Diffusion:
    made = mmdiff.Diffusion(Copy(task), mmdiff.Trigonometric(), "x0")
    made.info = mmdiff.Info((1, LENGTH), Sound(RATE, 4.0), FAIR, task=task)
    return made.eval()


@pytest.mark.parametrize("task", [Enhance(RATE), Upsample(8000, RATE)], ids=["enhance", "upsample"])
def test_what_changes_nothing_has_the_same_figures_after_as_before(task: Any, folder: str) -> None:
    found = evaluate_conversion(model(task), FAIR, folder, progress=False)
    assert found.task == task.name
    for name, before in found.before.items():
        if name != "pesq":  # which may have no number for noise
            assert found.after[name] == pytest.approx(before, rel=1e-3)
    assert found.before["spectral"].value > 0
    assert found.before["si_sdr"].value < 60


def test_mel_frames_have_no_figures_before(folder: str) -> None:
    found = evaluate_conversion(model(Vocode(Mel(RATE))), FAIR, folder, count=2, progress=False)
    assert (found.before, found.count) == ({}, 2)
    assert "before" not in found.as_text()
    assert found.as_dict()["after"]["mel"]["value"] == found.after["mel"].value


def test_the_same_seed_makes_the_same_pairs(folder: str) -> None:
    first, again, other = (
        evaluate_conversion(model(Enhance(RATE)), FAIR, folder, seed=seed, progress=False).before
        for seed in (0, 0, 1)
    )
    assert first["si_sdr"] == again["si_sdr"] != other["si_sdr"]


def test_a_report_for_people() -> None:
    figures = {name: Estimate(1.0, 0.5, 1.5) for name in conversions.TITLES}
    lines = conversions.ConversionReport("folder:x", "enhance", 3, figures, figures).as_text()
    assert "pairs                      3  (folder:x, to enhance)" in lines
    assert lines.count("1.00 ( 0.50 to  1.50)") == 2
    assert all(math.isfinite(len(line)) and line == line.rstrip() for line in lines.splitlines())


def test_refuses_models_without_a_task(folder: str) -> None:
    plain = model(Enhance(RATE))
    plain.info = mmdiff.Info((1, LENGTH), Sound(RATE), FAIR)
    with pytest.raises(UserError, match="sound of sound"):
        evaluate_conversion(plain, FAIR, folder)
