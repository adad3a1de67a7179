"""What is mmdiff worth on a GPU?

    python benchmarks/gpu.py                                # all sections, nine minutes
    python benchmarks/gpu.py --sections graphs --minutes 3  # one again; the others are kept
    python benchmarks/gpu.py --quick                        # does it work? on a CPU; only prints

Every section is a process of its own with its share of the minutes, ended when it takes longer;
what it had measured until then is kept, and a failure is a sentence in the results. Time that a
section does not need goes to those after it. A time is the median of rounds in which all variants
take turns after a warm-up; the device is waited for before and after each turn. What needs a
package that is not installed (deepinv, audio-diffusion-pytorch, diffusers, azula, k-diffusion) is
left out with a sentence. The results, one JSON and one Markdown file, are written after every
section.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from gpu_report import merged, table, write
from gpu_timing import Found, Row, Setting, sentence
from machine import machine

RESULTS = Path(__file__).parent / "results"
SPARE = 0.15  # of a section's time, for what it cannot see coming


class Section(NamedTuple):
    """Where a section is (its function has its name), how much of the time it gets, its heading."""

    module: str
    share: float
    title: str
    what: str


# What may have to be ended comes last, and gets the time that the others leave.
SECTIONS = {
    "frontends": Section(
        "gpu_sound", 60, "Speed behind front ends",
        "Speed-up over the same network on raw sound; UNetV0 is audio-diffusion-pytorch's, behind "
        "its own learned transform, over itself on raw sound.",
    ),
    "overhead": Section(
        "gpu_sampling", 25, "What a sampler's step costs",
        "Microseconds a step with a network that costs nothing: until the host is free again, and "
        "until the device is through.",
    ),
    "throughput": Section(
        "gpu_sampling", 70, "Sampling",
        "The bundled digits (DPM-Solver++(2M, SDE), 25 calls), and 5 s of stereo at 48 kHz (DDIM, "
        "50 calls) with the network that recipes/audio_v.py builds for it; its rate is seconds of "
        "sound per second.",
    ),
    "precision": Section(
        "gpu_training", 40, "Precision",
        "`difference` is the norm of what changes in the network's output over the norm of it.",
    ),
    "picard": Section(
        "gpu_sampling", 35, "Picard iteration",
        "50 calls of DDIM, one after another or in rounds of all at once. `difference` is the "
        "largest between both results, `largest value` that of the samples.",
    ),
    "training": Section(
        "gpu_training", 60, "Training",
        "A step: loss, gradient and AdamW's update of random digits that are on the device.",
    ),
    "graphs": Section(
        "gpu_graphs", 40, "Eager and captured",
        "25 calls of DDIM. `difference` is the norm of what changes in the samples over the norm "
        "of them, `first` the seconds that capturing and the first sampling took.",
    ),
    "compiled": Section(
        "gpu_graphs", 100, "Compiled",
        "The same; `first` is the seconds that compiling and the first sampling took.",
    ),
    "quality": Section(
        "gpu_sound", 120, "Sound of a few minutes",
        "`benchmarks/frontend_quality.py`: losses on held-out clips, and what its judge and its "
        "measures of aliasing say of samples.",
    ),
}  # fmt: skip


def allot(name: str, left: Sequence[str], seconds: float) -> float:
    """Of `seconds`, those of section `name` where all of `left`, it among them, are to come."""
    return seconds * SECTIONS[name].share / sum(SECTIONS[other].share for other in left)


def measure(name: str, setting: Setting) -> Found:
    """A section's rows and sentences; what it raises is the last sentence."""
    try:
        yield from getattr(import_module(SECTIONS[name].module), name)(setting)
    except Exception as error:
        traceback.print_exc()
        yield f"It failed here ({sentence(error)})."


def gather(found: Found) -> dict[str, Any]:
    rows: list[Row] = []
    notes: list[str] = []
    for item in found:
        if isinstance(item, str):
            notes.append(item)
        else:
            rows.append(item)
    return {"rows": rows, "notes": notes}


def into(path: Path, found: Found) -> None:
    """A line for each row or sentence, as soon as it is there."""
    with path.open("w", encoding="utf-8") as file:
        for item in found:
            print(json.dumps(item), file=file, flush=True)


def apart(command: list[str], path: Path, seconds: float) -> Found:
    """What `command` writes to `path` line by line, in at most `seconds`, and how it ended."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    ended = ""
    try:
        if process.wait(seconds):
            ended = f"It ended here with exit code {process.returncode}."
    except subprocess.TimeoutExpired:
        ended = f"It was ended here after {seconds:.0f} s, its share of the time."
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # it, and whatever it started
            process.wait()
    for line in path.read_text(encoding="utf-8").splitlines(True) if path.exists() else ():
        if line.endswith("\n"):  # the last one may be cut
            yield json.loads(line)
    if ended:
        yield ended


def run_apart(name: str, args: argparse.Namespace, seconds: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows"
        until = time.time() + seconds * (1 - SPARE)
        command = [
            sys.executable, __file__, f"--sections={name}", f"--data-dir={args.data_dir}",
            f"--into={path}", f"--until={until}",
        ]  # fmt: skip
        return gather(apart(command, path, seconds))


def about(quick: bool) -> dict[str, Any]:
    card, gib = "no GPU (a quick run)", None
    if not quick:
        card = torch.cuda.get_device_name()
        gib = round(torch.cuda.get_device_properties(0).total_memory / 2**30)
    return {
        "card": card,
        "memory_gib": gib,
        "machine": machine(),
        "python": platform.python_version(),
        "torch": version("torch").split("+")[0],
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sections", nargs="+", choices=tuple(SECTIONS), default=list(SECTIONS))
    parser.add_argument("--minutes", type=float, default=9.0, help="for all sections together")
    parser.add_argument("--quick", action="store_true", help="tiny, on the CPU; writes nothing")
    parser.add_argument(
        "--data-dir", type=Path, default=Path(os.environ.get("MMDIFF_DATA") or "data")
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--until", type=float, default=0.0, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if not args.quick and not torch.cuda.is_available():
        raise SystemExit(
            "torch finds no CUDA device here: add --quick to see whether everything works."
        )
    if args.into is not None:
        setting = Setting("cuda", until=args.until, data_dir=args.data_dir)
        into(args.into, measure(args.sections[0], setting))
        return
    end = time.monotonic() + 60 * args.minutes
    found = {**about(args.quick), "minutes": args.minutes, "sections": {}}
    names = [name for name in SECTIONS if name in args.sections]
    for place, name in enumerate(names):
        begun = time.monotonic()
        if args.quick:
            measured = gather(measure(name, Setting("cpu", quick=True, data_dir=args.data_dir)))
        else:
            measured = run_apart(name, args, allot(name, names[place:], end - begun))
        found["sections"][name] = {
            "title": SECTIONS[name].title,
            "what": SECTIONS[name].what,
            "seconds": round(time.monotonic() - begun, 1),
            **measured,
        }
        if not args.quick:
            print(f"{name}: {found['sections'][name]['seconds']} s", file=sys.stderr, flush=True)
            write(merged(found, args.out), args.out)
    print(table(found))


if __name__ == "__main__":
    main()
