"""What `restoration.py` measures, to look at and to hear.

    python benchmarks/restoration_shown.py --data-dir data

For each kind of damage another of the first digits or spoken words that it measures: as given,
four answers of `mmdiff.restore` in 25 calls, their mean, and the truth. Digits and spectrograms of
sounds are pictures; the sounds follow each other in a WAV file for each task.
"""

from __future__ import annotations

from typing import Any

import torch
from restoration import RATE, Task, all_tasks, answers, items
from rows import parse, parser
from torch import Tensor

import mmdiff
from mmdiff.audio.joining import one_after_another
from mmdiff.audio.pictures import gallery
from mmdiff.audio.sound import write
from mmdiff.image.pictures import table
from mmdiff.raster import save_png

ANSWERS, CALLS = 4, 25
CAPTIONS = ("given", *("answer",) * ANSWERS, "their mean", "truth")


def shown(task: Task, index: int, args: Any) -> Tensor:
    """What `CAPTIONS` say of an item, [7, C, *spatial]."""
    model = mmdiff.load(task.model, device=args.device)
    x = items(task.model, args.data_dir)["x"][index : index + 1] * task.unit
    y = task.damaged(x)
    drawn = answers(model, task, y.expand(ANSWERS, *y.shape[1:]), args.calls, 0, {})
    for axis in range(2, y.ndim):  # what is small is shown as large as what is made of it
        y = y.repeat_interleave(x.shape[axis] // y.shape[axis], axis)
    return torch.cat((y, drawn, drawn.mean(0, keepdim=True), x)) / task.unit


def main() -> None:
    made = parser(__doc__, calls=CALLS, tasks=all_tasks())
    args = parse(made, calls=2, tasks=all_tasks()[::6])
    rows: dict[str, list[tuple[str, Tensor]]] = {"digits": [], "speech": []}
    for task in args.tasks:
        done = rows[task.model]
        done.append((task.name, shown(task, len(done), args)))
    folder = args.out / "restored"
    folder.mkdir(parents=True, exist_ok=True)
    save_png(table(rows["digits"], CAPTIONS), folder / "digits.png")
    save_png(gallery(rows["speech"], RATE, CAPTIONS), folder / "speech.png")
    for name, x in rows["speech"]:
        x = one_after_another(x, RATE)
        write(folder / f"{name.replace(' ', '_')}.wav", x / max(1.0, float(x.abs().max())), RATE)


if __name__ == "__main__":
    main()
