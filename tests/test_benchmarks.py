"""The benchmarks of sound work, and noise that all variants share drops out of their quotients."""

from __future__ import annotations

import importlib
import runpy
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

import mmdiff
from mmdiff.audio.frontends import FrontEnd
from mmdiff.audio.mdct import MDCT
from mmdiff.nn import UNet

FOLDER = Path(__file__).parents[1] / "benchmarks"
NAMES = ["raw", "learned:4", "learned:32", "UNetV0:1", "UNetV0:32"]

peak_memory = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="only Linux counts the peak of memory"
)


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("frontend_report")


def written(stem: str) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (FOLDER / "results").glob(f"{stem}*")}


def quick(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *options: str
) -> list[list[str]]:
    """The cells of all table rows that the quick form prints; it must write nothing."""
    before = written(name)
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *options, "--quick"])
    runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
    assert written(name) == before
    lines = capsys.readouterr().out.splitlines()
    return [line.strip("| ").split(" | ") for line in lines if line.startswith("|")]


@peak_memory
def test_frontend_speed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = quick("frontend_speed", monkeypatch, capsys)
    some = {"raw": "1", "patch:16": "16", "mdct:16": "16", "learned:1": "1"}
    others = {"learned:16": "16", "stft:512": "128", "stft": "256"}
    factors = some | others | {"UNetV0:1": "1", "UNetV0:16": "16"}
    named = [row for row in cells if row[0] in factors]
    assert [row[0] for row in named] == [*factors, *factors, "UNetV0:1", "UNetV0:16"]
    assert all(row[1] == factors[row[0]] for row in named)
    assert named[0][2] == "1 (1 to 1), 1.00"
    (peaked,) = (row for row in named[: len(factors)] if row[0] == "mdct:16")
    assert 0 <= float(peaked[5]) < float(peaked[6].rstrip("| ")) < 100  # MiB


@peak_memory
def test_audio_sampling(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    backbone = FrontEnd(MDCT(16), UNet(1, 16, 16, (16,), 1, conditions={"label": 2}))
    info = mmdiff.Info((1, 256), labels=("a", "b"), sample_rate=1000)
    path = tmp_path / "tiny.safetensors"
    mmdiff.save(path, mmdiff.Diffusion(backbone, mmdiff.Trigonometric(), "v"), info)
    cells = quick("audio_sampling", monkeypatch, capsys, str(path))
    kinds = [(row[0], row[1]) for row in cells if row[0] in ("float32", "bfloat16")]
    assert kinds == [(p, g) for g in ("none", "guided") for p in ("float32", "bfloat16")]
    assert cells[2][3] == "1.00"
    assert cells[-1][0] == "1 s"
    assert 0 <= float(cells[-1][1]) < 100  # MiB


def test_frontend_untrained(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Frames show in what fresh networks make, and single samples do not."""
    cells = quick("frontend_untrained", monkeypatch, capsys)
    assert [(row[0], row[2]) for row in cells] == [
        (name, given) for name in ("raw", "patch:16", "mdct:16") for given in ("white", "speech")
    ]
    spurs = [float(row[3]) for row in cells]
    assert max(spurs[:2]) < 0.01 < 0.1 < min(spurs[2:])


def rows(report: ModuleType) -> list[dict[str, object]]:
    """Each variant takes 1 s over its p, the peer 3 s; what else runs slows whole rounds."""
    slow = (1.0, 7.0, 1.5, 40.0, 2.0)
    p = {name: int(name.partition(":")[2] or 1) for name in NAMES}
    seconds = {name: (3.0 if name.startswith("UNetV0") else 1.0) / p[name] for name in NAMES}
    turns = {name: [factor * seconds[name] for factor in slow] for name in NAMES}
    rounds = dict.fromkeys(report.MAIN, turns)
    counts = {name: 1000 // p[name] + 10 for name in NAMES}
    return [report.row(name, p[name], rounds, counts) for name in NAMES]


def test_shared_noise_drops_out(report: ModuleType) -> None:
    for row in rows(report):
        assert row["speedup"] == dict.fromkeys(report.MAIN, pytest.approx([row["p"]] * 3))
        if str(row["name"]).startswith("UNetV0"):
            assert row["of_ours"] == dict.fromkeys(report.MAIN, pytest.approx([3.0] * 3))
    assert rows(report)[2]["arithmetic"] == pytest.approx(1010 / (31 + 10) / 32)


def test_a_slow_turn_moves_no_quartile(report: ModuleType) -> None:
    assert report.quotient([8.0] * 5, [2.0, 2.0, 2.0, 2.0, 64.0]) == [4, 4, 4]
    assert report.quotient([1.0, 2.0, 3.0, 4.0, 5.0], [1.0] * 5) == [2, 3, 4]


def test_plot(report: ModuleType, tmp_path: Path) -> None:
    report.plot(tmp_path / "speed.png", rows(report))
    with Image.open(tmp_path / "speed.png") as picture:
        assert picture.width > 2 * picture.height
        assert np.asarray(picture.convert("L")).std() > 10
