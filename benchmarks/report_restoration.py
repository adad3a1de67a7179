"""The table of `report.py` about restoring: each method beside ours, on the same items."""

from __future__ import annotations

import pandas as pd
import torch
from report_frontends import Cells, Frame

TASKS = {
    "lower half": "right", "go on after 0.25 s": "right", "gap of 80 ms": "lsd",
    "band of 1 kHz": "lsd",
}  # fmt: skip
_DRAWS = 2000  # of the bootstrap over items


def restoration(frame: Frame) -> list[Cells]:
    lines = []
    for task, rows in frame.groupby("task", sort=False):
        ours = rows[(rows["method"] == "mmdiff") & ~rows["told"] & (rows["calls"] == 25)]
        for row in rows.to_dict("records"):
            cells = {
                "task": task, "method": row["method"] + ", told" * row["told"],
                "calls": str(row["calls"]), "items": str(row["items"]),
                "one": f"{row['one']:.1f}", "mean of 4": f"{row['mean']:.1f}",
                "of 400 calls": f"{row['equal']:.1f}",
                "LSD": "" if pd.isna(row.get("lsd")) else f"{row['lsd']:.1f}",
                "right": f"{row['right']:.1%}",
                "within": "" if pd.isna(row["covered"]) else f"{row['covered']:.0%}",
                "s": f"{row['seconds']:.2g}",
            }  # fmt: skip
            if len(ours) and row["method"] != "mmdiff":
                cells["ours is better by"] = _better(task, ours["scores"].iloc[0], row["scores"])
            lines.append(cells)
    return lines


def _better(task: str, ours: str, theirs: str) -> str:
    """The mean difference of the main measure over items, and its 95% interval."""
    a, b = (torch.tensor([float(v) for v in text.split()]) for text in (ours, theirs))
    if not b.isfinite().all():
        return "theirs diverged"
    main = TASKS.get(task, "mean")
    difference = b - a if main == "lsd" else a - b
    draw = torch.Generator().manual_seed(0)
    picks = torch.randint(len(difference), (_DRAWS, len(difference)), generator=draw)
    ends = difference[picks].mean(1).quantile(torch.tensor([0.025, 0.975]))
    scale, unit = (100, " %") if main == "right" else (1, " dB")
    mean, low, high = (scale * float(value) for value in (difference.mean(), *ends))
    return f"{mean:.1f} ({low:.1f} to {high:.1f}){unit}"
