"""How good generated clips of moving digits are: what they show, whether it stays, how it moves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from mmdiff.data.turns import evenly
from mmdiff.diffusion import Diffusion
from mmdiff.errors import UserError
from mmdiff.metrics.batches import Batch, draw, known_info, means_digits, take
from mmdiff.metrics.frechet import frechet_distance, training_part
from mmdiff.metrics.judge import DigitJudge, accuracy, load_judge, run_judge
from mmdiff.metrics.reports import Judged
from mmdiff.sampling import Sampling
from mmdiff.video.datasets import open_videos
from mmdiff.video.modality import Video
from mmdiff.video.moving import sampled

MOST = 2000  # held-out clips that samples are compared with
_INK = 0.25  # of full light: what is darker is no part of a digit
_SPAN = 4.0  # pixels that weigh in the Fréchet distance as much as one of the judge's features


@dataclass(frozen=True)
class Motion:
    """How the centre of the ink moves, in pixels.

    Attributes:
        step: the longest way from one frame to the next, in half of the clips, in 95%, in all.
        wobble: the median of |p[t + 1] - 2 p[t] + p[t - 1]|, which is 0 on a straight way.
    """

    step: tuple[float, ...]
    wobble: float


@dataclass(frozen=True)
class VideoReport(Judged):
    """What `evaluate_videos` found; the Fréchet distance is that between `clip_features`.

    Attributes:
        kept, real_kept: fraction of the clips that the judge reads alike in every frame, of the
            samples and of held-out clips. Those with an empty frame count as neither kept nor
            accurate, whatever is read there.
        empty: fraction of the samples with a frame without ink.
        jumps: fraction of the samples with a longer step than any held-out clip has.
        motion, real_motion: of the samples, and of held-out clips.
    """

    kept: float
    real_kept: float
    empty: float
    jumps: float
    motion: Motion
    real_motion: Motion

    def as_text(self) -> str:
        """A few lines for people."""
        lines = [f"samples            {self.count:,}"]
        if self.accuracy is not None:
            lines.append(f"accuracy           {self.accuracy:.2%}")
        lines += [
            *self.frechet_lines("clips"),
            f"one digit kept     {self.kept:.2%}  (held-out clips: {self.real_kept:.2%})",
            f"empty frames       {self.empty:.2%} have some",
            f"jumps              {self.jumps:.2%} step farther than any held-out clip",
            "longest step (pixels)                       50%     95%    100%  wobble",
            f"  samples                               {_row(self.motion)}",
            f"  held-out clips                        {_row(self.real_motion)}",
        ]
        return "\n".join(lines)


def centres(x: Tensor) -> Tensor:
    """Where the ink is in clips x [N, 1, T, H, W] in [-1, 1]: [N, T, 2], rows and columns.

    In pixels from the middle of a frame; there, too, where a frame has no ink.
    """
    ink = F.relu((x[:, 0] + 1) / 2 - _INK)
    mass = ink.sum((2, 3)).clamp(min=1e-6)
    axes = (torch.arange(side) - (side - 1) / 2 for side in x.shape[3:])
    return torch.stack(
        [(ink.sum(other) * axis).sum(2) / mass for other, axis in zip((3, 2), axes, strict=True)],
        dim=2,
    )


def centred(x: Tensor, places: Tensor, side: int = 28) -> Tensor:
    """Clips x [N, 1, T, H, W] -> frames [N T, 1, side, side] with `places` [N, T, 2] in the middle.

    So MNIST has its digits. Outside of a clip it is black.
    """
    high, wide = x.shape[3:]
    rows, columns = (
        (torch.arange(side) - (side - 1) / 2 + place.flatten()[:, None]) * 2 / long
        for place, long in zip(places.unbind(2), (high, wide), strict=True)
    )
    light = rearrange(x + 1, "n 1 t h w -> (n t) 1 h w")
    return sampled(light, rows, columns).clamp(0, 2) - 1


def judged(x: Tensor, judge: DigitJudge) -> tuple[Tensor, Tensor, Tensor]:
    """What the judge of digits sees in each frame of x [N, 1, T, H, W].

    Features [N, T, D], logits [N, T, K], and the centres [N, T, 2].
    """
    places = centres(x)
    features, logits = run_judge(judge, centred(x, places))
    features, logits = (rearrange(v, "(n t) d -> n t d", n=len(x)) for v in (features, logits))
    return features, logits, places


def clip_features(features: Tensor, places: Tensor) -> Tensor:
    """[N, 2 D + 2 T]: the mean and the deviation of a clip's features, and its way.

    The mean is what a clip shows, the deviation whether it stays that, the way how it moves.
    """
    way = rearrange(places / _SPAN, "n t d -> n (t d)")
    return torch.cat((features.mean(1), features.std(1, correction=0), way), dim=1)


def filled(x: Tensor) -> Tensor:
    """bool [N]: whether there is ink in every frame of clips x [N, 1, T, H, W] in [-1, 1]."""
    return (x[:, 0].amax((2, 3)) > 2 * _INK - 1).all(1)


def kept(logits: Tensor, whole: Tensor) -> float:
    """The fraction of clips, logits [N, T, K], that are `whole` and read alike in every frame."""
    read = logits.argmax(2)
    return ((read == read[:, :1]).all(1) & whole).double().mean().item()


def longest_steps(places: Tensor) -> Tensor:
    """[N]: the longest way of each clip between two frames, of places [N, T, 2]."""
    return places.diff(dim=1).norm(dim=2).amax(1)


def motion(places: Tensor) -> Motion:
    """Of clips of three frames or more, with their centres at `places` [N, T, 2]."""
    levels = torch.tensor([0.5, 0.95, 1.0], dtype=torch.float64)
    step = longest_steps(places).double().quantile(levels).tolist()
    return Motion(tuple(step), places.diff(n=2, dim=1).norm(dim=2).median().item())


def evaluate_videos(
    samples: Batch, test: Batch, train: Batch, judge: DigitJudge | None = None
) -> VideoReport:
    """Judge `samples`, x [N, 1, T, H, W] in [-1, 1], meant as their "label" if they have one.

    Args:
        test: clips that no training saw.
        train: N clips that the model was trained on, for the floor.
        judge: default `load_judge()`.

    Raises:
        ValueError: values that are not finite, or fewer than two samples.
    """
    judge = load_judge() if judge is None else judge
    features, logits, places = judged(samples["x"].cpu(), judge)
    real_features, real_logits, real_places = judged(test["x"], judge)
    train_features, _, train_places = judged(train["x"], judge)
    real = clip_features(real_features, real_places)
    whole = filled(samples["x"].cpu())
    labels = samples.get("label")
    return VideoReport(
        count=len(logits),
        accuracy=None
        if labels is None
        else accuracy(logits.mean(1), labels.cpu().where(whole, -1)),
        frechet=frechet_distance(clip_features(features, places), real),
        floor=frechet_distance(clip_features(train_features, train_places), real),
        neighbours=None,
        kept=kept(logits, whole),
        real_kept=kept(real_logits, filled(test["x"])),
        empty=(~whole).double().mean().item(),
        jumps=(longest_steps(places) > longest_steps(real_places).max()).double().mean().item(),
        motion=motion(places),
        real_motion=motion(real_places),
    )


def evaluate_video_model(
    model: Diffusion,
    sampling: Sampling,
    count: int = 1000,
    seed: int = 0,
    data_dir: Path | None = None,
    batch: int = 16,
    progress: bool = True,
) -> VideoReport:
    """Sample `count` clips and judge them against moving digits of MNIST in `data_dir`.

    The classes are as common as in `training_part`. Values are clamped, as in a file.

    Raises:
        UserError: a model that does not make clips of moving digits; MNIST is not found.
        ValueError: more samples than MNIST has training images.
    """
    info = known_info(model)
    modality = info.modality
    if not (isinstance(modality, Video) and info.shape[0] == 1 and info.shape[1] > 2) or (
        not means_digits(model, "moving-mnist")
    ):
        raise UserError(
            "only models of moving digits can be evaluated, for the bundled judge knows nothing "
            f"else; this one makes {'x'.join(map(str, info.shape))} of "
            f"{info.dataset or 'other data'}."
        )
    _, frames, *sides = info.shape
    held_out, seen = (
        open_videos("moving-mnist", split, data_dir, (sides[0], sides[1]), frames, modality.fps)
        for split in ("test", "train")
    )
    test = take(held_out, evenly(len(held_out), min(MOST, len(held_out))).tolist())
    train = take(seen, training_part(torch.arange(len(seen)), count).tolist())
    samples = draw(model, sampling, count, {"label": train["label"]}, seed, batch, progress)
    return evaluate_videos(samples | {"x": samples["x"].clamp(-1, 1)}, test, train)


def _row(found: Motion) -> str:
    return "  ".join(f"{value:6.2f}" for value in (*found.step, found.wobble))
