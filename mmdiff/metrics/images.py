"""How good generated digits are: accuracy, Fréchet distance, and what was memorised."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from mmdiff.diffusion import Diffusion
from mmdiff.errors import UserError
from mmdiff.image.datasets import open_images
from mmdiff.metrics.batches import Batch, draw, known_info, means_digits, take
from mmdiff.metrics.frechet import frechet_distance, training_part
from mmdiff.metrics.judge import DigitJudge, accuracy, load_judge, run_judge
from mmdiff.metrics.neighbours import compare_neighbours
from mmdiff.metrics.reports import Judged
from mmdiff.sampling import Sampling


@dataclass(frozen=True)
class ImageReport(Judged):
    """What `evaluate_images` found; distances between neighbours are L2.

    Attributes:
        classes: how many samples the judge assigns to each class.
    """

    classes: tuple[int, ...]

    def as_text(self) -> str:
        """A few lines for people."""
        lines = [f"samples            {self.count:,}"]
        if self.accuracy is not None:
            lines.append(f"accuracy           {self.accuracy:.2%}")
        lines += [
            *self.frechet_lines("images"),
            f"classes seen       {sum(n > 0 for n in self.classes)} of {len(self.classes)}  "
            f"({' '.join(str(n) for n in self.classes)})",
            *self.neighbour_lines("images", "L2"),
        ]
        return "\n".join(lines)


def evaluate_images(
    samples: Batch,
    test: Batch,
    train: Batch,
    *,
    neighbours: bool = True,
    judge: DigitJudge | None = None,
) -> ImageReport:
    """Judge `samples`, x [N, 1, 28, 28] in [-1, 1], meant as their "label" if they have one.

    Args:
        test: images that no training saw.
        train: at least N images that the model was trained on. The floor takes N of them, picked by
            a fixed permutation.
        neighbours: seek the nearest training images (half a minute at 10,000 samples on two cores).
        judge: default `load_judge()`.

    Raises:
        ValueError: shapes that do not fit, values that are not finite, fewer than two samples or
            more samples than training images.
    """
    x, labels = samples["x"].cpu(), samples.get("label")
    judge = load_judge() if judge is None else judge
    train_features, _ = run_judge(judge, training_part(train["x"], len(x)))
    features, logits = run_judge(judge, x)
    test_features, _ = run_judge(judge, test["x"])
    return ImageReport(
        count=len(x),
        accuracy=None if labels is None else accuracy(logits, labels),
        frechet=frechet_distance(features, test_features),
        floor=frechet_distance(train_features, test_features),
        classes=tuple(torch.bincount(logits.argmax(1), minlength=judge.classes).tolist()),
        neighbours=compare_neighbours(x, test["x"], train["x"]) if neighbours else None,
    )


def evaluate_digit_model(
    model: Diffusion,
    sampling: Sampling,
    count: int = 10_000,
    seed: int = 0,
    data_dir: Path | None = None,
    batch: int = 250,
    progress: bool = True,
) -> ImageReport:
    """Sample `count` digits and judge them against MNIST in `data_dir`.

    The classes are as common as in `training_part`. Values are clamped, as in a picture.

    Raises:
        UserError: a model that does not make 28x28 digits; MNIST is not found.
        ValueError: more samples than MNIST has training images.
    """
    info = known_info(model)  # before any data are asked for
    if info.shape != DigitJudge.shape or not means_digits(model, "mnist"):
        raise UserError(
            "only models of 1x28x28 digits can be evaluated, for the bundled judge knows nothing "
            f"else; this one makes {'x'.join(map(str, info.shape))} of "
            f"{info.dataset or 'other data'}."
        )
    test, train = (take(open_images("mnist", split, data_dir)) for split in ("test", "train"))
    wanted = {"label": training_part(train["label"], count)}
    samples = draw(model, sampling, count, wanted, seed, batch, progress)
    return evaluate_images(samples | {"x": samples["x"].clamp(-1, 1)}, test, train)
