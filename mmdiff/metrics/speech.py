"""How good generated spoken digits are: who says what, Fréchet distance, what was memorised."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdiff.audio.datasets import Sounds, open_sounds
from mmdiff.diffusion import Diffusion
from mmdiff.errors import UserError
from mmdiff.guidance import Guidance
from mmdiff.metrics.frames import FrameReport, evaluate_frames
from mmdiff.metrics.frechet import frechet_distance, training_part
from mmdiff.metrics.loudness import Levels, measure_levels
from mmdiff.metrics.neighbours import QUANTILES, Neighbours, compare_neighbours
from mmdiff.metrics.sounds import (
    Clips,
    conditions,
    known_info,
    level_lines,
    quantile_head,
    quantile_row,
    sample_sounds,
    take,
)
from mmdiff.metrics.speech_judge import FLOOR, SpeechJudge, load_speech_judge, run_speech_judge
from mmdiff.solvers import Solver

DEPTH = 30.0  # dB under the loudest frame that the distance between neighbours reaches
SHIFTS = range(0, 256, 40)  # samples: training clips begin up to 255 into the window


class Speech(Clips):
    """A whole data set: x [N, 1, L] in [-1, 1], labels [N] and speakers [N], int64."""


@dataclass(frozen=True)
class SpeechReport:
    """What `evaluate_speech` found.

    Attributes:
        count: number of samples.
        clamped: how many of them went beyond full scale and were clamped to it.
        accuracy: fraction of the samples that the judge reads as their label; None without labels.
        speaker_accuracy: the same of the speakers.
        real_accuracy, real_speaker_accuracy: the same of the test clips.
        frechet: Fréchet distance from the samples to the test clips, in the judge's features.
        floor: the same from `count` training clips: what a perfect sampler would reach.
        levels, real_levels: how loud samples and test clips are.
        neighbours: nearest training clips, by the root mean square over a log-mel spectrogram of
            the difference in dB; None where they were not sought.
        frames: the artefacts of the model's front end; None where only its samples are known.
    """

    count: int
    clamped: int
    accuracy: float | None
    speaker_accuracy: float | None
    real_accuracy: float
    real_speaker_accuracy: float
    frechet: float
    floor: float
    levels: Levels
    real_levels: Levels
    neighbours: Neighbours | None
    frames: FrameReport | None = None

    @property
    def ratio(self) -> float:
        """`frechet` in units of `floor`."""
        return self.frechet / self.floor

    def as_dict(self) -> dict[str, Any]:
        """Everything here, `ratio` too, ready for JSON; artefacts as "aliasing" and "denoiser"."""
        found = {**asdict(self), "ratio": self.ratio}
        del found["frames"]
        return found if self.frames is None else found | self.frames.as_dict()

    def as_text(self) -> str:
        """A few lines for people."""
        lines = [f"samples            {self.count:,}  ({self.clamped:,} clamped to full scale)"]
        for name, right, possible in (
            ("digits right", self.accuracy, self.real_accuracy),
            ("speakers right", self.speaker_accuracy, self.real_speaker_accuracy),
        ):
            if right is not None:
                lines.append(f"{name:<18} {right:.2%}  (test clips {possible:.2%})")
        lines += [
            f"Fréchet distance   {self.frechet:.4f}",
            f"  floor            {self.floor:.4f}  ({self.count:,} training clips)",
            f"  ratio            {self.ratio:.2f}",
            *level_lines(self.levels, self.real_levels, "test clips"),
        ]
        if self.neighbours is not None:
            lines += [
                f"nearest training clip (dB), quantiles    {quantile_head(QUANTILES)}",
                f"  samples                                {quantile_row(self.neighbours.samples)}",
                f"  test clips                             {quantile_row(self.neighbours.unseen)}",
                f"  samples nearer than 99% of the test clips: {self.neighbours.near:.2%}",
            ]
        if self.frames is not None:
            lines += ["", self.frames.as_text()]
        return "\n".join(lines)


def evaluate_speech(
    samples: Tensor,
    labels: Tensor | None,
    speakers: Tensor | None,
    test: Speech,
    train: Speech,
    *,
    neighbours: bool = True,
    judge: SpeechJudge | None = None,
) -> SpeechReport:
    """Judge `samples` [N, 1, L] at 8 kHz, meant as `labels` and `speakers` (int64 [N], or None).

    Args:
        samples: full scale is 1; what goes beyond is clamped, and counted.
        test: clips that no training saw, of the same length L.
        train: at least N clips that the model was trained on. The floor takes N of them, none
            twice, picked by a fixed permutation.
        neighbours: seek the nearest training clips (a few seconds at 1,000 samples on one core).
        judge: default `load_speech_judge()`.

    Raises:
        ValueError: shapes that do not fit, values that are not finite, fewer than two samples or
            more samples than training clips.
    """
    count = len(samples)
    if count > len(train.x):
        raise ValueError(
            f"{count} samples need as many training clips for their floor; there are "
            f"{len(train.x)}: judge fewer samples."
        )
    for name, classes in (("labels", labels), ("speakers", speakers)):
        if classes is not None and classes.shape != (count,):
            raise ValueError(
                f"{count} samples need {name} of shape [{count}], not {list(classes.shape)}."
            )
    judge = load_speech_judge() if judge is None else judge
    x = samples.float().cpu()
    clamped = int((x.abs().amax(dim=(1, 2)) > 1).sum())
    x = x.clamp(-1, 1)
    features, digits, voices = run_speech_judge(judge, x)
    test_features, test_digits, test_voices = run_speech_judge(judge, test.x)
    train_features, _, _ = run_speech_judge(judge, training_part(train.x, count))
    return SpeechReport(
        count=count,
        clamped=clamped,
        accuracy=None if labels is None else _right(digits, labels),
        speaker_accuracy=None if speakers is None else _right(voices, speakers),
        real_accuracy=_right(test_digits, test.labels),
        real_speaker_accuracy=_right(test_voices, test.speakers),
        frechet=frechet_distance(features, test_features),
        floor=frechet_distance(train_features, test_features),
        levels=measure_levels(x, judge.sample_rate),
        real_levels=measure_levels(test.x, judge.sample_rate),
        neighbours=speech_neighbours(judge, x, test.x, train.x) if neighbours else None,
    )


def _right(logits: Tensor, classes: Tensor) -> float:
    return (logits.argmax(1) == classes.cpu()).double().mean().item()


def speech_neighbours(
    judge: SpeechJudge, samples: Tensor, unseen: Tensor, training: Tensor
) -> Neighbours:
    """How near `samples` are to `training` in dB of a log-mel spectrogram; all [_, 1, L].

    Beside `unseen` clips that nobody can have memorised. Sign, level, faint noise and where in the
    window a word begins make no difference, so that they hide no recitation.
    """
    shifted = [F.pad(training, (shift, 0))[..., : training.shape[2]] for shift in SHIFTS]
    reference = torch.cat([_decibels(judge, x) for x in shifted])
    return compare_neighbours(_decibels(judge, samples), _decibels(judge, unseen), reference)


@torch.inference_mode()
def _decibels(judge: SpeechJudge, x: Tensor, batch: int = 500) -> Tensor:
    """[N, 1, bands, frames], scaled so that L2 distances are root mean squares in dB."""
    device = judge.hidden.weight.device
    parts = [judge.spectrogram(part.to(device)).cpu() for part in torch.split(x, batch)]
    level = torch.cat(parts).sub_(1).mul_(FLOOR).clamp_(min=-DEPTH)
    return level.div_(level[0].numel() ** 0.5)


def stack_sounds(sounds: Sounds) -> Speech:
    """The whole of a data set, its values divided by its scale."""
    return Speech(*take(sounds, range(len(sounds))))


def sample_speech(
    model: Diffusion,
    solver: Solver,
    labels: Tensor,
    speakers: Tensor,
    *,
    guidance: Guidance | float | None = None,
    seed: int = 0,
    batch: int = 50,
    spin: int = 0,
    progress: bool = True,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """(Spoken digits [N, 1, L] on the CPU, their labels and speakers [N] or None).

    Full scale is 1, and nothing is clamped. A model that takes labels draws `labels`, and one that
    takes speakers `speakers` (int64 [N] both); what it does not take is None in the result. Raises
    UserError for a model that does not make spoken digits at 8 kHz.
    """
    wanted = conditions(_speech_info(model), labels, speakers)
    samples = sample_sounds(
        model, solver, len(labels), wanted,
        guidance=guidance, seed=seed, batch=batch, spin=spin, progress=progress,
    )  # fmt: skip
    return samples, wanted.get("label"), wanted.get("speaker")


def says_digits(info: Any) -> bool:
    """Whether a model with this `Info` makes what the bundled judge of spoken digits knows."""
    digits = tuple("0123456789")
    mono = len(info.shape) == 2 and info.shape[0] == 1 and info.shape[1] >= SpeechJudge.shortest
    spoken = tuple(info.labels) == digits or (info.dataset == "fsdd" and not info.labels)
    return mono and spoken and info.sample_rate == SpeechJudge.sample_rate


def _speech_info(model: Diffusion) -> Any:
    """The model's `training.checkpoints.Info`, if it says that the model makes spoken digits."""
    info = known_info(model)
    if says_digits(info):
        return info
    raise UserError(
        "only models of spoken digits, mono at 8000 Hz, can be evaluated, for the bundled judge "
        f"knows nothing else; this one makes {'x'.join(map(str, info.shape))} at "
        f"{info.sample_rate} Hz of {info.dataset or 'other data'}."
    )


def evaluate_speech_model(
    model: Diffusion,
    solver: Solver,
    count: int = 1000,
    guidance: Guidance | float | None = None,
    seed: int = 0,
    data_dir: Path | None = None,
    batch: int = 50,
    spin: int = 0,
    progress: bool = True,
) -> SpeechReport:
    """Sample `count` spoken digits and judge them against the FSDD in `data_dir`.

    Digits and speakers are as common as in `training_part`. The artefacts of the model's front end
    are sought beside the test clips.

    Raises UserError for a model that does not make spoken digits at 8 kHz by the speakers of the
    FSDD, for more samples than that has training clips, or where it is not found.
    """
    info = _speech_info(model)  # before any data are asked for
    seconds = info.shape[1] / info.sample_rate
    sounds = {
        split: open_sounds("fsdd", split, data_dir, sample_rate=info.sample_rate, seconds=seconds)
        for split in ("test", "train")
    }
    known = sounds["train"].speakers
    if info.speakers and tuple(info.speakers) != known:
        raise UserError(
            f"the judge knows the speakers {', '.join(known)}, but this model speaks as "
            f"{', '.join(info.speakers)}: compare it with their sounds by --dataset folder:PATH."
        )
    if count > len(sounds["train"]):
        raise UserError(
            f"{count:,} samples need as many training clips for their floor, and the FSDD has "
            f"{len(sounds['train']):,}: judge fewer samples."
        )
    test, train = stack_sounds(sounds["test"]), stack_sounds(sounds["train"])
    samples, labels, speakers = sample_speech(
        model, solver, training_part(train.labels, count), training_part(train.speakers, count),
        guidance=guidance, seed=seed, batch=batch, spin=spin, progress=progress,
    )  # fmt: skip
    report = evaluate_speech(samples, labels, speakers, test, train)
    given = conditions(info, test.labels, test.speakers)
    frames = evaluate_frames(model, samples, test.x, given, info.data_range[1], seed, batch)
    return replace(report, frames=frames)
