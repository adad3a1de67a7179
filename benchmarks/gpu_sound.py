"""Sections of gpu.py about front ends: their speed, and the sound of a little training."""

from __future__ import annotations

import csv
import statistics
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import frontend_speed as speed
from frontend_report import MAIN, base
from gpu_timing import Found, Row, Setting, Work, peak_mib, rounds, sentence, times_faster

NAMES = (
    "raw", "patch:16", "patch:64", "mdct:16", "mdct:64", "learned:16", "learned:64", "stft",
    "UNetV0:1", "UNetV0:16", "UNetV0:64",
)  # fmt: skip
OWN = "front end"  # what frontend_speed.py calls encoding and decoding alone

QUALITY = Path(__file__).parent / "frontend_quality.py"
TRAINED = ("patch:16", "mdct:16", "learned:16", "patch:64", "mdct:64")  # as far as the time goes
MINUTES = 0.5
CLIPS = 100  # that are judged
COLUMNS = (
    "minutes", "steps", "clips_per_second", "loss", "accuracy_plain", "frechet_plain",
    "floor_plain", "tilt_plain", "tilt_spun", "spurs_plain", "spurs_spun",
)  # fmt: skip


def frontends(setting: Setting) -> Found:
    """Rows of speed-ups by batch and front end."""
    batches = (1,) if setting.quick else (1, 16)
    for place, batch in enumerate(batches):
        works: dict[tuple[str, str], Work] = {}
        factors: dict[str, int] = {}
        length, width = (512, 16) if setting.quick else (2**16, 64)
        args = Namespace(device=setting.device, length=length, batch=batch)
        for name in ("raw", "mdct:16") if setting.quick else NAMES:
            try:
                network, factors[name] = speed.build(name, width)
                found = speed.works(network.to(setting.device), args)
            except Exception as error:
                yield f"{name} is left out ({sentence(error)})."
            else:
                works |= {(name, work): found[work] for work in (*MAIN, OWN) if work in found}
        times, failed = rounds(works, setting, setting.share(len(batches) - place))
        for name, p in factors.items():
            row: Row = {"front end": name, "p": p, "samples": length, "batch": batch}
            for work in MAIN:
                if (name, work) in times and (base(name), work) in times:
                    row[f"{work}, ms"] = 1000 * _of(times[name, work], work)
                    row[f"{work}, times faster"] = times_faster(
                        times[base(name), work], times[name, work]
                    )
            if (name, OWN) in times:
                row["encode and decode, ms"] = 1000 * _of(times[name, OWN], OWN)
            if (name, MAIN[1]) in times:
                row[f"peak of a {MAIN[1]}, MiB"] = peak_mib(works[name, MAIN[1]], setting.device)
            yield row
        yield from failed


def _of(turns: list[float], work: str) -> float:
    return statistics.median(turns) / (speed.STEPS if work == "sampling step" else 1)


def quality(setting: Setting) -> Found:
    """Rows of what frontend_quality.py finds, by front end."""
    if setting.quick:
        yield "Training takes minutes, and is left out of a quick run."
        return
    dataset = "fsdd"
    if not (setting.data_dir / "fsdd" / "recordings").is_dir():
        dataset = "synthetic"
        yield f"The spoken digits are not in {setting.data_dir}: synthetic sounds take their place."
    seconds = setting.share()
    minutes = min(MINUTES, seconds / 60 / 4)  # a few runs, with what is around them
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, str(QUALITY), f"--dataset={dataset}", f"--device={setting.device}",
            f"--minutes={minutes:.2g}", f"--count={CLIPS}", f"--data-dir={setting.data_dir}",
            f"--runs={folder}/runs", f"--out={folder}", "--seeds", "0", "--frontends", *TRAINED,
        ]  # fmt: skip
        try:
            done = subprocess.run(command, stdout=subprocess.DEVNULL, timeout=seconds)
        except subprocess.TimeoutExpired:
            code = 0  # the list is as long as no time allows
        else:
            code = done.returncode
        yield from trained(Path(folder) / "frontend_quality.csv")
    if code:
        yield f"{QUALITY.name} ended with exit code {code}."


def trained(path: Path) -> Iterator[Row]:
    """The rows of frontend_quality.csv, as far as they are of interest here."""
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                numbers = {name: float(row[name]) if row.get(name) else None for name in COLUMNS}
                yield {"dataset": row["dataset"], "front end": row["frontend"], **numbers}
