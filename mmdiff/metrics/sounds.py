"""How good generated sound is beside held-out sound of any kind: levels, spectrum, artefacts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmdiff.audio.datasets import NAMES, Sounds, open_sounds
from mmdiff.audio.modality import Sound
from mmdiff.checkpoints import Info
from mmdiff.conditions import Condition
from mmdiff.data.turns import evenly, take_turns
from mmdiff.diffusion import Diffusion
from mmdiff.errors import UserError
from mmdiff.metrics.batches import Batch, draw, known_info, take
from mmdiff.metrics.frames import FrameReport, evaluate_frames
from mmdiff.metrics.loudness import Levels, measure_levels
from mmdiff.metrics.reports import level_lines
from mmdiff.sampling import Sampling

MOST = 1000  # held-out clips that samples are compared with
_BURIED = 1e-8  # of the power of the loudest frequency: what lies 80 dB below it counts as silence


@dataclass(frozen=True)
class SoundReport:
    """What `evaluate_sound_model` found.

    Attributes:
        dataset: what the samples are compared with.
        count, real_count: numbers of samples and of held-out clips.
        clamped: how many of the samples went beyond full scale and were clamped to it.
        levels, real_levels: how loud samples and held-out clips are.
        spectrum: `spectral_distance` from the samples to the held-out clips.
        real_spectrum: the same from one half of the held-out clips to the other; None for one clip.
        frames: the artefacts of the front end.
    """

    dataset: str
    count: int
    real_count: int
    clamped: int
    levels: Levels
    real_levels: Levels
    spectrum: float
    real_spectrum: float | None
    frames: FrameReport

    def as_dict(self) -> dict[str, Any]:
        """Everything here, ready for JSON, the artefacts under "aliasing" and "denoiser"."""
        found = asdict(self)
        del found["frames"]
        return found | self.frames.as_dict()

    def as_text(self) -> str:
        """Some lines for people."""
        halves = "one alone" if self.real_spectrum is None else f"{self.real_spectrum:.1f} dB"
        lines = [
            f"samples            {self.count:,}  ({self.clamped:,} clamped to full scale)",
            f"held-out clips     {self.real_count:,}  ({self.dataset})",
            *level_lines(self.levels, self.real_levels, "held-out clips"),
            f"mean spectrum      {self.spectrum:.1f} dB from that of the held-out clips "
            f"(between their halves: {halves})",
            "",
            self.frames.as_text(),
        ]
        return "\n".join(lines)


def spectral_distance(a: Tensor, b: Tensor) -> float:
    """The log-spectral distance in dB between sets of clips `a` [N, C, L] and `b` [M, C, L].

    The root mean square over frequency, up to half the sample rate, of the difference in dB between
    the mean power spectra of the sets (Gray & Markel 1976, of means). It is symmetric, sees neither
    phases nor order in time, and is |20 log10 g| for sets that differ by a gain g. What lies 80 dB
    below the loudest frequency of both counts as that loud.

    Raises:
        ValueError: clips of different lengths, or no clips.
    """
    if min(a.numel(), b.numel()) < 1 or a.shape[-1] != b.shape[-1]:
        raise ValueError(
            f"spectra of clips {list(a.shape)} and {list(b.shape)} cannot be compared: "
            "both must be [N, C, L] with the same L."
        )
    powers = torch.stack([torch.fft.rfft(x.double()).abs().square().mean((0, 1)) for x in (a, b)])
    quietest = powers.max().mul(_BURIED).clamp(min=torch.finfo(powers.dtype).tiny)
    first, second = 10 * powers.maximum(quietest).log10()
    return float((first - second).square().mean().sqrt())


def evaluate_sound_model(
    model: Diffusion,
    sampling: Sampling,
    count: int | None = None,
    dataset: str | None = None,
    seed: int = 0,
    data_dir: Path | None = None,
    batch: int = 50,
    progress: bool = True,
) -> SoundReport:
    """Sample sounds and compare them with held-out ones, of which 1,000 at most are taken.

    The classes of each condition are as common among the samples as among the held-out clips, or
    take turns where those have none.

    Args:
        count: as many as there are held-out clips if None.
        dataset: a name that `open_sounds` knows. If None, what the model was trained on, unless
            that was a folder: a checkpoint does not say where it lies.
        seed, batch, progress: see `draw`.
        data_dir: see `open_sounds`.

    Raises:
        UserError: data that are not found, or have classes that the model does not know.
        ValueError: samples that are not finite; a format that the data cannot have.
    """
    info = known_info(model)
    if not isinstance(info.modality, Sound) or len(info.shape) != 2 or info.shape[0] > 2:
        raise UserError("only models of mono or stereo sound can be compared with sounds.")
    sounds = _held_out(info, info.modality.sample_rate, dataset, data_dir)
    real = take(sounds, evenly(len(sounds), min(len(sounds), MOST)).tolist())
    known = _as_known(model, sounds, real)
    order = _by_class(real)
    count = count or len(order)
    wanted = {name: values[order[evenly(len(order), count)]] for name, values in known.items()}
    kinds = model.conditions.items()
    absent = {name: kind.choices for name, kind in kinds if name not in known and kind.choices}
    told = wanted | take_turns(absent, count)
    samples = draw(model, sampling, count, told, seed, batch, progress)["x"]
    scale, rate = info.modality.scale, info.modality.sample_rate
    frames = evaluate_frames(model, samples, real["x"], known, scale, seed, batch)
    x = samples.clamp(-1, 1)
    halves = real["x"][order[::2]], real["x"][order[1::2]]
    return SoundReport(
        dataset=sounds.name,
        count=count,
        real_count=len(order),
        clamped=count_clamped(samples),
        levels=measure_levels(x, rate),
        real_levels=measure_levels(real["x"], rate),
        spectrum=spectral_distance(x, real["x"]),
        real_spectrum=spectral_distance(*halves) if len(order) > 1 else None,
        frames=frames,
    )


def count_clamped(x: Tensor) -> int:
    """How many of clips [N, C, L] go beyond full scale."""
    return int((x.abs().amax(dim=(1, 2)) > 1).sum())


def _held_out(info: Info, rate: int, dataset: str | None, data_dir: Path | None) -> Sounds:
    """The held-out part of `dataset`, or of what the model was trained on, in its format."""
    if dataset is None and info.dataset not in NAMES:
        raise UserError(
            f"the model was trained on {info.dataset or 'data without a name'}, and does not know "
            "where that is: name the dataset to compare it with, such as folder:PATH."
        )
    channels, length = info.shape
    return open_sounds(dataset or info.dataset, "test", data_dir, rate, length / rate, channels)


def _as_known(model: Diffusion, sounds: Sounds, clips: Batch) -> Batch:
    """The conditions of clips as the model counts their classes, int64 [N] each, -1 for none."""
    known = {}
    for name in (name for name in model.conditions if name in sounds.conditions):
        ours, theirs = (_choices(of.conditions[name]) for of in (model, sounds))
        strange = [one for one in theirs if one not in ours]
        if strange:
            raise UserError(
                f"{sounds.name} has the {name} {strange[0]!r}, which the model does not know: "
                "name another dataset to compare it with, such as folder:PATH."
            )
        table = torch.tensor([*(ours.index(one) for one in theirs), -1])  # -1 is the last, too
        known[name] = table[clips[name]]
    return known


def _choices(kind: Condition) -> list[str]:
    return [kind.say(value) for value in range(kind.choices)]


def _by_class(clips: Batch) -> Tensor:
    """int64 [N]: the order of clips by their first condition, then by the next."""
    order = torch.arange(len(clips["x"]))
    for name in reversed([name for name in clips if name != "x"]):
        order = order[clips[name][order].argsort(stable=True)]
    return order
