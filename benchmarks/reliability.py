"""Does a training survive being killed, and does anything but a whole checkpoint get in?

    python benchmarks/reliability.py                # some minutes on one CPU core
    python benchmarks/reliability.py --signal sound # spoken digits in place of MNIST
    python benchmarks/reliability.py --steps 40 --kills 2 --cuts 5 --flips 5    # does it work?

A small U-Net trains on MNIST, or on spoken digits behind an MDCT, saving every 10 steps. One run is
left alone. Another is killed with SIGKILL at random moments, anywhere in a step or a save, and
resumed each time. At the end weights, averaged weights, Adam's moments and every batch that was
drawn are compared, bit for bit. Then the checkpoint is cut, flipped bit by bit and replaced by
files that are none; loading must refuse each with one sentence, and nothing may be unpickled.
"""

from __future__ import annotations

import argparse
import json
import pickle
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import torch
from machine import machine
from safetensors.torch import save_file
from torch.utils.data import Dataset, Subset

from mmdiff import Diffusion, Info, LinearBeta, Trigonometric, load
from mmdiff.audio import MDCT, FrontEnd
from mmdiff.audio.datasets import Sounds, open_sounds
from mmdiff.errors import UserError
from mmdiff.image.datasets import Images, open_images
from mmdiff.nn import UNet
from mmdiff.tensorfile import read
from mmdiff.training.config import TrainingConfig
from mmdiff.training.trainer import Trainer

RESULTS = Path(__file__).parent / "results"
BATCH, SAVE_EVERY = 32, 10
STATE = Path("resume") / "state.safetensors"


class Logged(Dataset[Any]):
    """Images that write down, batch by batch, what they are asked for: a line for each step."""

    def __init__(self, data: Images | Sounds, path: Path) -> None:
        self.data: Any = data
        self.log = path.open("a", buffering=1)

    def __len__(self) -> int:
        return len(self.data)

    def __getitems__(self, indices: list[int]) -> list[Any]:
        self.log.write(" ".join(map(str, indices)) + "\n")
        return self.data.__getitems__(indices)


class LoggedSounds(Logged):
    """Sounds that do, with the number of the visit: it decides where in the window a word begins.

    They are asked for one by one.
    """

    asked: ClassVar[list[str]] = []

    def visit(self, index: int, count: int) -> Any:
        self.asked.append(f"{index}:{count}")
        if len(self.asked) == BATCH:
            self.log.write(" ".join(self.asked) + "\n")
            self.asked.clear()
        return self.data.visit(index, count)


def train(signal: str, out: Path, steps: int, resume: bool, data_dir: Path | None) -> None:
    """What a child process does."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    out.mkdir(parents=True, exist_ok=True)
    held_out: Any
    if signal == "sound":
        sounds = open_sounds("fsdd", "train", data_dir, scale=4.0, augment=True)
        held_out = open_sounds("fsdd", "test", data_dir, scale=4.0)
        conditions = {"label": len(sounds.labels), "speaker": len(sounds.speakers)}
        network = FrontEnd(MDCT(64), UNet(1, 64, 64, (16, 16), blocks=1, conditions=conditions))
        model = Diffusion(network, Trigonometric(), "v")
        info = Info(
            sounds.shape, (-4.0, 4.0), sounds.labels, sounds.speakers, sounds.sample_rate, "fsdd"
        )
        logged: Logged = LoggedSounds(sounds, out / "batches.txt")
    else:
        images = open_images("mnist", "train", data_dir)
        held_out = open_images("mnist", "test", data_dir)
        backbone = UNet(2, 1, 1, (8, 16), blocks=1, patch=2, conditions={"label": 10})
        model = Diffusion(backbone, LinearBeta(), "eps", "min_snr")
        info = Info(images.shape, labels=images.labels, dataset="mnist")
        logged = Logged(images, out / "batches.txt")
    config = TrainingConfig(steps, BATCH, save_every=SAVE_EVERY, ema=0.99)
    trainer = Trainer(model, logged, Subset(held_out, range(64)), config, out, info, "cpu", resume)
    logged.log.write(f"from {trainer.progress.step}\n")
    trainer.fit()


def batches(out: Path) -> Iterator[tuple[int, str]]:
    """(step, what was drawn for it) for every step of every run in the folder, in order."""
    step = 0
    for line in (out / "batches.txt").read_text().splitlines():
        if line.startswith("from"):
            step = int(line.split()[1])
        else:
            yield step, line
            step += 1


def last_step(out: Path) -> int:
    return max((step for step, _ in batches(out)), default=-1)


def kill_and_resume(
    command: list[str], out: Path, steps: int, kills: int, pace: float, draw: random.Random
) -> list[dict[str, int]]:
    """Kill a run as often as asked, then let it end; for each kill, where it was and went on.

    `pace` is about how many seconds a step takes.
    """
    (out / "batches.txt").parent.mkdir(parents=True)
    (out / "batches.txt").touch()
    found = []
    for target in sorted(draw.sample(range(1, steps - 1), kills)):
        resume = ["--resume"] if (out / STATE).exists() else []
        with subprocess.Popen([*command, *resume]) as process:
            while process.poll() is None and last_step(out) < target:
                time.sleep(0.001)
            # Anywhere in the step, or in what follows it.
            time.sleep(draw.random() * pace)
            process.kill()
        if process.returncode != -signal.SIGKILL:
            raise RuntimeError(f"the training ended by itself, with {process.returncode}.")
        saved = read(out / STATE)[1]["step"] if (out / STATE).exists() else 0
        found.append({"killed_in_step": last_step(out) + 1, "goes_on_after_step": saved})
        print(found[-1], file=sys.stderr, flush=True)
    subprocess.run([*command, "--resume"], check=True)
    return found


def compare(out: Path, reference: Path) -> dict[str, str]:
    """What of the two runs' ends is equal bit for bit."""
    (tensors, said), (expected, expected_said) = read(out / STATE), read(reference / STATE)
    equal = {}
    names = {"model/": "weights", "ema/": "averaged weights", "optimizer/": "optimiser"}
    for prefix, name in names.items():
        group = [key for key in expected if key.startswith(prefix)]
        same = sum(torch.equal(tensors[key], expected[key]) for key in group)
        equal[name] = f"{same} of {len(group)} tensors"
    drawn = dict(batches(reference))
    again = list(batches(out))
    same = sum(drawn[step] == line for step, line in again)
    once = len({step for step, _ in again})
    equal["batches drawn"] = f"{same} of {len(again)} ({once} steps, {len(again) - once} repeated)"
    equal["updates of the average"] = f"{said['ema_updates']} and {expected_said['ema_updates']}"
    return equal


def broken(data: bytes, cuts: int, flips: int, draw: random.Random) -> Iterator[tuple[str, bytes]]:
    """(kind of damage, the damaged file) of a good checkpoint's bytes."""
    for _ in range(cuts):
        yield "cut at a random length", data[: draw.randrange(len(data))]
    header = 8 + int.from_bytes(data[:8], "little")
    for kind, first, last in (("header", 0, header), ("tensors", header, len(data))):
        for _ in range(flips):
            changed = bytearray(data)
            changed[draw.randrange(first, last)] ^= 1 << draw.randrange(8)
            yield f"a bit flipped in the {kind}", bytes(changed)
    yield "a byte too many", data + b"\0"
    yield "empty", b""
    yield "text", b"not the weights that you are looking for\n" * 40


def foreign(folder: Path) -> Iterator[tuple[str, bytes]]:
    """(kind, content) of files that others write."""
    path = folder / "other"
    tensors = {"weight": torch.randn(64, 64)}
    for kind, zipped in (("new", True), ("old", False)):
        torch.save(tensors, path, _use_new_zipfile_serialization=zipped)
        yield f"torch.save, {kind} format, renamed", path.read_bytes()
    for protocol in (2, 5):
        yield f"pickle, protocol {protocol}, renamed", pickle.dumps(tensors, protocol)
    for metadata in (None, {"format": "pt"}):
        save_file(tensors, path, metadata)
        yield f"foreign safetensors, metadata {metadata}", path.read_bytes()


def refusals(files: list[tuple[str, bytes]], folder: Path) -> tuple[dict[str, list[int]], int]:
    """For each kind [files, refused with one sentence], and how often pickle or torch.load ran."""
    calls = 0

    def count(function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            return function(*args, **kwargs)

        return counted

    for module, name in (
        (pickle, "load"),
        (pickle, "loads"),
        (pickle, "Unpickler"),
        (torch, "load"),
    ):
        setattr(module, name, count(getattr(module, name)))
    path = folder / "model.safetensors"
    found: dict[str, list[int]] = {}
    for kind, data in files:
        path.write_bytes(data)
        numbers = found.setdefault(kind, [0, 0])
        numbers[0] += 1
        try:
            load(path)
        except UserError as error:
            sentence = str(error)
            numbers[1] += str(path) in sentence and "\n" not in sentence
    return found, calls


def table(
    about: str, kills: list[dict[str, int]], equal: dict[str, str],
    refused: dict[str, list[int]], calls: int,
) -> str:  # fmt: skip
    lines = ["# Reliability", "", about, "", "## Killed and resumed", ""]
    lines += ["| kill -9 | in step | went on after step |", "|---:|---:|---:|"]
    for number, kill in enumerate(kills, start=1):
        lines.append(f"| {number} | {kill['killed_in_step']} | {kill['goes_on_after_step']} |")
    lines += ["", "In the end, against a run that was never killed:", ""]
    lines += ["| what | equal bit for bit |", "|---|---|"]
    lines += [f"| {what} | {how} |" for what, how in equal.items()]
    lines += ["", "## Files that are no checkpoint", ""]
    lines += ["| file | tried | refused with one sentence |", "|---|---:|---:|"]
    lines += [f"| {kind} | {tried} | {good} |" for kind, (tried, good) in refused.items()]
    lines += ["", f"Calls of pickle.load, pickle.loads, pickle.Unpickler and torch.load: {calls}."]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--signal", choices=("image", "sound"), default="image")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--cuts", type=int, default=50)
    parser.add_argument("--flips", type=int, default=100, help="in the header, and in the tensors")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and the damages")
    parser.add_argument("--data-dir", type=Path, help="where the data set is")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--resume", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child is not None:
        train(args.signal, args.child, args.steps, args.resume, args.data_dir)
        return

    draw = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        killed, reference = folder / "killed", folder / "reference"
        command = [sys.executable, __file__, "--signal", args.signal, "--steps", str(args.steps)]
        if args.data_dir is not None:
            command += ["--data-dir", str(args.data_dir)]
        begun = time.monotonic()
        subprocess.run([*command, "--child", str(reference)], check=True)
        pace = (time.monotonic() - begun) / args.steps
        command += ["--child", str(killed)]
        kills = kill_and_resume(command, killed, args.steps, args.kills, pace, draw)
        equal = compare(killed, reference)
        whole = (reference / "model.safetensors").read_bytes()
        files = [*broken(whole, args.cuts, args.flips, draw), *foreign(folder)]
        refused, calls = refusals(files, folder)

    about = (
        f"A U-Net trained for {args.steps} steps of {BATCH} "
        f"{'spoken ' if args.signal == 'sound' else ''}digits, saved every {SAVE_EVERY}. "
        f"Measured on: {machine()}; Python {platform.python_version()}, torch {torch.__version__}."
    )
    text = table(about, kills, equal, refused, calls)
    print(text)
    args.out.mkdir(parents=True, exist_ok=True)
    stem = "reliability_sound" if args.signal == "sound" else "reliability"
    (args.out / f"{stem}.md").write_text(text + "\n", encoding="utf-8")
    result = {
        "about": about,
        "kills": kills,
        "equal": equal,
        "refused": refused,
        "unpickled": calls,
    }
    json_text = json.dumps(result, indent=2)
    (args.out / f"{stem}.json").write_text(json_text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
