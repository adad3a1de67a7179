"""Training on sound: the preset, what is watched, and what a finished run leaves."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from mmdiff.audio.datasets import Sounds, open_sounds
from mmdiff.audio.frontends import FrontEnd, parse
from mmdiff.diffusion import Diffusion
from mmdiff.errors import UserError
from mmdiff.nn import UNet
from mmdiff.schedules import Trigonometric
from mmdiff.training.checkpoints import Info
from mmdiff.training.listening import classes, examples, finish, watch
from mmdiff.training.runs import configure, looks
from mmdiff.training.trainer import Trainer

_COARSEST = 32  # positions, at most, on a U-Net's last level
_BASE = 64  # samples that a position of the base width stands for
_WIDEST = 4.0  # times the base width
_MULTIPLE = 16  # divides every width


@dataclass(frozen=True)
class AudioPreset:
    """A recipe for sound: everything but the data and the front end.

    v-prediction on the half circle (Salimans & Ho 2022), which needs no care about loudness.

    Attributes:
        width: of the U-Net where a position stands for 64 samples, see `levels`.
        blocks: residual blocks per level, down and up alike.
        scale: what waveforms in [-1, 1] are multiplied by, so that their values are about as
            large as those of the noise.
        epochs: passes over the data.
        look_every: steps, at least, from one look at the run (validation, samples, a picture) to
            the next.
        sampling: how all samples are drawn, and what the checkpoint recommends, see `Info`; the
            guidance only where the data have classes.
        samples: how many a finished run leaves.
        columns: clips in a row of a picture, at most.
        training: arguments of `TrainingConfig` but for its steps and seed.
    """

    width: int = 128
    blocks: int = 2
    scale: float = 4.0
    epochs: int = 190
    look_every: int = 1600
    sampling: dict[str, Any] = field(
        default_factory=lambda: {"solver": "ddim", "steps": 50, "guidance": 1.5}
    )
    samples: int = 60
    columns: int = 10
    training: dict[str, Any] = field(
        default_factory=lambda: {
            "batch": 32,
            "lr": 3e-3,
            "optimizer": "muon",
            "warmup": 500,
            "ema": 0.9995,
            "label_dropout": 0.1,
            "precision": "bf16",
            "times": "logit_normal",
        }
    )

    def model(self, data: Sounds, frontend: str, seed: int) -> Diffusion:
        """A fresh model for the shape and the classes of `data`, the same for the same seed."""
        channels, length = data.shape
        torch.manual_seed(seed)
        transform: Any = parse(frontend)
        inside = transform.channels(channels)
        widths = levels(length, transform.factor, self.width)
        network = UNet(1, inside, inside, widths, self.blocks, conditions=classes(data))
        return Diffusion(FrontEnd(transform, network), Trigonometric(), "v")


PRESET = AudioPreset()
FRONTEND = "mdct:8"  # which `benchmarks/frontends.md` comes to


def levels(length: int, factor: int, width: int) -> list[int]:
    """Widths of a U-Net's levels for clips of `length` samples.

    The first level has length / factor positions, each further one half as many, until at most 32
    are left: the longer the clip, the deeper the network. A level is `width` wide where a position
    stands for 64 samples, and wider by the root of 2 where it stands for twice as many, up to four
    times: so a level costs what the next one does.

    With a width of 128, 5120 samples behind a factor of 16 make (64, 96, 128, 176, 256), and 5 s at
    48 kHz five more levels, of up to 512.

    Args:
        length: of a clip, in samples.
        factor: of the front end, samples for each position of what it makes.
        width: as above; widths are rounded to multiples of 16.
    """
    positions, samples = -(-length // factor), factor
    widths = []
    while True:
        wide = width * min(_WIDEST, (samples / _BASE) ** 0.5)
        widths.append(max(1, round(wide / _MULTIPLE)) * _MULTIPLE)
        if positions <= _COARSEST:
            return widths
        positions, samples = -(-positions // 2), 2 * samples


def train_audio(
    frontend: str = FRONTEND,
    dataset: str = "fsdd",
    out: Path = Path("runs/fsdd"),
    data_dir: Path | None = None,
    sample_rate: int | None = None,
    seconds: float | None = None,
    channels: int | None = None,
    stereo: bool = False,
    epochs: int | None = None,
    steps: int | None = None,
    batch: int | None = None,
    lr: float | None = None,
    resume: bool = False,
    device: str = "auto",
    seed: int = 0,
) -> Path:
    """Train by `PRESET`, watch it, and draw samples at the end; the path of the checkpoint.

    Args:
        frontend: a name that `mmdiff.audio.frontends.parse` knows.
        dataset: a name that `open_sounds` knows.
        out: a folder of this run's own.
        data_dir, sample_rate, seconds: see `open_sounds`.
        channels: the U-Net's base width, instead of the preset's.
        stereo: two channels of sound instead of one.
        epochs: instead of the preset's.
        steps: optimiser steps, instead of whole epochs.
        batch, lr: samples in a step, and the learning rate at its highest; instead of the preset's.
        resume: go on with the run in `out`.
        device: "auto", "cpu" or "cuda".
        seed: of everything random.

    Raises:
        UserError: an unknown front end or data set, clips that are too long for memory or too
            short for the front end, and what `Trainer` raises.
    """
    recipe = replace(PRESET, width=channels or PRESET.width)
    sides = 2 if stereo else 1
    try:
        factor: Any = parse(frontend).factor  # finds out now rather than when all data are read
        data = open_sounds(
            dataset, "train", data_dir, sample_rate, seconds, sides, recipe.scale, True, seed
        )
        held_out = open_sounds(
            dataset, "test", data_dir, data.sample_rate, seconds, sides, recipe.scale, seed=seed
        )
    except ValueError as error:
        raise UserError(str(error)) from error
    if factor > data.shape[1]:
        raise UserError(
            f"the front end {frontend} takes {factor:,} samples at a time, and a clip has only "
            f"{data.shape[1]:,}: use one with a smaller number, or longer clips."
        )
    config, length = configure(
        recipe.training, len(data), epochs or recipe.epochs, steps, seed, batch, lr
    )
    model = recipe.model(data, frontend, seed)
    info = Info(
        data.shape,
        (-recipe.scale, recipe.scale),
        data.labels,
        data.speakers,
        data.sample_rate,
        dataset,
        recipe.sampling if classes(data) else {**recipe.sampling, "guidance": None},
        {"frontend": frontend, **length},
    )
    real = examples(info, held_out, recipe.columns)
    trainer = Trainer(model, data, held_out, config, out, info, device, resume)
    every = looks(recipe.look_every, trainer.order.steps_per_epoch)
    trainer.fit(lambda trainer, epoch: watch(trainer, real, epoch), every)
    with trainer.writing():
        finish(trainer, real, recipe.samples)
    return out / "model.safetensors"
