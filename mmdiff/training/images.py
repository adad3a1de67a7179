"""Training on images: the presets, what is watched, and what a finished run leaves."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from mmdiff import noise
from mmdiff.diffusion import Diffusion
from mmdiff.errors import UserError
from mmdiff.image.datasets import Images, open_images
from mmdiff.image.diffunet import DiffUNet, check_sides
from mmdiff.image.pictures import (
    grid,
    progress_picture,
    reverse_process_picture,
    save_gif,
    save_png,
)
from mmdiff.nn import UNet
from mmdiff.notes import generated
from mmdiff.prediction import Weighting
from mmdiff.sampling import OnStep, sample
from mmdiff.schedules import LinearBeta
from mmdiff.solvers import DDPM, DPMpp2MSDE, Solver
from mmdiff.training.checkpoints import Info
from mmdiff.training.runs import configure, evenly, looks, take_turns
from mmdiff.training.trainer import Trainer

WATCHED_TIMES = (0.05, 0.1, 0.25, 0.5, 0.75, 1.0)
FRAMES = 60  # of the animation, about


@dataclass(frozen=True)
class ImagePreset:
    """A recipe for images: everything but the data.

    Attributes:
        network: "diffunet" (deepinv's, unconditional) or "unet" (ours, with the data's labels).
        epochs: passes over the data.
        solver: draws the samples of a finished run.
        preview: draws the samples after an epoch.
        samples: how many, for either.
        look_every: steps, at least, from one look at the run (validation, samples, a picture) to
            the next: an epoch of MNIST has more, one of a small folder a few.
        clip: keep every estimate of x0 within the data's range, see `sample`.
        weighting: of the loss, see `mmdiff.prediction.loss_weight`.
        training: arguments of `TrainingConfig` but for its steps and seed.
    """

    network: str
    epochs: int
    solver: Solver
    preview: Solver
    samples: int
    look_every: int = 500
    clip: bool = True
    weighting: Weighting = "uniform"
    training: dict[str, Any] = field(default_factory=dict)

    def model(self, data: Images, seed: int) -> Diffusion:
        """A fresh model for the shape and labels of `data`, the same for the same seed.

        Raises:
            UserError: pictures of a size that the network cannot take.
        """
        channels, *sides = data.shape
        torch.manual_seed(seed)
        backbone: nn.Module
        if self.network == "diffunet":
            try:
                check_sides(*sides)
            except ValueError as error:
                raise UserError(f"{error} Use --preset fast.") from error
            backbone = DiffUNet(channels, channels)
        else:
            conditions = {"label": len(data.labels)} if data.labels else None
            wide = (64, 128) if max(sides) <= 32 else (64, 128, 256)
            backbone = UNet(2, channels, channels, wide, patch=2, conditions=conditions)
        return Diffusion(backbone, LinearBeta(), "eps", self.weighting)


PRESETS = {
    # The thesis's experiment: no labels, no average, every constant as it was.
    "thesis": ImagePreset(
        network="diffunet",
        epochs=100,
        solver=DDPM(1000),
        preview=DPMpp2MSDE(25),
        samples=28,
        clip=False,
        training={
            "batch": 28,
            "lr": 1e-4,
            "optimizer": "adam",
            "decay": "constant",
            "ema": None,
            "clip": None,
            "label_dropout": 0.0,
        },
    ),
    # Good digits in about an hour on two CPU cores.
    "fast": ImagePreset(
        network="unet",
        epochs=20,
        solver=DPMpp2MSDE(25),
        preview=DPMpp2MSDE(25),
        samples=60,
        weighting="min_snr",
        training={
            "batch": 64,
            "lr": 3e-3,
            "optimizer": "muon",
            "warmup": 200,
            "precision": "bf16",
        },
    ),
}


def train_images(
    preset: str = "fast",
    dataset: str = "mnist",
    out: Path = Path("runs/mnist"),
    data_dir: Path | None = None,
    size: int | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    batch: int | None = None,
    lr: float | None = None,
    resume: bool = False,
    device: str = "auto",
    seed: int = 0,
) -> Path:
    """Train by a preset, watch it, and draw samples at the end; the path of the checkpoint.

    Args:
        preset: a key of `PRESETS`.
        dataset: a name that `open_images` knows.
        out: a folder of this run's own.
        data_dir, size: see `open_images`.
        epochs: instead of the preset's.
        steps: optimiser steps, instead of whole epochs.
        batch, lr: samples in a step, and the learning rate at its highest; instead of the preset's.
        resume: go on with the run in `out`.
        device: "auto", "cpu" or "cuda".
        seed: of everything random.

    Raises:
        UserError: an unknown preset or data set, and what `Trainer` raises.
    """
    if preset not in PRESETS:
        raise UserError(f"there is no preset {preset!r}: choose {' or '.join(PRESETS)}.")
    recipe = PRESETS[preset]
    data = open_images(dataset, "train", data_dir, size)
    held_out = open_images(dataset, "test", data_dir, size)
    config, length = configure(
        recipe.training, len(data), epochs or recipe.epochs, steps, seed, batch, lr
    )
    made = {"preset": preset, **length}
    model = recipe.model(data, seed)
    labels = data.labels if "label" in getattr(model.backbone, "conditions", {}) else ()
    info = Info(data.shape, labels=labels, dataset=dataset, made=made)
    trainer = Trainer(model, data, held_out, config, out, info, device, resume)
    every = looks(recipe.look_every, trainer.order.steps_per_epoch)
    trainer.fit(lambda trainer, epoch: watch(trainer, recipe, epoch), every)
    with trainer.writing():
        finish(trainer, recipe)
    return out / "model.safetensors"


def watch(trainer: Trainer, recipe: ImagePreset, epoch: int) -> None:
    """After an epoch: the progress picture and a grid of samples, as PNG and in TensorBoard."""
    with trainer.averaged():
        pictures = {
            "progress": denoising(trainer.model, trainer.validation, trainer.config.seed),
            "samples": grid(draw(trainer, recipe, recipe.preview)),
        }
    if trainer.journal is not None:
        for name, picture in pictures.items():
            save_png(picture, trainer.out / name / f"epoch_{epoch:03d}.png")
            trainer.journal.picture(name, picture, trainer.progress.step)


def finish(trainer: Trainer, recipe: ImagePreset) -> None:
    """Samples of the finished model: a grid, and the reverse process as a picture and animated."""
    frames: list[Image.Image] = []
    states: list[tuple[str, Tensor]] = []
    plan = recipe.solver.plan(trainer.model.schedule)
    shown = {round(share * len(plan)) for share in (0.2, 0.5, 0.7, 0.8, 0.9)}

    def on_step(step: int, t: float, x: Tensor, x0: Tensor) -> None:
        done = step + 1
        if done % max(1, len(plan) // FRAMES) == 0 or done == len(plan):
            frames.append(grid(x.clamp(-1, 1)))
        if done in shown or done == len(plan):
            states.append(("end" if done == len(plan) else str(done), x[:8].cpu()))

    with trainer.averaged():
        x = draw(trainer, recipe, recipe.solver, on_step)
    if trainer.is_main:
        first = torch.arange(len(x[:8]))
        start = noise.normal(trainer.config.seed, first, -1, trainer.info.shape)
        states.insert(0, ("start", start))
        note = generated(f"{trainer.out.name}/model", trainer.config.seed, recipe.solver)
        save_png(grid(x), trainer.out / "samples.png", note)
        save_png(reverse_process_picture(states), trainer.out / "reverse.png", note)
        save_gif(frames, trainer.out / "reverse.gif", note=note)


def draw(
    trainer: Trainer, recipe: ImagePreset, solver: Solver, on_step: OnStep | None = None
) -> Tensor:
    """[recipe.samples, C, H, W]; the classes take turns where there are any."""
    count = recipe.samples
    turns: dict[str, Any] = take_turns(getattr(trainer.model.backbone, "conditions", {}), count)
    return sample(
        trainer.model,
        (count, *trainer.info.shape),
        solver,
        trainer.config.seed,
        on_step=on_step,
        clip=trainer.info.data_range if recipe.clip else None,
        **turns,
    )


@torch.no_grad()
def denoising(model: Diffusion, data: Any, seed: int, count: int = 4) -> Image.Image:
    """The thesis's progress picture: x0, noised at several t, and the denoised estimates."""
    device = next(model.parameters()).device
    items = [data[i] for i in evenly(len(data), min(count, len(data))).tolist()]
    x0 = torch.stack([item["x"] for item in items]).to(device)
    cond = {}
    if "label" in getattr(model.backbone, "conditions", {}):
        cond = {"label": torch.tensor([item["label"] for item in items], device=device)}
    z = noise.normal(seed, torch.arange(len(x0), device=device), 0, x0.shape[1:])
    times = [torch.full((len(x0),), t, device=device) for t in WATCHED_TIMES]
    noised = [model.add_noise(x0, t, z) for t in times]
    denoised = [model.denoise(x, t, **cond).x0 for x, t in zip(noised, times, strict=True)]
    return progress_picture(x0, noised, denoised, WATCHED_TIMES)
