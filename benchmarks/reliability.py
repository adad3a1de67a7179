"""Does a training survive being killed, and does anything but a whole checkpoint get in?

    python benchmarks/reliability.py                # some minutes on one CPU core
    python benchmarks/reliability.py --signal sound # spoken digits in place of MNIST

A small U-Net trains on digits, seen or heard, and saves every 10 steps. One run is left alone.
Another is killed with SIGKILL at random moments, anywhere in a step or a save, and resumed each
time. In the end weights, averaged weights, the optimiser's state and every batch that was drawn are
compared, bit for bit. Then the checkpoint is cut, flipped bit by bit and replaced by files that are
none; loading must refuse each with one sentence, and nothing may be unpickled.
"""

from __future__ import annotations

import argparse
import pickle
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any, TextIO
from unittest.mock import patch

import torch
from rows import Rows, about, parse, parser
from safetensors.torch import save_file
from torch.utils.data import Subset

from mmdiff import Diffusion, LinearBeta, Recipe, Trigonometric, load
from mmdiff.audio.modality import Sound
from mmdiff.errors import UserError
from mmdiff.image.modality import Pictures
from mmdiff.nn import MDCT, FrontEnd, UNet
from mmdiff.tensorfile import read
from mmdiff.training.trainer import Trainer

BATCH = 32
A_STEP = 0.1  # seconds, about
SIGNALS: dict[str, Any] = {"image": (Pictures, "mnist"), "sound": (Sound, "fsdd")}
STATE = Path("resume") / "state.safetensors"
UNPICKLE = ("pickle.load", "pickle.loads", "pickle.Unpickler", "torch.load")

Found = tuple[str, str, int, int]  # a test, of what, how many are good, of how many


def log_batches(data: Any, log: TextIO) -> None:
    """Let the data set write down what training asks it for from now on: a line for each batch."""
    visit, asked = data.visit, list[str]()

    def write(index: int, count: int) -> Any:
        asked.append(f"{index}:{count}")
        if len(asked) == BATCH:
            log.write(" ".join(asked) + "\n")
            asked.clear()
        return visit(index, count)

    data.visit = write


def model_of(signal: str, conditions: Any) -> Diffusion:
    """A small one."""
    if signal == "image":
        picture = UNet(2, 1, 1, (8, 16), blocks=1, patch=2, conditions=conditions)
        return Diffusion(picture, LinearBeta(), "eps", "min_snr")
    sound = UNet(1, 64, 64, (16, 16), blocks=1, conditions=conditions)
    return Diffusion(FrontEnd(MDCT(64), sound), Trigonometric(), "v")


def train(args: Any) -> None:
    """What a child process does."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    out: Path = args.child
    out.mkdir(parents=True, exist_ok=True)
    modality, name = SIGNALS[args.signal]
    data: Any = modality.open(name, "train", args.data_dir)
    held_out: Any = modality.open(name, "test", args.data_dir)
    model = model_of(args.signal, data.conditions)
    recipe = Recipe(model, steps=args.steps, batch=BATCH, save_every=10, ema=0.99)
    with (out / "batches.txt").open("a", buffering=1) as log:
        resume = (out / STATE).exists()
        unseen = Subset(held_out, range(64))
        trainer = Trainer(recipe, data, unseen, out, "cpu", resume)
        log_batches(data, log)
        log.write(f"from {trainer.progress.step}\n")
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


def child(out: Path) -> list[str]:
    """The command that trains in a process of its own, or goes on with what is in `out`."""
    return [sys.executable, *sys.argv, f"--child={out}"]


def kill_and_resume(out: Path, args: Any, draw: random.Random) -> Iterator[dict[str, int]]:
    """Kill a run as often as asked, then let it end; for each kill, where it was and went on."""
    out.mkdir()
    (out / "batches.txt").touch()
    for number, target in enumerate(sorted(draw.sample(range(1, args.steps - 1), args.kills)), 1):
        with subprocess.Popen(child(out)) as process:
            while process.poll() is None and last_step(out) < target:
                time.sleep(0.001)
            time.sleep(draw.random() * A_STEP)  # anywhere in the step, or in what follows it
            process.kill()
        if process.returncode != -signal.SIGKILL:
            raise RuntimeError(f"the training ended by itself, with {process.returncode}.")
        saved = read(out / STATE)[1]["step"] if (out / STATE).exists() else 0
        yield {"kill": number, "in_step": last_step(out) + 1, "went_on_after": saved}
    subprocess.run(child(out), check=True)


def compare(out: Path, reference: Path) -> Iterator[Found]:
    """What of the two runs' ends is equal bit for bit."""
    test = "equal bit for bit"
    (tensors, said), (expected, expected_said) = read(out / STATE), read(reference / STATE)
    names = {"model/": "weights", "ema/": "averaged weights", "optimizer/": "optimiser"}
    for prefix, name in names.items():
        group = [key for key in expected if key.startswith(prefix)]
        same = sum(torch.equal(tensors[key], expected[key]) for key in group)
        yield test, name, same, len(group)
    drawn, again = dict(batches(reference)), list(batches(out))
    same = sum(drawn[step] == line for step, line in again)
    yield test, "batches drawn", same, len(again)
    yield test, "updates of the average", said["ema_updates"], expected_said["ema_updates"]


def broken(data: bytes, args: Any, draw: random.Random) -> Iterator[tuple[str, bytes]]:
    """(kind of damage, the damaged file) of a good checkpoint's bytes."""
    for _ in range(args.cuts):
        yield "cut at a random length", data[: draw.randrange(len(data))]
    header = 8 + int.from_bytes(data[:8], "little")
    for kind, first, last in (("header", 0, header), ("tensors", header, len(data))):
        for _ in range(args.flips):
            changed = bytearray(data)
            changed[draw.randrange(first, last)] ^= 1 << draw.randrange(8)
            yield f"a bit flipped in the {kind}", bytes(changed)
    yield "a byte too many", data + b"\0"


def foreign(path: Path) -> Iterator[tuple[str, bytes]]:
    """(kind, content) of files that are no checkpoints."""
    yield "empty", b""
    yield "text", b"not the weights that you are looking for\n" * 40
    tensors = {"weight": torch.randn(64, 64)}
    for kind, zipped in (("new", True), ("old", False)):
        torch.save(tensors, path, _use_new_zipfile_serialization=zipped)
        yield f"torch.save, {kind} format, renamed", path.read_bytes()
    for protocol in (2, 5):
        yield f"pickle, protocol {protocol}, renamed", pickle.dumps(tensors, protocol)
    for metadata in (None, {"format": "pt"}):
        save_file(tensors, path, metadata)
        yield f"foreign safetensors, metadata {metadata}", path.read_bytes()


def refusals(files: list[tuple[str, bytes]], path: Path) -> Iterator[Found]:
    """How many of each kind were refused with one sentence, and of all without unpickling."""
    tried, refused, unpickled = Counter[str](), Counter[str](), 0
    for kind, data in files:
        path.write_bytes(data)
        tried[kind] += 1
        with ExitStack() as spies:
            calls = [spies.enter_context(patch(name)) for name in UNPICKLE]
            try:
                load(path)
            except UserError as error:
                refused[kind] += str(path) in str(error) and "\n" not in str(error)
        unpickled += any(call.called for call in calls)
    for kind, count in tried.items():
        yield "refused with one sentence", kind, refused[kind], count
    yield "loaded without unpickling", "all of these files", len(files) - unpickled, len(files)


def main() -> None:
    made = parser(__doc__, steps=300, kills=10, cuts=50, flips=100)
    made.add_argument("--signal", choices=tuple(SIGNALS), default="image")
    made.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parse(made, steps=30, kills=1, cuts=3, flips=3)
    if args.child is not None:
        train(args)
        return
    draw = random.Random(0)
    same, on = {"signal": args.signal, "steps": args.steps}, {**about(), "threads": 1}
    kills = Rows(args.out / "reliability_kills.csv", ("signal", "kill"))
    rows = Rows(args.out / "reliability.csv", ("signal", "test", "what"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        killed, reference = folder / "killed", folder / "reference"
        subprocess.run(child(reference), check=True)
        for kill in kill_and_resume(killed, args, draw):
            kills.add(same | kill | on)
        whole = (reference / "model.safetensors").read_bytes()
        files = [*broken(whole, args, draw), *foreign(folder / "other")]
        refused = refusals(files, folder / "model.safetensors")
        for test, what, good, of in chain(compare(killed, reference), refused):
            rows.add({**same, "test": test, "what": what, "good": good, "of": of, **on})


if __name__ == "__main__":
    main()
