"""Training on images: what a run leaves, and what the presets say."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageChops
from torch import nn

from mmdiff import LinearBeta, load, sample
from mmdiff.errors import UserError
from mmdiff.image.datasets import open_images
from mmdiff.image.pictures import grid
from mmdiff.nn import UNet
from mmdiff.solvers import DDPM, DPMpp2M
from mmdiff.training import images
from mmdiff.training.config import TrainingConfig
from mmdiff.training.images import PRESETS, ImagePreset, train_images

TINY = ImagePreset(
    network="unet",
    epochs=2,
    solver=DPMpp2M(5),
    preview=DPMpp2M(2),
    samples=6,
    look_every=1,
    training={"batch": 8, "lr": 1e-3, "ema": 0.5},
)


@pytest.fixture
def dataset(tmp_path: Path) -> str:
    """20 coloured images of two classes; 2 of them are held out."""
    draw = random.Random(1)
    for index in range(20):
        folder = tmp_path / "pictures" / ("blue" if index % 2 else "red")
        folder.mkdir(parents=True, exist_ok=True)
        image = Image.new("RGB", (8, 8), folder.name)
        image.putpixel((draw.randrange(8), draw.randrange(8)), (255, 255, 255))
        image.save(folder / f"{index}.png")
    return f"folder:{tmp_path / 'pictures'}"


def test_what_a_run_leaves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dataset: str) -> None:
    monkeypatch.setitem(PRESETS, "tiny", TINY)
    out = tmp_path / "out"
    path = train_images("tiny", dataset, out, device="cpu", seed=3)
    assert path == out / "model.safetensors"
    for epoch in (1, 2):
        progress, samples = (
            Image.open(out / name / f"epoch_{epoch:03d}.png") for name in ("progress", "samples")
        )
        assert progress.width > 6 * 8
        assert progress.height > 4 * 8  # both held-out images, noised and denoised
        assert samples.width * samples.height >= 6 * 8 * 8
    with Image.open(out / "reverse.gif") as animation:
        assert animation.n_frames == 5
    for name, lines in (("losses.csv", 3), ("validation.csv", 17)):
        assert len((out / name).read_text().splitlines()) == lines
    assert list((out / "tensorboard").iterdir())
    assert not list(out.rglob("*.part*"))

    model = load(path)
    assert model.info.shape == (3, 8, 8)
    assert model.info.labels == ("blue", "red")
    assert model.info.dataset == dataset
    assert {"preset": "tiny", "seed": 3, "steps": 4}.items() <= model.info.made.items()
    assert model.info.made["epochs"] == pytest.approx(4 * 8 / 18, abs=0.01)
    # The pictures show the model that was saved.
    label = torch.arange(6) % 2
    x = sample(model, (6, 3, 8, 8), DPMpp2M(5), seed=3, clip=(-1, 1), label=label)
    difference = ImageChops.difference(grid(x), Image.open(out / "samples.png"))
    assert max(largest for _, largest in difference.getextrema()) <= 1

    before = (out / "samples.png").read_bytes()
    (out / "samples.png").unlink()
    assert train_images("tiny", dataset, out, resume=True, device="cpu", seed=3) == path
    assert (out / "samples.png").read_bytes() == before


def test_a_model_without_conditions_has_no_labels(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dataset: str
) -> None:
    """Though its data have: who samples from it or judges it asks for none."""
    monkeypatch.setattr(images, "DiffUNet", lambda *channels: UNet(2, *channels, (16, 16), 1))
    monkeypatch.setattr(images, "check_sides", lambda *sides: None)
    monkeypatch.setitem(PRESETS, "tiny", replace(TINY, network="diffunet"))
    model = load(train_images("tiny", dataset, tmp_path, steps=1, device="cpu"))
    assert model.info.labels == ()


def test_an_unknown_preset(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no preset 'quick': choose thesis or fast\.$"):
        train_images("quick", out=tmp_path)


def test_presets_are_valid() -> None:
    for preset in PRESETS.values():
        TrainingConfig(steps=1, **preset.training)
        assert preset.network in ("diffunet", "unet")


def test_the_thesis_experiment(monkeypatch: pytest.MonkeyPatch, dataset: str) -> None:
    preset = PRESETS["thesis"]
    assert (preset.epochs, preset.samples, preset.weighting) == (100, 28, "uniform")
    assert preset.solver == DDPM(1000, variance="beta")
    assert not preset.clip
    config = TrainingConfig(steps=1, **preset.training)
    assert (config.batch, config.lr, config.optimizer, config.decay) == (
        28,
        1e-4,
        "adam",
        "constant",
    )
    assert (config.warmup, config.ema, config.clip, config.precision) == (0, None, None, "no")
    made: list[tuple[int, int]] = []

    def network(channels_in: int, channels_out: int) -> nn.Module:
        made.append((channels_in, channels_out))
        return nn.Identity()

    monkeypatch.setattr(images, "DiffUNet", network)
    monkeypatch.setattr(images, "check_sides", lambda *sides: None)
    model = preset.model(open_images(dataset), seed=0)
    assert made == [(3, 3)]
    assert model.schedule == LinearBeta(timesteps=1000, beta_start=1e-4, beta_end=0.02)
    assert (model.prediction, model.weighting) == ("eps", "uniform")


def test_a_seed_makes_the_weights(dataset: str) -> None:
    data = open_images(dataset)
    first, again, other = (PRESETS["fast"].model(data, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    assert PRESETS["fast"].model(data, 1).backbone.conditions == {"label": 2}
