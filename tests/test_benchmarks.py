"""The benchmarks work: each runs in its quick form, and leaves rows."""

from __future__ import annotations

import csv
import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from PIL import Image

from mmdiff.audio import sound

FOLDER = Path(__file__).parents[1] / "benchmarks"

Rows = list[dict[str, str]]

peak_memory = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="only Linux counts the peak of memory"
)


def quick(folder: Path, script: str, *options: str) -> dict[str, Rows]:
    """The rows that the quick form of a script leaves, by file."""
    command = [sys.executable, str(FOLDER / script), "--quick", f"--out={folder}", *options]
    environment = {**os.environ, "PYTHONPATH": str(FOLDER.parent)}
    subprocess.run(command, check=True, capture_output=True, cwd=folder, env=environment)
    found = {}
    for path in folder.glob("*.csv"):
        with path.open(newline="", encoding="utf-8") as file:
            found[path.stem] = list(csv.DictReader(file))
            assert all(row["machine"] for row in found[path.stem])
    return found


@peak_memory
def test_frontend_speed(tmp_path: Path) -> None:
    rows = {row["frontend"]: row for row in quick(tmp_path, "frontend_speed.py")["frontend_speed"]}
    assert {name: row["p"] for name, row in rows.items()} == {
        "raw": "1", "patch:16": "16", "mdct:16": "16", "learned:1": "1", "learned:16": "16",
        "stft:512": "128", "stft": "256", "UNetV0:1": "1", "UNetV0:16": "16",
    }  # fmt: skip
    assert rows["raw"]["forward_times"] == "1.0"
    assert 0 <= float(rows["mdct:16"]["forward_mib"]) < float(rows["mdct:16"]["training_step_mib"])


def test_frontend_untrained(tmp_path: Path) -> None:
    """Frames show in what fresh networks make, and single samples do not."""
    rows = quick(tmp_path, "frontend_untrained.py")["frontend_untrained"]
    spurs = [float(row["spurs"]) for row in rows if row["input"] == "speech"]
    assert [row["frontend"] for row in rows] == ["raw", "raw", "mdct:16", "mdct:16"]
    assert spurs[0] < 0.01 < 0.1 < spurs[1]


def test_frontend_quality(tmp_path: Path) -> None:
    (row,) = quick(tmp_path, "frontend_quality.py")["frontend_quality"]
    assert (row["frontend"], row["period"], row["steps"]) == ("patch:64", "64", "1")
    assert float(row["loss"]) > 0
    heard = {path.name for path in (tmp_path / "frontend_sounds").iterdir()}
    assert heard == {f"synthetic-{name}.wav" for name in ("real", "patch64-plain", "patch64-spun")}


def test_sampler_overhead(tmp_path: Path) -> None:
    rows = quick(tmp_path, "sampler_overhead.py")["sampler_overhead"]
    assert {row["sampler"].split()[0] for row in rows} == {
        "mmdiff", "diffusers", "azula", "k-diffusion",
    }  # fmt: skip


def test_image_quality(tmp_path: Path, data_dir: Path) -> None:
    rows = quick(tmp_path, "image_quality.py", f"--data-dir={data_dir}")["image_quality"]
    assert [(row["calls"], row["steps"]) for row in rows] == [("2", "1"), ("3", "2")]  # of Heun


@peak_memory
def test_image_training(tmp_path: Path) -> None:
    rows = quick(tmp_path, "image_training.py")["image_training"]
    kinds = {(row["isa"], row["precision"]) for row in rows}
    assert {("all", "float32"), ("AVX2", "float32")} <= kinds
    assert ("AVX2", "bfloat16") not in kinds
    assert all(row["network"] == "mmdiff UNet" and 0 < float(row["muon_share"]) < 1 for row in rows)
    assert all(float(row["peak_mib"]) > 0 for row in rows)


@peak_memory
def test_audio_sampling(tmp_path: Path) -> None:
    found = quick(tmp_path, "audio_sampling.py")
    kinds = [
        (r["isa"], r["guided"]) for r in found["audio_sampling"] if r["precision"] == "float32"
    ]
    assert kinds == [("all", "False"), ("all", "True"), ("AVX2", "False"), ("AVX2", "True")]
    assert [row["seconds"] for row in found["audio_memory"]] == ["1.0"]


def test_restoration(tmp_path: Path, data_dir: Path) -> None:
    options = (f"--data-dir={data_dir}", "--only", "deblur 1.5", "declip at 0.2")
    rows = quick(tmp_path, "restoration.py", *options)["restoration"]
    assert [row["method"] for row in rows] == [
        "mmdiff", "as given", "Wiener", "DiffPIR", "DDRM", "DPS", "PiGDM", "moment matching",
        "mmdiff", "as given", "cubic peaks", "DPS",
    ]  # fmt: skip
    ours, given = rows[0], rows[1]
    assert float(ours["one"]) > float(given["one"])


def test_restoration_shown(tmp_path: Path, data_dir: Path) -> None:
    quick(tmp_path, "restoration_shown.py", f"--data-dir={data_dir}")
    folder = tmp_path / "restored"
    names = {path.name for path in folder.iterdir()}
    assert names == {"digits.png", "speech.png", "gap_of_80_ms.wav"}
    with Image.open(folder / "digits.png") as digits:
        assert digits.width > 7 * 56
    assert sound.probe(folder / "gap_of_80_ms.wav").frames > 7 * 5120


def test_digits_per_hour(tmp_path: Path, data_dir: Path) -> None:
    (row,) = quick(tmp_path, "digits_per_hour.py", f"--data-dir={data_dir}")["digits_per_hour"]
    assert (row["network"], row["steps"], row["calls"]) == ("a-unet", "1", "25")


def test_backbones(tmp_path: Path, data_dir: Path) -> None:
    found = quick(tmp_path, "backbones.py", "--tasks", "digits", f"--data-dir={data_dir}")
    assert [row["backbone"] for row in found["backbones"]] == ["U-Net", "transformer"]
    assert [row["shape"] for row in found["backbones_cost"]] == ["1x28x28"] * 2


def test_joint_ways(tmp_path: Path, data_dir: Path) -> None:
    trained, fresh = quick(tmp_path, "joint_ways.py", f"--data-dir={data_dir}")["joint_ways"]
    assert fresh["way"] == "one transformer"
    assert int(trained["trained"]) < int(fresh["trained"])


def test_reliability(tmp_path: Path, data_dir: Path) -> None:
    found = quick(tmp_path, "reliability.py", f"--data-dir={data_dir}")
    assert len(found["reliability_kills"]) == 1
    assert len(found["reliability"]) == 18
    assert [row for row in found["reliability"] if row["good"] != row["of"]] == []


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("timing")


def test_shared_noise_drops_out(module: ModuleType) -> None:
    slowed = (1.0, 7.0, 1.5, 40.0, 2.0)
    assert module.quartiles([6 * s for s in slowed], [2 * s for s in slowed]) == [3, 3, 3]
    assert module.quartiles([8.0] * 5, [2.0, 2.0, 2.0, 2.0, 64.0]) == [4, 4, 4]


def test_all_take_turns(module: ModuleType) -> None:
    called: list[str] = []
    works = {name: lambda name=name: called.append(name) for name in "ab"}
    times = module.rounds(works, "cpu", 3, least=0)
    assert "".join(called) == "aabb" + 3 * "ab"
    assert {name: len(turns) for name, turns in times.items()} == {"a": 3, "b": 3}


def test_rows_replace_their_like(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    rows = importlib.import_module("rows")
    path = tmp_path / "new" / "rows.csv"
    kept = rows.Rows(path, ("name", "size"))
    for row in ({"name": "a", "size": 1, "ms": 2.5}, {"name": "b", "size": 1, "ms": 3}):
        kept.add(row)
    again = rows.Rows(path, ("name", "size"))
    assert {"name": "a", "size": 1} in again
    assert {"name": "a", "size": 2} not in again
    again.add({"name": "a", "size": 1, "ms": 4, "more": "x"})
    assert path.read_text().splitlines() == ["name,size,ms,more", "a,1,4,x", "b,1,3,"]


def test_scripts_leave_the_results_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    rows = importlib.import_module("rows")
    monkeypatch.setattr(sys, "argv", ["script.py", "--quick"])
    assert rows.parse(rows.parser("")).out == rows.QUICK
    monkeypatch.setattr(sys, "argv", ["script.py"])
    assert rows.parse(rows.parser("")).out == rows.RESULTS


def keep_noise(root: Path, *folders: str) -> None:
    """A file of noise in each folder, in place of voices and noises, if the judges are there."""
    for judge in ("pesq", "pystoi", "speechmos", "noisereduce", "pyroomacoustics"):
        pytest.importorskip(judge)
    for folder in folders:
        (root / folder).mkdir(parents=True)
        sound.write(root / folder / "a.wav", 0.1 * torch.randn(1, 33_000).clamp(-3, 3), 16_000)


def test_sound_from_sound(tmp_path: Path) -> None:
    """Peers alone."""
    keep_noise(tmp_path, "voices/it", "voices/ru", "noises")
    folders = [str(tmp_path / name) for name in ("voices", "noises")]
    rows = quick(tmp_path, "sound_from_sound.py", *folders)["sound_from_sound"]
    found = {(row["given"], row["method"]): row for row in rows}
    assert {given for given, _ in found} == {
        "0 dB", "5 dB", "10 dB", "15 dB", "0 to 15 dB", "room, 15 dB", "clean", "8 kHz",
        "80 mel bands",
    }  # fmt: skip
    for decibels in (0, 5, 10, 15):
        row = found[f"{decibels} dB", "input"]
        assert float(row["si_sdr"]) == pytest.approx(decibels, abs=0.5)
        assert float(row["si_sdr_more"]) == 0
    assert float(found["clean", "input"]["si_sdr"]) == 60
    assert float(found["8 kHz", "soxr"]["high"]) > float(found["8 kHz", "soxr"]["spectral"])


def test_sound_choices(tmp_path: Path) -> None:
    keep_noise(tmp_path, "voices/train", "voices/test/it", "voices/test/ru", "noises/train",
               "noises/test")  # fmt: skip
    folders = [str(tmp_path / name) for name in ("voices", "noises")]
    rows = quick(tmp_path, "sound_choices.py", *folders)["sound_choices"]
    assert [row["change"] for row in rows] == ["flow on Linear", "the sound, not the residual"]
    assert all(abs(float(row["si_sdr"])) < 60 for row in rows)


@peak_memory
def test_sound_wide(tmp_path: Path) -> None:
    rows = quick(tmp_path, "sound_wide.py")["sound_wide"]
    assert [row["task"] for row in rows] == ["enhance", "upsample:16000", "vocode"]
    assert all(float(row[name]) > 0 for row in rows for name in ("step_seconds", "used"))
