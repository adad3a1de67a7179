"""How good generated sound is beside held-out sound of any kind: levels, spectrum, artefacts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from mmdiff.audio.datasets import NAMES, Sounds, open_sounds
from mmdiff.diffusion import Diffusion
from mmdiff.errors import UserError
from mmdiff.guidance import Guidance
from mmdiff.metrics.frames import FrameReport, evaluate_frames
from mmdiff.metrics.loudness import LEVELS, Levels, measure_levels
from mmdiff.sampling import in_parts
from mmdiff.solvers import Solver
from mmdiff.training.runs import evenly, take_turns

MOST = 1000  # held-out clips that samples are compared with
_BURIED = 1e-8  # of the power of the loudest frequency: what lies 80 dB below it counts as silence


class Clips(NamedTuple):
    """Sounds: x [N, C, L] in [-1, 1], labels [N] and speakers [N], int64, -1 for none."""

    x: Tensor
    labels: Tensor
    speakers: Tensor


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


def level_lines(ours: Levels, real: Levels, name: str) -> list[str]:
    """The quantiles of the levels of samples and of real clips, which `name` tells of."""
    return [
        f"levels, quantiles                        {quantile_head(LEVELS)}",
        f"  loudness (LUFS)  samples               {quantile_row(ours.loudness)}",
        f"                   {name:<22}{quantile_row(real.loudness)}",
        f"  peak             samples               {quantile_row(ours.peak)}",
        f"                   {name:<22}{quantile_row(real.peak)}",
    ]


def quantile_head(levels: tuple[float, ...]) -> str:
    """Names of columns of quantiles."""
    return "  ".join(f"{level:>6.0%}" for level in levels)


def quantile_row(values: tuple[float, ...]) -> str:
    """Values below `quantile_head`."""
    return "  ".join(f"{value:6.2f}" for value in values)


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


def take(sounds: Sounds, items: Iterable[int]) -> Clips:
    """Items of a data set, their values divided by its scale."""
    taken = [sounds[i] for i in items]
    return Clips(
        x=torch.stack([item["x"] for item in taken]) / sounds.scale,
        labels=torch.tensor([item["label"] for item in taken]),
        speakers=torch.tensor([item["speaker"] for item in taken]),
    )


def conditions(info: Any, labels: Tensor, speakers: Tensor) -> dict[str, Tensor]:
    """Those of `labels` and `speakers` that a model with this `Info` takes, by name."""
    wanted = {"label": labels} if info.labels else {}
    return {**wanted, "speaker": speakers} if info.speakers else wanted


def sample_sounds(
    model: Diffusion,
    solver: Solver,
    count: int,
    cond: Mapping[str, Tensor],
    *,
    guidance: Guidance | float | None = None,
    seed: int = 0,
    batch: int = 50,
    spin: int = 0,
    progress: bool = True,
) -> Tensor:
    """Sounds [count, C, L] on the CPU: full scale is 1, and nothing is clamped.

    Args:
        model: from a checkpoint, whose `Info` has the shape and the range of its data.
        cond: its conditions by name, int64 [count] each.
    """
    info = known_info(model)
    settings: dict[str, Any] = {"guidance": guidance, "spin": spin, **cond}
    parts = in_parts(model, (count, *info.shape), solver, seed, batch=batch, **settings)
    sounds = []
    with tqdm(total=count, unit="clip", disable=not progress) as bar:
        for x in parts:
            sounds.append(x.float().cpu() / info.data_range[1])
            bar.update(len(x))
    return torch.cat(sounds)


def known_info(model: Diffusion) -> Any:
    """The model's `training.checkpoints.Info`; UserError if it has none."""
    info: Any = getattr(model, "info", None)
    if info is None:
        raise UserError("only a model that was loaded from a checkpoint can be evaluated.")
    return info


def evaluate_sound_model(
    model: Diffusion,
    solver: Solver,
    count: int | None = None,
    dataset: str | None = None,
    guidance: Guidance | float | None = None,
    seed: int = 0,
    data_dir: Path | None = None,
    batch: int = 50,
    spin: int = 0,
    progress: bool = True,
) -> SoundReport:
    """Sample sounds and compare them with held-out ones, of which 1,000 at most are taken.

    Labels and speakers are as common among the samples as among the held-out clips, or take turns
    where those have none.

    Args:
        count: as many as there are held-out clips if None.
        dataset: a name that `open_sounds` knows; what the model was trained on if None.
        data_dir: see `open_sounds`.
        guidance, seed, spin: see `mmdiff.sample`.
        batch: samples at a time.

    Raises:
        UserError: data that are not found, or have labels that the model does not know.
        ValueError: samples that are not finite; a format that the data cannot have.
    """
    info = known_info(model)
    if info.sample_rate is None or len(info.shape) != 2 or info.shape[0] > 2:
        raise UserError("only models of mono or stereo sound can be compared with sounds.")
    sounds = _held_out(info, dataset, data_dir)
    real = take(sounds, evenly(len(sounds), min(len(sounds), MOST)).tolist())
    known = _as_known(info, sounds, real)
    order = _by_class(real)
    count = count or len(order)
    wanted = {name: values[order[evenly(len(order), count)]] for name, values in known.items()}
    sizes = {"label": len(info.labels), "speaker": len(info.speakers)}
    absent = {name: sizes[name] for name, values in known.items() if values.max() < 0}
    samples = sample_sounds(
        model, solver, count, wanted | take_turns(absent, count),
        guidance=guidance, seed=seed, batch=batch, spin=spin, progress=progress,
    )  # fmt: skip
    frames = evaluate_frames(model, samples, real.x, known, info.data_range[1], seed, batch)
    x = samples.clamp(-1, 1)
    halves = real.x[order[::2]], real.x[order[1::2]]
    return SoundReport(
        dataset=sounds.name,
        count=count,
        real_count=len(order),
        clamped=int((samples.abs().amax(dim=(1, 2)) > 1).sum()),
        levels=measure_levels(x, info.sample_rate),
        real_levels=measure_levels(real.x, info.sample_rate),
        spectrum=spectral_distance(x, real.x),
        real_spectrum=spectral_distance(*halves) if len(order) > 1 else None,
        frames=frames,
    )


def _held_out(info: Any, dataset: str | None, data_dir: Path | None) -> Sounds:
    """The held-out part of `dataset`, or of what the model was trained on, in its format."""
    name = dataset or info.dataset
    kind, _, path = name.partition(":")
    if dataset is None:
        cure = "name sounds to compare it with by --dataset folder:PATH."
        if kind != "folder" and name not in NAMES:
            said = name or "data without a name"
            raise UserError(f"the model was trained on {said}, which cannot be opened: {cure}")
        if kind == "folder" and not Path(path).expanduser().is_dir():
            raise UserError(f"there is no folder {path}, which the model was trained on: {cure}")
    seconds = info.shape[1] / info.sample_rate
    return open_sounds(name, "test", data_dir, info.sample_rate, seconds, info.shape[0])


def _as_known(info: Any, sounds: Sounds, clips: Clips) -> dict[str, Tensor]:
    """The conditions of clips as the model counts them, int64 [N] each; -1 where they have none."""
    known = {}
    for name, values in conditions(info, clips.labels, clips.speakers).items():
        ours, theirs = (getattr(of, f"{name}s") for of in (info, sounds))
        strange = [one for one in theirs if one not in ours]
        if strange:
            raise UserError(
                f"{sounds.name} has the {name} {strange[0]!r}, which the model does not know: "
                "name other sounds to compare it with by --dataset folder:PATH."
            )
        table = torch.tensor([*(ours.index(one) for one in theirs), -1])  # -1 is the last, too
        known[name] = table[values]
    return known


def _by_class(clips: Clips) -> Tensor:
    """int64 [N]: the order of clips by label, then by speaker."""
    return (clips.labels * (clips.speakers.max() + 2) + clips.speakers).argsort(stable=True)
