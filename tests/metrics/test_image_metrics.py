"""The report on generated digits, held against sets whose answers are known beforehand."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from mmdiff.diffusion import Diffusion
from mmdiff.errors import UserError
from mmdiff.image.datasets import open_images
from mmdiff.metrics import images
from mmdiff.metrics.frechet import training_part
from mmdiff.metrics.images import evaluate_digit_model, evaluate_images, sample_digits
from mmdiff.metrics.judge import load_judge, run_judge
from mmdiff.schedules import LinearBeta
from mmdiff.solvers import DDIM, DDPM

DIGITS = tuple("0123456789")


def pictures(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 1, 28, 28, generator=generator) * 2 - 1


class Recital(nn.Module):
    """Predicts x0: one stored picture for each label, or the first one for all without labels."""

    def __init__(self, stored: Tensor, labels: int = 10) -> None:
        super().__init__()
        self.stored = nn.Parameter(stored)
        self.labels = labels

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        return self.stored[:1].expand_as(x) if label is None else self.stored[label]


def recital(stored: Tensor, **info: Any) -> Diffusion:
    model = Diffusion(Recital(stored), LinearBeta(), "x0")
    known = {"shape": (1, 28, 28), "data_range": (-1.0, 1.0), "labels": DIGITS, "dataset": "mnist"}
    model.info = cast(Any, SimpleNamespace(**{**known, **info}))
    return model


def test_accuracy_and_classes_are_the_judges_reading() -> None:
    test, train, samples = pictures(150, 0), pictures(200, 1), pictures(100, 2)
    read = run_judge(load_judge(), samples)[1].argmax(1)
    half = torch.where(torch.arange(100) < 50, read, (read + 1) % 10)
    for labels, accuracy in ((read, 1.0), ((read + 1) % 10, 0.0), (half, 0.5), (None, None)):
        report = evaluate_images(samples, labels, test, train, neighbours=False)
        assert report.accuracy == accuracy
    assert report.classes == tuple((read == digit).sum().item() for digit in range(10))
    assert report.neighbours is None


def test_training_images_measure_the_floor() -> None:
    test, train = pictures(150, 0), pictures(200, 1)
    report = evaluate_images(training_part(train, 80), None, test, train, neighbours=False)
    assert report.frechet == report.floor > 0
    assert report.ratio == 1
    assert report.count == 80
    ours = evaluate_images(-train[:80], None, test, train, neighbours=False)
    assert ours.floor == report.floor


def test_the_test_set_is_at_distance_zero_of_itself() -> None:
    test, train = pictures(150, 0), pictures(200, 1)
    assert evaluate_images(test, None, test, train, neighbours=False).frechet < 1e-6


def test_flags_memorised_samples() -> None:
    test, train = pictures(150, 0), pictures(200, 1)
    planted = evaluate_images(train[:50], None, test, train).neighbours
    honest = evaluate_images(pictures(50, 2), None, test, train).neighbours
    assert planted is not None
    assert honest is not None
    assert planted.near == 1
    assert planted.samples[-1] == 0
    assert honest.near < 0.1


def test_report_as_text_and_json() -> None:
    test, train = pictures(150, 0), pictures(200, 1)
    report = evaluate_images(test[:20], torch.zeros(20, dtype=torch.int64), test, train)
    assert json.loads(json.dumps(report.as_dict()))["ratio"] == report.ratio
    text = report.as_text()
    assert f"{report.frechet:.4f}" in text
    assert f"{report.accuracy:.2%}" in text
    assert "nearest" in text


def test_samples_the_labels_it_is_given_whatever_the_batch() -> None:
    stored = pictures(10, 0)
    wanted = torch.arange(25) * 7 % 10
    for batch in (4, 25):
        x, labels = sample_digits(recital(stored), DDIM(5), wanted, batch=batch, progress=False)
        assert labels is not None
        assert torch.equal(labels, wanted)
        torch.testing.assert_close(x, stored[labels], rtol=0, atol=1e-5)


def test_samples_without_labels_and_in_other_ranges() -> None:
    stored = pictures(10, 0)
    model = recital((stored + 1) / 2 * 5 + 2, labels=(), data_range=(2.0, 7.0))
    x, labels = sample_digits(model, DDPM(7), torch.zeros(3, dtype=torch.int64), progress=False)
    assert labels is None
    torch.testing.assert_close(x, stored[:1].expand(3, -1, -1, -1), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "info",
    [
        {"shape": (3, 28, 28)},
        {"shape": (1, 32, 32)},
        {"labels": ("coat", "bag")},
        {"labels": (), "dataset": "fashion-mnist"},
    ],
)
def test_refuses_models_of_other_things(info: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="only models of 1x28x28 digits"):
        sample_digits(
            recital(pictures(10, 0), **info),
            DDIM(2),
            torch.zeros(2, dtype=torch.int64),
            progress=False,
        )


def test_refuses_a_model_that_does_not_say_what_it_makes() -> None:
    model = Diffusion(Recital(pictures(10, 0)), LinearBeta(), "x0")
    with pytest.raises(UserError, match="loaded from a checkpoint"):
        sample_digits(model, DDIM(2), torch.zeros(2, dtype=torch.int64), progress=False)


def test_refuses_arguments_that_do_not_fit() -> None:
    test, train = pictures(10, 0), pictures(20, 1)
    with pytest.raises(ValueError, match="judge fewer samples"):
        evaluate_images(pictures(21, 2), None, test, train)
    with pytest.raises(ValueError, match=r"labels of shape \[5\]"):
        evaluate_images(pictures(5, 2), torch.zeros(4, dtype=torch.int64), test, train)
    with pytest.raises(ValueError, match="not finite"):
        evaluate_images(torch.full((5, 1, 28, 28), torch.nan), None, test, train)


def test_evaluates_a_model_that_recites_its_training_data(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Perfect accuracy, every class, a distance far above the floor, and caught by neighbours."""
    kept = {}
    for split, count in (("test", 400), ("train", 2000)):
        whole = open_images("mnist", split, data_dir)
        kept[split] = [whole[i] for i in range(count)]
    monkeypatch.setattr(images, "open_images", lambda name, split, root: kept[split])
    judge = load_judge()
    x, labels = images.stack(kept["train"])  # type: ignore[arg-type]
    right = run_judge(judge, x)[1].argmax(1) == labels
    chosen = [int((right & (labels == digit)).nonzero()[0]) for digit in range(10)]
    report = evaluate_digit_model(recital(x[chosen]), DDIM(3), count=100, progress=False)
    assert report.accuracy == 1
    wanted = torch.bincount(training_part(labels, 100), minlength=10)
    assert report.classes == tuple(wanted.tolist())
    assert report.ratio > 2
    assert report.neighbours is not None
    assert report.neighbours.near == 1


def test_real_digits_are_right_and_wrong_labels_are_not(data_dir: Path) -> None:
    kept = [open_images("mnist", split, data_dir) for split in ("test", "train")]
    (test, labels), (train, _) = (
        images.stack([source[i] for i in range(1000)])  # type: ignore[arg-type]
        for source in kept
    )
    report = evaluate_images(test, labels, test, train, neighbours=False)
    assert report.accuracy is not None
    assert report.accuracy >= 0.985
    wrong = evaluate_images(test, (labels + 1) % 10, test, train, neighbours=False)
    assert wrong.accuracy is not None
    assert wrong.accuracy <= 0.01
