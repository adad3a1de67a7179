"""The report on generated digits, held against sets whose answers are known beforehand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmdiff.checkpoints import Info
from mmdiff.conditions import Class
from mmdiff.diffusion import Diffusion
from mmdiff.errors import UserError
from mmdiff.image.datasets import open_images
from mmdiff.image.modality import Pictures
from mmdiff.metrics import images
from mmdiff.metrics.batches import DIGITS, Batch, take
from mmdiff.metrics.frechet import training_part
from mmdiff.metrics.images import evaluate_digit_model, evaluate_images
from mmdiff.metrics.judge import load_judge, run_judge
from mmdiff.sampling import Sampling
from mmdiff.schedules import LinearBeta


def pictures(count: int, seed: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return {"x": torch.rand(count, 1, 28, 28, generator=generator) * 2 - 1}


class Recital(nn.Module):
    """Predicts x0: one stored picture for each label, or the first one for all without labels."""

    def __init__(self, stored: Tensor, names: tuple[str, ...]) -> None:
        super().__init__()
        self.stored = nn.Parameter(stored)
        self.conditions = {"label": Class(10, names)} if names else {}

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        return self.stored[:1].expand_as(x) if label is None else self.stored[label]


def recital(
    stored: Tensor,
    names: tuple[str, ...] = DIGITS,
    shape: tuple[int, ...] = (1, 28, 28),
    dataset: str = "mnist",
) -> Diffusion:
    model = Diffusion(Recital(stored, names), LinearBeta(), "x0")
    model.info = Info(shape, Pictures(), dataset=dataset)
    return model


def test_accuracy_and_classes_are_the_judges_reading() -> None:
    test, train, samples = pictures(150, 0), pictures(200, 1), pictures(100, 2)
    read = run_judge(load_judge(), samples["x"])[1].argmax(1)
    half = torch.where(torch.arange(100) < 50, read, (read + 1) % 10)
    for labels, accuracy in ((read, 1.0), ((read + 1) % 10, 0.0), (half, 0.5)):
        report = evaluate_images(samples | {"label": labels}, test, train, neighbours=False)
        assert report.accuracy == accuracy
    report = evaluate_images(samples, test, train, neighbours=False)
    assert report.accuracy is None
    assert report.classes == tuple((read == digit).sum().item() for digit in range(10))
    assert report.neighbours is None


def test_training_images_measure_the_floor() -> None:
    test, train = pictures(150, 0), pictures(200, 1)
    report = evaluate_images({"x": training_part(train["x"], 80)}, test, train, neighbours=False)
    assert report.frechet == report.floor > 0
    assert report.ratio == 1
    assert report.count == 80
    ours = evaluate_images({"x": -train["x"][:80]}, test, train, neighbours=False)
    assert ours.floor == report.floor


def test_the_test_set_is_at_distance_zero_of_itself() -> None:
    test, train = pictures(150, 0), pictures(200, 1)
    assert evaluate_images(test, test, train, neighbours=False).frechet < 1e-6


def test_flags_memorised_samples() -> None:
    test, train = pictures(150, 0), pictures(200, 1)
    planted = evaluate_images({"x": train["x"][:50]}, test, train).neighbours
    honest = evaluate_images(pictures(50, 2), test, train).neighbours
    assert planted is not None
    assert honest is not None
    assert planted.near == 1
    assert planted.samples[-1] == 0
    assert honest.near < 0.1


def test_report_as_text_and_json() -> None:
    test, train = pictures(150, 0), pictures(200, 1)
    samples = {"x": test["x"][:20], "label": torch.zeros(20, dtype=torch.int64)}
    report = evaluate_images(samples, test, train)
    assert json.loads(json.dumps(report.as_dict()))["ratio"] == report.ratio
    text = report.as_text()
    assert f"{report.frechet:.4f}" in text
    assert f"{report.accuracy:.2%}" in text
    assert "nearest" in text


@pytest.mark.parametrize(
    "info",
    [
        {"shape": (3, 28, 28)},
        {"shape": (1, 32, 32)},
        {"names": DIGITS[::-1]},
        {"names": (), "dataset": "fashion-mnist"},
    ],
)
def test_refuses_models_of_other_things(info: dict[str, Any]) -> None:
    model = recital(pictures(10, 0)["x"], **info)
    with pytest.raises(UserError, match="only models of 1x28x28 digits"):
        evaluate_digit_model(model, Sampling(), 2, data_dir=Path("none"))


def test_refuses_arguments_that_do_not_fit() -> None:
    test, train = pictures(10, 0), pictures(20, 1)
    with pytest.raises(ValueError, match="judge fewer samples"):
        evaluate_images(pictures(21, 2), test, train)
    with pytest.raises(ValueError, match="5 samples need as many classes, not"):
        evaluate_images(pictures(5, 2) | {"label": torch.zeros(4)}, test, train)
    with pytest.raises(ValueError, match="not finite"):
        evaluate_images({"x": torch.full((5, 1, 28, 28), torch.nan)}, test, train)


def test_evaluates_a_model_that_recites_its_training_data(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Perfect accuracy, every class, a distance far above the floor, and caught by neighbours."""
    kept = {}
    for split, count in (("test", 400), ("train", 2000)):
        kept[split] = take(open_images("mnist", split, data_dir), range(count))
    monkeypatch.setattr(images, "open_images", lambda name, split, root: split)
    monkeypatch.setattr(images, "take", kept.get)
    judge = load_judge()
    x, labels = kept["train"]["x"], kept["train"]["label"]
    right = run_judge(judge, x)[1].argmax(1) == labels
    chosen = [int((right & (labels == digit)).nonzero()[0]) for digit in range(10)]
    sampling = Sampling("ddim", 3)
    report = evaluate_digit_model(recital(x[chosen]), sampling, count=100, progress=False)
    assert report.accuracy == 1
    wanted = torch.bincount(training_part(labels, 100), minlength=10)
    assert report.classes == tuple(wanted.tolist())
    assert report.ratio > 2
    assert report.neighbours is not None
    assert report.neighbours.near == 1
    unlabelled = recital(x[chosen], names=())
    report = evaluate_digit_model(unlabelled, sampling, count=10, progress=False)
    assert report.accuracy is None
    assert report.classes == (10, *[0] * 9)
    with pytest.raises(ValueError, match="there are 2,000: judge fewer samples"):
        evaluate_digit_model(unlabelled, sampling, count=2001, progress=False)


def test_real_digits_are_right_and_wrong_labels_are_not(data_dir: Path) -> None:
    test, train = (
        take(open_images("mnist", split, data_dir), range(1000)) for split in ("test", "train")
    )
    report = evaluate_images(test, test, train, neighbours=False)
    assert report.accuracy is not None
    assert report.accuracy >= 0.985
    wrong = test | {"label": (test["label"] + 1) % 10}
    report = evaluate_images(wrong, test, train, neighbours=False)
    assert report.accuracy is not None
    assert report.accuracy <= 0.01
