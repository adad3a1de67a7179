"""What the rounds of `frontend_speed.py` say: quotients, tables and the plot."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

MAIN = ("forward", "training step", "sampling step")
PARTS = ("front end", "network", "8 frames")
PEER = "UNetV0"

Rounds = Mapping[str, Mapping[str, list[float]]]  # seconds in every round, by work and variant


def base(name: str) -> str:
    """The variant without a front end that this one is compared with."""
    return f"{PEER}:1" if name.startswith(PEER) else "raw"


def quotient(above: Iterable[float], below: Iterable[float]) -> list[float]:
    """The quartiles of above / below, round by round."""
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    return statistics.quantiles(ratios, n=4, method="inclusive")


def row(name: str, p: int, rounds: Rounds, counts: Mapping[str, int]) -> dict[str, Any]:
    found = {
        "name": name,
        "p": p,
        "ms": {w: 1000 * statistics.median(of[name]) for w, of in rounds.items() if name in of},
        "speedup": {w: quotient(rounds[w][base(name)], rounds[w][name]) for w in MAIN},
        "flops": counts[name],
        "arithmetic": counts[base(name)] / counts[name] / p,
    }
    if name.startswith(PEER):
        ours = f"learned:{p}" if p > 1 else "raw"
        found["of_ours"] = {w: quotient(rounds[w][name], rounds[w][ours]) for w in MAIN}
    return found


def spread(quartiles: list[float]) -> str:
    low, middle, high = quartiles
    return f"{middle:.3g} ({low:.3g} to {high:.3g})"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A table; the first `left` columns to the left, the others, numbers, to the right."""
    marks = ["---"] * left + ["---:"] * (len(head) - left)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, marks, *rows))


def table(found: dict[str, Any]) -> str:
    faster, where, peers = [], [], []
    for r in found["rows"]:
        first = [r["name"], str(r["p"])]
        of_limit = {w: r["speedup"][w][1] / r["p"] for w in MAIN}
        mib = [f"{r['mib'][w]:.1f}" if r["mib"] else "" for w in MAIN[:2]]
        faster.append(first + [f"{spread(r['speedup'][w])}, {of_limit[w]:.2f}" for w in MAIN] + mib)
        ms = [f"{r['ms'][w]:.2f}" if w in r["ms"] else "" for w in ("forward", *PARTS)]
        where.append([*first, *ms, f"{of_limit['forward']:.2f}", f"{r['arithmetic']:.2f}"])
        if "of_ours" in r:
            peers.append(first + [spread(r["of_ours"][w]) for w in MAIN])
    about = (
        f"Measured on: {found['machine']}, {found['threads']} "
        f"thread{'s' * (found['threads'] > 1)}; torch {found['torch']}, "
        f"audio-diffusion-pytorch {found['peer']}; clips of {found['length']:,} samples, batch "
        f"{found['batch']}, widths {found['widths']}, {found['rounds']} rounds."
    )
    head = ["front end", "p"]
    blocks = [
        "# Front ends of sound",
        about,
        "Speed-up over the same network on raw sound: median (quartiles), and median / p.",
        markdown(
            [*head, *MAIN, *(f"peak of {work}, MiB" for work in MAIN[:2])],
            faster,
        ),
        "What the forward pass spends, ms; its speed-up / p, and what arithmetic would allow.",
        markdown(
            [*head, "forward", *PARTS, "speed-up / p", "by arithmetic"],
            where,
        ),
        f"Time of {PEER} over ours behind a learned convolution of the same p.",
        markdown([*head, *MAIN], peers),
    ]
    return "\n\n".join(blocks) + "\n"


def plot(path: Path, rows: list[dict[str, Any]]) -> None:
    """Speed-up against p, a panel for each work."""
    figure = Figure(figsize=(13, 4.4), layout="constrained")
    groups: dict[str, list[dict[str, Any]]] = {}
    for r in rows:
        groups.setdefault(r["name"].partition(":")[0], []).append(r)
    for axes, work in zip(figure.subplots(1, len(MAIN)), MAIN, strict=True):
        for kind, group in groups.items():
            group = sorted(group, key=lambda r: r["p"])
            low, middle, high = torch.tensor([r["speedup"][work] for r in group]).T.numpy()
            x = [r["p"] for r in group]
            axes.errorbar(x, middle, (middle - low, high - middle), fmt="o-", ms=4, label=kind)
        ends = (1, max(r["p"] for r in rows))
        axes.plot(ends, ends, color="grey", linestyle=":", label="y = p")
        axes.set(title=work, xlabel="p", ylabel="speed-up over raw sound")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)
