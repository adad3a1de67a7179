"""What does sound from sound cost at 48 kHz in stereo: a training step's time and memory, and use.

    python benchmarks/sound_wide.py                 # some minutes
    python benchmarks/sound_wide.py --device cuda

The recipes of `mmdiff train --task` on the synthetic sounds of `mmdiff.audio`, clips of 2 s in
batches of 4: real steps, of which the first are left out of the time. Each task has a process of
its own, for its memory. "used" is how many times as fast as real time the model then goes through
10 s, in windows.
"""

from __future__ import annotations

import json
from itertools import count
from statistics import median
from typing import Any

import torch
from rows import Rows, about, digits, parse, parser
from timing import answer, clock, peak_mib

from mmdiff import precision
from mmdiff.audio import Sound
from mmdiff.audio.convert import stream
from mmdiff.audio.recording import Recording
from mmdiff.checkpoints import Info
from mmdiff.modality import recipe_of
from mmdiff.noise import Draws
from mmdiff.training.loading import BatchOrder, load
from mmdiff.training.optimizers import make_optimizer

RATE, SECONDS, BATCH = 48_000, 2.0, 4
TASKS = ("enhance", "upsample:16000", "vocode")


def measured(task: str, args: Any) -> dict[str, Any]:
    """The row of one task."""
    data: Any = Sound.open(
        "synthetic", "train", task=task, sample_rate=RATE, seconds=SECONDS, channels=2
    )
    recipe = recipe_of(Sound, None, data)
    model: Any = recipe.model.to(args.device)
    lists = BatchOrder(len(data), BATCH, 0).lists(0)
    batches = (load(data, data.conditions, len(data), entries) for entries in lists)
    first = next(batches)
    model.prepare([first])
    optimizer, steps = make_optimizer(model, recipe), count()
    dtype = precision.resolve("auto", torch.device(args.device))

    def step() -> None:
        draws = Draws(0, next(steps), torch.arange(BATCH), BATCH)
        batch = {name: value.to(args.device) for name, value in next(batches).items()}
        with torch.autocast(args.device, dtype, enabled=dtype != torch.float32):
            loss = model.loss(batch, draws)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    memory = peak_mib(step, args.device)
    seconds = median(clock(step, 1, args.device) for _ in range(args.steps))
    x = torch.randn(2, RATE * args.seconds, generator=torch.manual_seed(0)) / 10
    model.info = Info(data.shape, data.modality, recipe.sampling, task=data.task)
    model.eval().requires_grad_(False)
    name = task.partition(":")[0]
    used = clock(lambda: stream(name, Recording.of(x, RATE), model).whole(), 1, args.device)
    return {
        "task": task,
        "parameters": sum(p.numel() for p in model.parameters()),
        "step_seconds": digits(seconds),
        "step_mib": digits(memory),
        "used": digits(args.seconds / used),
    }


def main() -> None:
    made = parser(__doc__, device="cpu", steps=8, seconds=10)
    made.add_argument("--task", help="this one alone, as JSON")
    args = parse(made, steps=1, seconds=1)
    if args.task:
        print(json.dumps(measured(args.task, args)))
        return
    rows = Rows(args.out / "sound_wide.csv", ("task", "machine"))
    for task in TASKS:
        rows.add({**json.loads(answer(f"--task={task}")), **about(args.device)})


if __name__ == "__main__":
    main()
