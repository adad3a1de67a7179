"""Measured rows, and what they were measured on: scripts write them and `report.py` reads them."""

from __future__ import annotations

import argparse
import csv
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from mmdiff.files import written_aside

RESULTS = Path(__file__).parent / "results"
QUICK = Path("out/quick")

Row = Mapping[str, Any]


class Rows:
    """A CSV file. Rows that agree in the columns `key` are one row: the last replaces the others.

    Each row is in the file as soon as it is added, so a script that is stopped loses none.
    """

    def __init__(self, path: Path, key: Sequence[str]) -> None:
        self.path, self.key = path, key
        self.rows: dict[tuple[str, ...], Row] = {}
        if path.exists():
            with path.open(newline="", encoding="utf-8") as file:
                self.rows = {self._place(row): row for row in csv.DictReader(file)}

    def _place(self, row: Row) -> tuple[str, ...]:
        return tuple(str(row[name]) for name in self.key)

    def __contains__(self, row: Row) -> bool:
        return self._place(row) in self.rows

    def add(self, row: Row) -> None:
        """Keep a row, and print it."""
        self.rows[self._place(row)] = row
        names = list(dict.fromkeys(name for kept in self.rows.values() for name in kept))
        with written_aside(self.path) as aside, aside.open("w", newline="", encoding="utf-8") as f:
            writer = csv.DictWriter(f, names, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows.values())
        print(", ".join(f"{name} {value}" for name, value in row.items()), flush=True)


def digits(value: float, count: int = 4) -> float:
    """`value` to as many digits as a measurement is worth."""
    return float(f"{value:.{count}g}")


def machine(device: str = "cpu") -> str:
    """The card's name, or the processor's and how many of its cores this program may use."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        model = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), model)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model}, {cores} core{'' if cores == 1 else 's'}"


def about(device: str = "cpu", *packages: str) -> dict[str, object]:
    """The last columns of every measured row: machine, threads, and versions of packages."""
    numbers = (f"{name} {version(name).split('+')[0]}" for name in ("torch", *packages))
    return {
        "machine": machine(device),
        "threads": torch.get_num_threads(),
        "versions": f"Python {platform.python_version()}, {', '.join(numbers)}",
    }


def parser(doc: str | None, **settings: Any) -> argparse.ArgumentParser:
    """The options of every script; its docstring is its help.

    `settings` are arguments without an option: --quick alone changes them.
    """
    form = argparse.RawDescriptionHelpFormatter
    made = argparse.ArgumentParser(description=doc, formatter_class=form)
    made.add_argument("--device", default="cpu", help="cpu or cuda")
    made.add_argument("--data-dir", type=Path, help="folder of the data sets")
    made.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    made.add_argument("--quick", action="store_true", help=f"does it work? tiny, to {QUICK}")
    made.set_defaults(**settings)
    return made


def parse(made: argparse.ArgumentParser, **quick: Any) -> Any:
    """The arguments; with --quick those in `quick` take their place, and no result is replaced."""
    args = made.parse_args()
    if args.quick:
        vars(args).update(quick)
        args.out = QUICK if args.out == RESULTS else args.out
    return args
