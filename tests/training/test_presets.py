"""What the presets say, and how large networks are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from train_tiny import LABEL, Waves

from mmdiff import DDPM, Class, LinearBeta, Trigonometric
from mmdiff.audio.modality import Sound
from mmdiff.audio.presets import levels, v
from mmdiff.errors import UserError
from mmdiff.image import presets
from mmdiff.image.modality import Pictures
from mmdiff.modality import recipe_of
from mmdiff.video import Video


def sounds(length: int = 777, channels: int = 2) -> Any:
    return Waves(shape=(channels, length), modality=Sound(8000))


def pictures(side: int = 8) -> Any:
    return Waves(shape=(3, side, side), modality=Pictures())


def test_the_thesis_experiment(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[int, int]] = []

    def network(channels_in: int, channels_out: int) -> nn.Module:
        made.append((channels_in, channels_out))
        return nn.Identity()

    monkeypatch.setattr(presets, "DiffUNet", network)
    recipe = presets.thesis(pictures(32), seed=5)
    assert made == [(3, 3)]
    model: Any = recipe.model
    assert model.schedule == LinearBeta(timesteps=1000, beta_start=1e-4, beta_end=0.02)
    assert (model.prediction, model.weighting, model.times) == ("eps", "uniform", "uniform")
    assert model.conditions == {}
    assert (recipe.epochs, recipe.batch, recipe.lr, recipe.seed) == (100, 28, 1e-4, 5)
    assert (recipe.optimizer, recipe.decay, recipe.warmup) == ("adam", "constant", 0)
    assert (recipe.ema, recipe.max_norm, recipe.precision) == (None, None, "no")
    assert (recipe.sampling.method(), recipe.sampling.clip) == (DDPM(1000, variance="beta"), None)
    assert (recipe.samples, recipe.made) == (28, {"preset": "thesis"})


def test_the_thesis_refuses_sizes_that_its_network_cannot_take() -> None:
    with pytest.raises(ValueError, match=r"images of .* pixels a side, not 2x2"):
        presets.thesis(pictures(2))


def test_digits_in_an_hour() -> None:
    recipe = presets.fast(Waves(shape=(1, 28, 28), modality=Pictures()))  # type: ignore[arg-type]
    model: Any = recipe.model
    assert model.schedule == LinearBeta()
    assert (model.prediction, model.weighting) == ("eps", "min_snr")
    assert model.conditions == {"label": LABEL}
    assert 2.2e6 < sum(p.numel() for p in model.parameters()) < 2.6e6
    # eps without it is unstable: x0 is a difference of large numbers at high noise.
    assert recipe.sampling.clip == Pictures().data_range


def test_speech() -> None:
    recipe = v(sounds(), width=32)
    model: Any = recipe.model
    assert model.schedule == Trigonometric()
    assert (model.prediction, model.weighting, model.times) == ("v", "uniform", "logit_normal")
    assert (recipe.decay, recipe.optimizer, recipe.sampling.guidance) == ("cosine", "muon", 1.5)
    assert recipe.made == {"preset": "v", "frontend": "mdct:8", "width": 32}
    data = sounds()
    data.conditions = {"label": Class(1), "speaker": Class(2)}
    told: Any = v(data, width=32).model
    assert told.conditions == data.conditions
    data.conditions = {}
    assert v(data, width=32).sampling.guidance is None


CLIPS = Waves(shape=(1, 16, 32, 32), modality=Video(10.0))


@pytest.mark.parametrize(
    ("kind", "data", "times", "spacing"),
    [
        (Pictures, pictures(), "logit_normal", [1.0, 1.0]),
        (Sound, sounds(), "logit_normal", [32 / 8000]),
        (Video, CLIPS, (0.8, 0.7), [0.1, 1.0, 1.0]),
    ],
)
def test_transformers(kind: Any, data: Any, times: Any, spacing: list[float]) -> None:
    """They differ from the usual recipe in the model alone."""
    usual, recipe = (recipe_of(kind, name, data) for name in (None, "transformer"))
    if kind is Sound:
        usual = recipe_of(kind, None, data, frontend="mdct:32")
    assert replace(recipe, model=usual.model, made=usual.made) == usual
    model: Any = recipe.model
    assert model.schedule == Trigonometric()
    assert (model.prediction, model.weighting, model.times) == ("x0", "v", times)
    assert model.conditions == data.conditions
    network = model.backbone.backbone if kind is Sound else model.backbone
    assert 4.5e6 < sum(p.numel() for p in network.parameters()) < 4.8e6
    assert network.config["spacing"] == spacing


@pytest.mark.parametrize("preset", ["fast", "v"])
def test_a_seed_makes_the_weights(preset: str) -> None:
    data, kind = (sounds(), Sound) if preset == "v" else (pictures(), Pictures)
    first, again, other = (
        recipe_of(kind, preset, data, seed=seed).model.state_dict() for seed in (1, 1, 2)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_presets_by_name() -> None:
    assert recipe_of(Pictures, None, pictures()).made["preset"] == "fast"
    assert recipe_of(Sound, None, sounds(), width=32).made["preset"] == "v"
    with pytest.raises(
        ValueError, match=r"unknown preset 'quick'; of pictures fast, thesis, transformer\.$"
    ):
        recipe_of(Pictures, "quick", pictures())


@pytest.mark.parametrize("frontend", ["raw", "patch:32", "stft", "learned", "mdct:64"])
def test_a_model_for_every_front_end(frontend: str) -> None:
    model: Any = v(sounds(), frontend, width=32).model
    x, t, label = torch.randn(2, 2, 777), torch.tensor([0.3, 1.0]), torch.tensor([1, -1])
    assert model.denoise(x, t, label=label).x0.shape == x.shape


def test_front_ends_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="unknown codec 'wavelets'"):
        v(sounds(), "wavelets")
    with pytest.raises(UserError, match=r"patch:801 takes 801 samples at a time, .* has only 777"):
        v(sounds(), "patch:801")


def test_levels_of_some_networks() -> None:
    assert levels(5120, 16, 128) == [64, 96, 128, 176, 256]
    assert levels(5120, 64, 128) == [128, 176, 256]
    assert levels(5120, 256, 128) == [256]
    assert levels(5 * 48000, 16, 128) == [64, 96, 128, 176, 256, 368, 512, 512, 512, 512]
    assert levels(5120, 1, 128) == [16, 16, 32, 48, 64, 96, 128, 176, 256]


@settings(deadline=None, derandomize=True)
@given(st.integers(1, 3_000_000), st.sampled_from([1, 8, 32, 64, 100, 256]), st.integers(32, 600))
def test_levels(length: int, factor: int, width: int) -> None:
    widths = levels(length, factor, width)
    positions = [-(-length // factor // 2**level) for level in range(len(widths))]
    assert positions[-1] <= 32
    assert len(positions) == 1 or positions[-2] > 32
    assert widths == sorted(widths)
    assert all(w % 16 == 0 and 16 <= w <= 4 * width + 8 for w in widths)
    # As wide as positions are rich, whatever the front end and the length.
    for level, wide in enumerate(widths):
        expected = width * min(4, (factor * 2**level / 64) ** 0.5)
        assert abs(wide - expected) <= max(8, 16 - expected)
