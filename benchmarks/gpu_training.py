"""Sections of gpu.py about precision, and about training images."""

from __future__ import annotations

import csv
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch
from gpu_models import classes, present, shape
from gpu_timing import (
    BF16,
    DEFAULT,
    PRECISIONS,
    WITHOUT,
    Found,
    Setting,
    Work,
    peak_mib,
    rounds,
    sentence,
    times_faster,
    within,
)
from torch import Tensor

from mmdiff import Diffusion, Info
from mmdiff.image.datasets import Images
from mmdiff.image.folders import Decoded
from mmdiff.training.config import TrainingConfig
from mmdiff.training.images import PRESETS
from mmdiff.training.trainer import Trainer

LABELS = tuple("0123456789")
SIZE = (1, 28, 28)
RATE = 1e-5  # of learning: no step shall change what the next one costs
STEPS = 150  # of the trainer, which reports the pace of the last 50


def training_step(model: Diffusion, size: tuple[int, ...], given: dict[str, Any]) -> Work:
    """The loss of a batch of shape `size` at times and with noise drawn before, and its update."""
    model.train().requires_grad_(True)
    device = next(model.parameters()).device
    x, noise = torch.randn(2, *size, device=device)
    t = torch.rand(len(x), device=device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, fused=True)

    def step() -> None:
        model.loss(x, t, noise, **given).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def precision(setting: Setting) -> Found:
    """Rows of milliseconds by network, work and precision."""
    names = ("digits",) if setting.quick else ("digits", "sound")
    models, missing = present(names, setting)
    yield from missing
    batches = {"digits": 1024, "sound": 8}
    for place, (name, model) in enumerate(models.items()):
        batch = 1 if setting.quick else batches[name]
        size, given = (batch, *shape(model, setting)), classes(model, batch, setting)
        forward, step = _forward(model, size, given), training_step(model, size, given)
        outputs: dict[str, Tensor] = {}
        works: dict[tuple[str, str], Work] = {}
        for kind in PRECISIONS:
            inside = within(kind, setting.device, forward)
            outputs[kind] = inside()
            works["forward", kind] = inside
            works["training step", kind] = within(kind, setting.device, step)
        times, failed = rounds(works, setting, setting.share(len(models) - place))
        exact = outputs[WITHOUT]
        for (what, kind), turns in times.items():
            slow = times.get((what, WITHOUT))
            difference = float((outputs[kind] - exact).norm() / exact.norm())
            yield {
                "network": name,
                "batch": batch,
                "work": what,
                "precision": kind,
                "ms": 1000 * statistics.median(turns),
                "times faster": times_faster(slow, turns) if slow else None,
                "difference": difference if what == "forward" else None,
                "peak, MiB": peak_mib(works[what, kind], setting.device),
            }
        yield from (f"{name}, {note}" for note in failed)


def _forward(model: Diffusion, size: tuple[int, ...], given: dict[str, Any]) -> Any:
    device = next(model.parameters()).device
    x, t = torch.randn(size, device=device), torch.rand(size[0], device=device)

    @torch.no_grad()
    def forward() -> Tensor:
        output: Tensor = model.backbone(x, t, **given)
        return output.float()

    return forward


def training(setting: Setting) -> Found:
    """Rows of images a second by preset, batch and precision; what the trainer makes of it."""
    presets = {"fast": (2,)} if setting.quick else {"thesis": (28, 512), "fast": (64, 512)}
    works: dict[tuple[str, int, str], Work] = {}
    for preset, batches in presets.items():
        try:
            model = PRESETS[preset].model(pictures(1), seed=0).to(setting.device)
        except Exception as error:
            yield f"The preset {preset} is left out ({sentence(error)})."
            continue
        for batch in batches:
            step = training_step(model, (batch, *SIZE), classes(model, batch, setting))
            for kind in (DEFAULT, BF16):
                works[preset, batch, kind] = within(kind, setting.device, step)
    times, failed = rounds(works, setting, 0.5 * setting.share())
    for (preset, batch, kind), turns in times.items():
        yield {
            "preset": preset,
            "batch": batch,
            "precision": kind,
            "ms": 1000 * statistics.median(turns),
            "images/s": batch / statistics.median(turns),
            "peak, MiB": peak_mib(works[preset, batch, kind], setting.device),
        }
    yield from failed
    for preset in presets:
        try:
            pace = trained(preset, setting)
        except Exception as error:
            yield f"The trainer's pace is not known for {preset} ({sentence(error)})."
        else:
            yield {"preset": preset, **pace}


def pictures(count: int) -> Images:
    """Random pictures with the labels of MNIST."""
    pixels = torch.randint(256, (count, *SIZE), dtype=torch.uint8)
    return Images("random", Decoded(pixels, torch.arange(count) % len(LABELS), LABELS))


def trained(preset: str, setting: Setting) -> dict[str, Any]:
    """What `Trainer`, with all that it does, reports at the end of a short run of a preset."""
    recipe = PRESETS[preset]
    settings = {**recipe.training, **({"batch": 2} if setting.quick else {})}
    config = TrainingConfig(steps=2 if setting.quick else STEPS, seed=0, **settings)
    data = pictures(8 if setting.quick else 4096)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        info = Info(data.shape, labels=data.labels)
        model = recipe.model(data, seed=0)
        trainer = Trainer(model, data, pictures(4), config, out, info, setting.device)
        trainer.fit(every=config.steps)
        with (out / "losses.csv").open(newline="", encoding="utf-8") as file:
            images = float(list(csv.DictReader(file))[-1]["samples_per_second"])
    return {
        "batch": config.batch,
        "precision": {"no": DEFAULT, "bf16": BF16}[config.precision] + ", the whole trainer",
        "ms": 1000 * config.batch / images,
        "images/s": images,
    }
