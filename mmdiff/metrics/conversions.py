"""How good a model of sound from sound is: pairs made of clean sounds, before and after."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from mmdiff.audio.datasets import open_sounds
from mmdiff.audio.degradations import everyday
from mmdiff.audio.modality import Sound
from mmdiff.audio.paired import PairedSounds
from mmdiff.audio.tasks import Enhance
from mmdiff.data.turns import evenly
from mmdiff.diffusion import Diffusion
from mmdiff.errors import UserError
from mmdiff.metrics.batches import draw, known_info, take
from mmdiff.metrics.equivariance import Estimate
from mmdiff.metrics.paired import judged, mean, package
from mmdiff.sampling import Sampling

MOST = 100  # pairs, where the user does not say

# What is told of a pair: by name of a figure in `mmdiff.metrics.paired`, its title and its format.
TITLES = {
    "si_sdr": ("SI-SDR, dB", "5.1f"),
    "spectral": ("log-spectral distance, dB", "5.1f"),
    "mel": ("log-mel distance, dB", "5.1f"),
    "pesq": ("PESQ, 1 to 4.6", "5.2f"),
    "estoi": ("ESTOI, up to 1", "5.3f"),
}


@dataclass(frozen=True)
class ConversionReport:
    """What `evaluate_conversion` found.

    Attributes:
        dataset: what the true sounds are of.
        task: what the model does, such as "enhance".
        count: number of pairs.
        before: the figures of what the model is told, by name, beside what is true; {} where that
            is no sound.
        after: the figures of what it makes of that.
    """

    dataset: str
    task: str
    count: int
    before: dict[str, Estimate]
    after: dict[str, Estimate]

    def as_dict(self) -> dict[str, Any]:
        """Everything here, ready for JSON."""
        found = asdict(self)
        for when in ("before", "after"):
            found[when] = {name: value._asdict() for name, value in getattr(self, when).items()}
        return found

    def as_text(self) -> str:
        """Some lines for people."""
        columns = {"before": self.before, "after": self.after}
        shown = {when: figures for when, figures in columns.items() if figures}
        lines = [
            f"pairs                      {self.count:,}  ({self.dataset}, to {self.task})",
            f"{'mean, 95% interval':<27}" + "".join(f"{when:<25}" for when in shown).rstrip(),
        ]
        for name, (title, form) in TITLES.items():
            cells = (_cell(figures[name], form) for figures in shown.values())
            lines.append(f"{title:<27}" + "".join(f"{cell:<25}" for cell in cells).rstrip())
        return "\n".join(lines)


def _cell(value: Estimate, form: str) -> str:
    return f"{value.value:{form}} ({value.low:{form}} to {value.high:{form}})"


def evaluate_conversion(
    model: Diffusion,
    sampling: Sampling,
    dataset: str,
    count: int | None = None,
    seed: int = 0,
    data_dir: Path | None = None,
    batch: int = 50,
    progress: bool = True,
) -> ConversionReport:
    """Damage clean sounds as the model's task has it, let the model work on them, and compare.

    An enhancer's recordings are damaged by `everyday`, without recorded noise.

    Args:
        dataset: clean sounds, that `open_sounds` knows; the held-out part is taken.
        count: pairs; as many as there are up to `MOST` if None.
        seed: of the damage and of the model's noise.
        data_dir: see `open_sounds`.
        batch, progress: see `draw`.

    Raises:
        UserError: a model without a task, data that are not found, a judge that is not installed.
    """
    for name in ("pesq", "pystoi"):
        package(name)  # before there is any work
    info = known_info(model)
    if info.task is None or not isinstance(info.modality, Sound):
        raise UserError("only models that make sound of sound are judged by pairs.")
    rate, scale = info.modality.sample_rate, info.modality.scale
    channels, length = info.shape
    sounds = open_sounds(
        dataset, "test", data_dir, rate, length / rate, channels, scale=scale, labelled=False
    )
    damage = everyday(rate) if isinstance(info.task, Enhance) else None
    data = PairedSounds(sounds, info.task, damage, seed)
    count = count or min(len(data), MOST)
    told = take(data, (evenly(len(data), count) % len(data)).tolist())
    true = told.pop("x")
    if "source" in told:  # what nothing happened to says nothing, and its SI-SDR is infinite
        damaged = (told["source"] / scale != true).flatten(1).any(1)
        true, told = true[damaged], {name: value[damaged] for name, value in told.items()}
        count = len(true)
    made = draw(model, sampling, count, told, seed, batch, progress)["x"]

    def figures(x: Tensor) -> dict[str, Estimate]:
        found = judged(zip(x, true, strict=True), rate, list(TITLES))
        return {name: mean(values, seed) for name, values in found.items()}

    before = figures(told["source"] / scale) if "source" in told else {}
    return ConversionReport(sounds.name, info.task.name, count, before, figures(made))
