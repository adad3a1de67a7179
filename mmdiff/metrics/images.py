"""How good generated digits are: accuracy, Fréchet distance, and what was memorised."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from mmdiff.diffusion import Diffusion
from mmdiff.errors import UserError
from mmdiff.guidance import Guidance
from mmdiff.image.datasets import Images, open_images
from mmdiff.metrics.frechet import frechet_distance, training_part
from mmdiff.metrics.judge import DigitJudge, load_judge, run_judge
from mmdiff.metrics.neighbours import QUANTILES, Neighbours, compare_neighbours
from mmdiff.sampling import in_parts
from mmdiff.solvers import Solver


@dataclass(frozen=True)
class ImageReport:
    """What `evaluate_images` found.

    Attributes:
        count: number of samples.
        accuracy: fraction of the samples that the judge reads as their label; None without labels.
        frechet: Fréchet distance from the samples to the test set, in the judge's features.
        floor: the same from `count` training images: what a perfect sampler would reach.
        classes: how many samples the judge assigns to each class.
        neighbours: nearest training images; None where they were not sought.
    """

    count: int
    accuracy: float | None
    frechet: float
    floor: float
    classes: tuple[int, ...]
    neighbours: Neighbours | None

    @property
    def ratio(self) -> float:
        """`frechet` in units of `floor`."""
        return self.frechet / self.floor

    def as_dict(self) -> dict[str, Any]:
        """Everything here, `ratio` too, ready for JSON."""
        return {**asdict(self), "ratio": self.ratio}

    def as_text(self) -> str:
        """A few lines for people."""
        lines = [f"samples            {self.count:,}"]
        if self.accuracy is not None:
            lines.append(f"accuracy           {self.accuracy:.2%}")
        lines += [
            f"Fréchet distance   {self.frechet:.4f}",
            f"  floor            {self.floor:.4f}  ({self.count:,} training images)",
            f"  ratio            {self.ratio:.2f}",
            f"classes seen       {sum(n > 0 for n in self.classes)} of {len(self.classes)}  "
            f"({' '.join(str(n) for n in self.classes)})",
        ]
        if self.neighbours is not None:
            names = "  ".join(f"{level:>5.0%}" for level in QUANTILES)
            lines += [
                f"nearest training image (L2), quantiles {names}",
                f"  samples                              {_row(self.neighbours.samples)}",
                f"  test images                          {_row(self.neighbours.unseen)}",
                f"  samples nearer than 99% of the test images: {self.neighbours.near:.2%}",
            ]
        return "\n".join(lines)


def _row(values: tuple[float, ...]) -> str:
    return "  ".join(f"{value:5.2f}" for value in values)


def evaluate_images(
    samples: Tensor,
    labels: Tensor | None,
    real_test: Tensor,
    real_train: Tensor,
    *,
    neighbours: bool = True,
    judge: DigitJudge | None = None,
) -> ImageReport:
    """Judge `samples` [N, 1, 28, 28] in [-1, 1], meant as `labels` [N] (int64), None if unlabelled.

    Args:
        real_test: images [M, 1, 28, 28] in [-1, 1] that no training saw.
        real_train: at least N images that the model was trained on. The floor takes N of them,
            picked by a fixed permutation.
        neighbours: seek the nearest training images (half a minute at 10,000 samples on two cores).
        judge: default `load_judge()`.

    Raises:
        ValueError: shapes that do not fit, values that are not finite, fewer than two samples or
            more samples than training images.
    """
    count = len(samples)
    if count > len(real_train):
        raise ValueError(
            f"{count} samples need as many training images for their floor; there are "
            f"{len(real_train)}: judge fewer samples."
        )
    if labels is not None and labels.shape != (count,):
        raise ValueError(
            f"{count} samples need labels of shape [{count}], not {list(labels.shape)}."
        )
    judge = load_judge() if judge is None else judge
    features, logits = run_judge(judge, samples)
    test_features, _ = run_judge(judge, real_test)
    train_features, _ = run_judge(judge, training_part(real_train, count))
    seen = logits.argmax(1)
    return ImageReport(
        count=count,
        accuracy=None if labels is None else (seen == labels.cpu()).double().mean().item(),
        frechet=frechet_distance(features, test_features),
        floor=frechet_distance(train_features, test_features),
        classes=tuple(torch.bincount(seen, minlength=judge.classes).tolist()),
        neighbours=compare_neighbours(samples.cpu(), real_test, real_train) if neighbours else None,
    )


def stack(images: Images) -> tuple[Tensor, Tensor]:
    """(x [N, C, H, W] in [-1, 1], labels [N]) of a whole data set."""
    items = [images[i] for i in range(len(images))]
    return torch.stack([item["x"] for item in items]), torch.tensor([i["label"] for i in items])


def sample_digits(
    model: Diffusion,
    solver: Solver,
    labels: Tensor,
    *,
    guidance: Guidance | float | None = None,
    seed: int = 0,
    batch: int = 250,
    progress: bool = True,
) -> tuple[Tensor, Tensor | None]:
    """(Digits [N, 1, 28, 28] in [-1, 1] on the CPU, their labels [N] or None).

    A model that takes labels draws `labels` (int64 [N]), any other as many digits without. Values
    are clipped, as in a picture. Raises UserError for a model that does not make 28x28 digits: the
    judge knows nothing else.
    """
    info = _digit_info(model)
    count = len(labels)
    low, high = info.data_range
    given: Any = {"label": labels} if info.labels else {}
    parts = in_parts(
        model, (count, *DigitJudge.shape), solver, seed, batch=batch, guidance=guidance,
        clip=info.data_range, **given,
    )  # fmt: skip
    digits = []
    with tqdm(total=count, unit="digit", disable=not progress) as bar:
        for x in parts:
            digits.append(x.float().cpu().sub(low).div((high - low) / 2).sub(1).clamp(-1, 1))
            bar.update(len(x))
    return torch.cat(digits), labels if info.labels else None


def _digit_info(model: Diffusion) -> Any:
    """The model's `training.checkpoints.Info`, if it says that the model makes digits."""
    info: Any = getattr(model, "info", None)
    if info is None:
        raise UserError("only a model that was loaded from a checkpoint can be evaluated.")
    digits = tuple("0123456789")
    if tuple(info.shape) == DigitJudge.shape and (
        tuple(info.labels) == digits or (info.dataset == "mnist" and not info.labels)
    ):
        return info
    raise UserError(
        "only models of 1x28x28 digits can be evaluated, for the bundled judge knows nothing "
        f"else; this one makes {'x'.join(map(str, info.shape))} of {info.dataset or 'other data'}."
    )


def evaluate_digit_model(
    model: Diffusion,
    solver: Solver,
    count: int = 10_000,
    guidance: Guidance | float | None = None,
    seed: int = 0,
    data_dir: Path | None = None,
    batch: int = 250,
    progress: bool = True,
) -> ImageReport:
    """Sample `count` digits and judge them against MNIST in `data_dir`.

    The classes are as common as in `training_part`.

    Raises UserError for a model that does not make 28x28 digits, for more samples than MNIST has
    training images, or where it is not found.
    """
    _digit_info(model)  # before any data are asked for
    test, _ = stack(open_images("mnist", "test", data_dir))
    train, train_labels = stack(open_images("mnist", "train", data_dir))
    if count > len(train):
        raise UserError(
            f"{count:,} samples need as many training images for their floor, and MNIST has "
            f"{len(train):,}: judge fewer samples."
        )
    wanted = training_part(train_labels, count)
    samples, labels = sample_digits(
        model, solver, wanted, guidance=guidance, seed=seed, batch=batch, progress=progress
    )
    return evaluate_images(samples, labels, test, train)
