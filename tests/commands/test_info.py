"""mmdiff info shows what a checkpoint's header holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mmdiff
from mmdiff.audio.frontends import MDCT, FrontEnd
from mmdiff.nn import UNet


def _rows(out: str) -> dict[str, str]:
    rows = [line.split("  ", 1) for line in out.rstrip("\n").split("\n")]
    return {key.strip(): value.strip() for key, value in rows}


def test_a_model_of_pictures(run: Any, labelled: Path, plain: Path) -> None:
    out = run("info", labelled).out
    count = sum(p.numel() for p in mmdiff.load(labelled).backbone.parameters())
    for word in ("UNet(", "channels=[8, 8]", f"{count:,}", "LinearBeta(", "timesteps=1000"):
        assert word in out
    for word in ("prediction", "v", "1 x 8 x 8", "-1 to 1", "0, 1, 2, 3", "a test"):
        assert word in out
    assert f"{labelled.stat().st_size:,}" in out
    rows = _rows(run("info", plain).out)
    assert rows["labels"] == "none"
    assert rows["sampling"] == "no recommendation"
    assert not {"speakers", "sample rate", "seconds"} & rows.keys()


def test_a_model_of_sound(run: Any) -> None:
    net = UNet(1, 8, 8, (8,), conditions={"label": 2, "speaker": 2})
    info = mmdiff.Info(
        (1, 1200),
        data_range=(-4.0, 4.0),
        labels=("yes", "no"),
        speakers=("george", "theo"),
        sample_rate=8000,
        sampling={"solver": "ddim", "steps": 50, "guidance": 2.0, "spin": 64},
    )
    model = mmdiff.Diffusion(FrontEnd(MDCT(8), net), mmdiff.Trigonometric(), "v")
    mmdiff.save("m.safetensors", model, info)
    rows = _rows(run("info", "m.safetensors").out)
    assert rows["backbone"].startswith(
        "FrontEnd(transform=MDCT(bands=8, window='sine'), backbone=UNet(dims=1, in_channels=8, "
    )
    assert rows["shape"] == "1 x 1200"
    assert rows["range"] == "-4 to 4"
    assert rows["labels"] == "yes, no"
    assert rows["speakers"] == "george, theo"
    assert rows["sample rate"] == "8,000 Hz"
    assert rows["seconds"] == "0.15"
    assert rows["sampling"] == "solver='ddim', steps=50, guidance=2.0, spin=64"
