"""mmdiff info shows what a checkpoint's header holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mmdiff
from mmdiff.audio import Sound
from mmdiff.conditions import Class, Signal
from mmdiff.nn import MDCT, FrontEnd, UNet


def _rows(out: str) -> dict[str, str]:
    rows = [line.split("  ", 1) for line in out.rstrip("\n").split("\n")]
    return {key.strip(): value.strip() for key, value in rows}


def test_a_model_of_pictures(run: Any, labelled: Path, plain: Path) -> None:
    rows = _rows(run("info", labelled).out)
    count = sum(p.numel() for p in mmdiff.load(labelled).parameters())
    assert rows["file"] == f"{labelled} ({labelled.stat().st_size:,} bytes)"
    assert rows["backbone"].startswith(
        "UNet(dims=2, in_channels=1, out_channels=1, channels=[8, 8]"
    )
    assert rows["parameters"] == f"{count:,}"
    assert rows["schedule"].startswith("LinearBeta(timesteps=1000")
    assert (rows["prediction"], rows["weighting"], rows["hide"]) == ("v", "uniform", "0.1")
    assert (rows["shape"], rows["range"]) == ("1 x 8 x 8", "-1 to 1")
    assert rows["pictures"] == "8 x 8 pixels, grey"
    assert rows["told: label"] == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    assert rows["made: command"] == "a test"
    assert not [key for key in _rows(run("info", plain).out) if key.startswith("told")]


def test_a_model_of_sound(run: Any) -> None:
    told = {"label": Class(2, ("yes", "no")), "mel": Signal(4, 8)}
    model = mmdiff.Diffusion(
        FrontEnd(MDCT(8), UNet(1, 8, 8, (8,), conditions={"label": told["label"]}), told),
        mmdiff.Trigonometric(),
        "v",
    )
    sampling = mmdiff.Sampling("ddim", 50, guidance=2.0, spin=64)
    mmdiff.save("m.safetensors", model, mmdiff.Info((1, 1200), Sound(8000, 4.0), sampling))
    rows = _rows(run("info", "m.safetensors").out)
    assert rows["backbone"].startswith(
        "FrontEnd(codec=MDCT(bands=8, window=sine, dims=1), backbone=UNet(dims=1, in_channels=8, "
    )
    assert (rows["shape"], rows["range"]) == ("1 x 1200", "-4 to 4")
    assert (rows["told: label"], rows["told: mel"]) == ("yes, no", "Signal(channels=4, factor=8)")
    assert (rows["sample rate"], rows["sound"]) == ("8,000 Hz", "0.15 s, 1 channel")
    assert (
        rows["sampling"]
        == "solver=ddim, steps=50, guidance=2.0, clip=None, spin=64, interval=[0.0, 1.0]"
    )
    assert rows["data set"] == "not recorded"


def test_a_model_of_something_else(run: Any) -> None:
    model = mmdiff.Diffusion(UNet(1, 2, 2, (8,)), mmdiff.Linear(), "flow")
    mmdiff.save("m.safetensors", model, mmdiff.Info((2, 16)))
    rows = _rows(run("info", "m.safetensors").out)
    assert (rows["schedule"], rows["prediction"], rows["shape"]) == ("Linear()", "flow", "2 x 16")
    run("sample", "m.safetensors").refused("(2, 16)", "mmdiff.sample in Python")


def test_a_joint_model(run: Any) -> None:
    rows = _rows(run("info", "duet").out)
    assert rows["parts"].startswith("{'picture': Bundled(name=digits")
    assert rows["bridge"].startswith("Bridge(widths={'picture': 128, 'sound': 256}")
    assert rows["sampling"].startswith("solver=dpmpp2msde, steps=")
