"""How good generated spoken digits are: who says what, Fréchet distance, what was memorised."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdiff.audio.datasets import open_sounds
from mmdiff.audio.modality import Sound
from mmdiff.diffusion import Diffusion
from mmdiff.errors import UserError
from mmdiff.metrics.batches import Batch, class_names, draw, known_info, means_digits, take
from mmdiff.metrics.frames import FrameReport, evaluate_frames, frame_length
from mmdiff.metrics.frechet import frechet_distance, training_part
from mmdiff.metrics.judge import accuracy, run_judge
from mmdiff.metrics.loudness import Levels, measure_levels
from mmdiff.metrics.neighbours import Neighbours, compare_neighbours
from mmdiff.metrics.reports import Judged, level_lines
from mmdiff.metrics.sounds import count_clamped
from mmdiff.metrics.speech_judge import FLOOR, SpeechJudge, load_speech_judge
from mmdiff.metrics.tails import Tail, silent_tail
from mmdiff.sampling import Sampling

DEPTH = 30.0  # dB under the loudest frame that the distance between neighbours reaches
SHIFTS = range(0, 256, 40)  # samples: training clips begin up to 255 into the window


@dataclass(frozen=True)
class SpeechReport(Judged):
    """What `evaluate_speech` found.

    Distances between neighbours are the root mean square over a log-mel spectrogram of the
    difference in dB.

    Attributes:
        clamped: how many of the samples went beyond full scale and were clamped to it.
        speaker_accuracy: as `accuracy`, of the speakers.
        real_accuracy, real_speaker_accuracy: the same of the test clips.
        levels, real_levels: how loud samples and test clips are.
        tail, real_tail: what follows the words, see `silent_tail`; the test clips begin as late in
            the window as training clips do.
        frames: the artefacts of the model's front end; None where only its samples are known.
    """

    clamped: int
    speaker_accuracy: float | None
    real_accuracy: float
    real_speaker_accuracy: float
    levels: Levels
    real_levels: Levels
    tail: Tail
    real_tail: Tail
    frames: FrameReport | None = None

    def as_dict(self) -> dict[str, Any]:
        """Everything here, `ratio` too, ready for JSON; artefacts as "aliasing" and "denoiser"."""
        found = super().as_dict()
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
            *self.frechet_lines("clips"),
            *level_lines(self.levels, self.real_levels, "test clips"),
            f"last 100 ms (dB)   samples               {self.tail.as_text()}",
            f"                   test clips            {self.real_tail.as_text()}",
            *self.neighbour_lines("clips", "dB"),
        ]
        if self.frames is not None:
            lines += ["", self.frames.as_text()]
        return "\n".join(lines)


def evaluate_speech(
    samples: Batch,
    test: Batch,
    train: Batch,
    *,
    grid: float | None = None,
    neighbours: bool = True,
    judge: SpeechJudge | None = None,
) -> SpeechReport:
    """Judge `samples`, x [N, 1, L] at 8 kHz, by what "label" and "speaker" say, if they are there.

    Args:
        samples: full scale is 1; what goes beyond is clamped, and counted.
        test: clips that no training saw, of the same length L, with label and speaker.
        train: at least N clips that the model was trained on. The floor takes N of them, none
            twice, picked by a fixed permutation.
        grid: a frequency in Hz at whose multiples a hum is sought, see `silent_tail`.
        neighbours: seek the nearest training clips (a few seconds at 1,000 samples on one core).
        judge: default `load_speech_judge()`.

    Raises:
        ValueError: shapes that do not fit, values that are not finite, fewer than two samples or
            more samples than training clips.
    """
    judge = load_speech_judge() if judge is None else judge
    rate = judge.sample_rate
    whole = samples["x"].float().cpu()
    labels, speakers = samples.get("label"), samples.get("speaker")
    x = whole.clamp(-1, 1)
    train_features, _, _ = run_judge(judge, training_part(train["x"], len(x)))
    features, digits, voices = run_judge(judge, x)
    test_features, test_digits, test_voices = run_judge(judge, test["x"])
    return SpeechReport(
        count=len(x),
        clamped=count_clamped(whole),
        accuracy=None if labels is None else accuracy(digits, labels),
        speaker_accuracy=None if speakers is None else accuracy(voices, speakers),
        real_accuracy=accuracy(test_digits, test["label"]),
        real_speaker_accuracy=accuracy(test_voices, test["speaker"]),
        frechet=frechet_distance(features, test_features),
        floor=frechet_distance(train_features, test_features),
        levels=measure_levels(x, rate),
        real_levels=measure_levels(test["x"], rate),
        tail=silent_tail(x, rate, grid),
        real_tail=silent_tail(torch.cat(_late(test["x"])), rate, grid),
        neighbours=speech_neighbours(judge, x, test["x"], train["x"]) if neighbours else None,
    )


def speech_neighbours(
    judge: SpeechJudge, samples: Tensor, unseen: Tensor, training: Tensor
) -> Neighbours:
    """How near `samples` are to `training` in dB of a log-mel spectrogram; all [_, 1, L].

    Beside `unseen` clips that nobody can have memorised. Sign, level, faint noise and where in the
    window a word begins make no difference, so that they hide no recitation.
    """
    reference = torch.cat([_decibels(judge, x) for x in _late(training)])
    return compare_neighbours(_decibels(judge, samples), _decibels(judge, unseen), reference)


def _late(x: Tensor) -> list[Tensor]:
    """Clips `x` [N, 1, L] that begin as late in the window as those of a training, by `SHIFTS`."""
    return [F.pad(x, (shift, 0))[..., : x.shape[2]] for shift in SHIFTS]


@torch.inference_mode()
def _decibels(judge: SpeechJudge, x: Tensor, batch: int = 500) -> Tensor:
    """[N, 1, bands, frames], scaled so that L2 distances are root mean squares in dB."""
    device = judge.hidden.weight.device
    parts = [judge.spectrogram(part.to(device)).cpu() for part in torch.split(x, batch)]
    level = torch.cat(parts).sub_(1).mul_(FLOOR).clamp_(min=-DEPTH)
    return level.div_(level[0].numel() ** 0.5)


def says_digits(model: Diffusion) -> bool:
    """Whether a model makes what the bundled judge of spoken digits knows."""
    info = known_info(model)
    return (
        isinstance(info.modality, Sound)
        and info.modality.sample_rate == SpeechJudge.sample_rate
        and len(info.shape) == 2
        and info.shape[0] == 1
        and info.shape[1] >= SpeechJudge.shortest
        and means_digits(model, "fsdd")
    )


def evaluate_speech_model(
    model: Diffusion,
    sampling: Sampling,
    count: int = 1000,
    seed: int = 0,
    data_dir: Path | None = None,
    batch: int = 50,
    progress: bool = True,
) -> SpeechReport:
    """Sample `count` spoken digits and judge them against the FSDD in `data_dir`.

    Digits and speakers are as common as in `training_part`. The artefacts of the model's front end
    are sought beside the test clips.

    Raises:
        UserError: a model that does not make spoken digits at 8 kHz by the speakers of the FSDD;
            that is not found.
        ValueError: more samples than the FSDD has training clips.
    """
    info = known_info(model)
    if not says_digits(model):  # before any data are asked for
        raise UserError(
            "only models of spoken digits, mono at 8000 Hz, can be evaluated, for the bundled "
            f"judge knows nothing else; this one makes {'x'.join(map(str, info.shape))} of "
            f"{info.dataset or 'other data'}."
        )
    rate = SpeechJudge.sample_rate
    seconds = info.shape[1] / rate
    held_out, seen = (
        open_sounds("fsdd", split, data_dir, sample_rate=rate, seconds=seconds)
        for split in ("test", "train")
    )
    known, voices = (class_names(of.conditions.get("speaker")) for of in (seen, model))
    if voices and voices != known:
        raise UserError(
            f"the judge knows the speakers {', '.join(known)}, but this model speaks as "
            f"{', '.join(voices)}: compare it with their sounds, as the dataset folder:PATH."
        )
    test, train = take(held_out), take(seen)
    wanted = {name: training_part(train[name], count) for name in seen.conditions}
    samples = draw(model, sampling, count, wanted, seed, batch, progress)
    period = frame_length(model)
    grid = rate / period if period > 1 else None
    report = evaluate_speech(samples, test, train, grid=grid)
    told = {name: test[name] for name in seen.conditions if name in model.conditions}
    scale = info.modality.scale
    frames = evaluate_frames(model, samples["x"], test["x"], told, scale, seed, batch)
    return replace(report, frames=frames)
