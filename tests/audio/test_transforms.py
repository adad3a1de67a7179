"""The recipes for sound from sound, on little data and of a small size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
import torch

import mmdiff
from mmdiff.audio import Sound, transforms
from mmdiff.audio.convert import stream
from mmdiff.audio.recording import Recording
from mmdiff.modality import recipe_of


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("task", ["enhance", "upsample:4000", "vocode"])
def test_a_recipe_makes_a_model_that_converts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str, channels: int
) -> None:
    """Trained for two steps, saved, loaded and used on a recording, in windows."""
    monkeypatch.setattr(transforms, "WIDTHS", dict.fromkeys(transforms.WIDTHS, (16, 16)))
    wave = 0.1 * torch.randn(8000, channels, generator=torch.manual_seed(0)).numpy()
    (tmp_path / "voices").mkdir()
    for name in ("a", "b", "c"):
        soundfile.write(tmp_path / "voices" / f"{name}.wav", wave, 8000)
    how = {"task": task, "seconds": 0.5, "channels": channels}
    data, held_out = (
        Sound.open(f"folder:{tmp_path / 'voices'}", split, **how) for split in ("train", "test")
    )
    recipe = replace(recipe_of(Sound, None, data), steps=2, batch=2, samples=0)
    checkpoint = mmdiff.train(recipe, data, held_out, tmp_path / "run")
    model = mmdiff.load(checkpoint)
    name = task.partition(":")[0]
    x = stream(name, Recording.of(torch.from_numpy(wave.T.copy()), 8000), model).whole()
    assert x.shape == (channels, 8000)
    assert x.isfinite().all()
    if name == "upsample":  # what lies below half of the lower rate is as it was
        low = model.info.task.told(torch.from_numpy(wave.T.copy()))["source"]
        spectrum = [torch.fft.rfft(v.double()).abs()[..., :1200] for v in (x, low)]
        torch.testing.assert_close(*spectrum, atol=0.3, rtol=0)
