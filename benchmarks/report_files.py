"""The files that the benchmarks of front ends left in a folder of results."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from report_data import Group, Row

from mmdiff.audio.sound import probe
from mmdiff.errors import UserError

KINDS = ("raw", "patch", "mdct", "learned", "stft")
COMMANDS = {
    "frontend_speed.json": "python benchmarks/frontend_speed.py",
    "frontend_speed_long.json": "python benchmarks/frontend_speed.py --length 262144",
    "frontend_quality.csv": "python benchmarks/frontend_quality.py --data-dir data",
    "frontend_untrained.csv": "python benchmarks/frontend_untrained.py --data-dir data",
}


def threaded(machine: str, threads: object) -> str:
    return f"{machine}, {threads} thread{'' if str(threads) == '1' else 's'}"


@dataclass(frozen=True)
class Study:
    """Networks that were trained for as long on one data set; groups by name of front end."""

    dataset: str
    minutes: str
    samples: str
    groups: dict[str, Group]
    machines: tuple[str, ...]
    left_out: int  # rows of other minutes, numbers of samples or devices

    def of(self, kind: str) -> dict[int, Group]:
        """By p."""
        return {group.p: group for group in self.groups.values() if group.kind == kind}

    @property
    def seeds(self) -> tuple[int, int]:
        counts = [len(group.rows) for group in self.groups.values()]
        return min(counts), max(counts)


@dataclass(frozen=True)
class Speed:
    """One file of `frontend_speed.py`."""

    file: str
    about: Mapping[str, Any]
    rows: Mapping[str, Mapping[str, Any]]

    @property
    def clips(self) -> str:
        """Also names what is not a CPU: its files are of the same lengths."""
        other = f" on {self.about['machine']}" if "cuda" in self.file else ""
        return f"{self.about['length']:,} samples{other}"

    @property
    def machine(self) -> str:
        return threaded(self.about["machine"], self.about["threads"])

    def quartiles(self, name: str, work: str) -> tuple[float, float, float] | None:
        if name not in self.rows:
            return None
        low, middle, high = self.rows[name]["speedup"][work]
        return low, middle, high


@dataclass(frozen=True)
class Found:
    """All that is in a folder of results; `speeds` from the shortest clips to the longest."""

    folder: Path
    speeds: tuple[Speed, ...]
    studies: dict[str, Study]
    untrained: dict[tuple[str, str], Group]  # by front end and input

    @property
    def speed(self) -> Speed | None:
        """Of the longest clips, where what a call costs whatever its length counts least."""
        return self.speeds[-1] if self.speeds else None

    def sound(self, dataset: str, name: str, variant: str) -> Path:
        """Where clips through a front end lie."""
        file = f"{dataset}-{name.replace(':', '')}-{variant}.wav"
        return self.folder / "frontend_sounds" / file

    def real(self, dataset: str) -> Path | None:
        """Where held-out clips lie."""
        return next(iter(sorted((self.folder / "frontend_sounds").glob(f"{dataset}-real*"))), None)

    def rate(self, dataset: str) -> int | None:
        """Samples a second, as its sounds have them."""
        paths = (self.folder / "frontend_sounds").glob(f"{dataset}-*.wav")
        return next((probe(path).sample_rate for path in sorted(paths)), None)


def gather(folder: Path) -> Found:
    """Read what there is.

    Raises:
        UserError: a file that is there and cannot be read.
    """
    speeds = [read_speed(path) for path in sorted(folder.glob("frontend_speed*.json"))]
    speeds.sort(key=lambda speed: speed.about["length"])
    rows = read_rows(folder / "frontend_quality.csv", ("dataset", "minutes", "samples"))
    untrained = read_rows(folder / "frontend_untrained.csv", ("input",))
    names = sorted({(row["frontend"], row["input"]) for row in untrained}, key=rank)
    return Found(
        folder,
        tuple(speeds),
        {name: study(name, rows) for name in sorted({row["dataset"] for row in rows})},
        {
            (name, sort): Group(
                name, tuple(r for r in untrained if (r["frontend"], r["input"]) == (name, sort))
            )
            for name, sort in names
        },
    )


def rank(key: str | tuple[str, ...]) -> tuple[object, ...]:
    """Orders front ends, or tuples that begin with one: by kind, then by p."""
    name, *others = (key,) if isinstance(key, str) else key
    kind, _, number = name.partition(":")
    place = KINDS.index(kind) if kind in KINDS else len(KINDS)
    return place, kind, int(number) if number.isdecimal() else math.inf, *others


def study(dataset: str, rows: list[Row]) -> Study:
    """The rows of a data set that were trained and judged alike: the most there are."""
    rows = [row for row in rows if row["dataset"] == dataset]
    keys = [(row["minutes"], row["samples"], row.get("device", "cpu")) for row in rows]
    counts = Counter(keys)
    most = max(counts, key=lambda key: (counts[key], float(key[0]), float(key[1]), key[2]))
    kept = [row for row, key in zip(rows, keys, strict=True) if key == most]
    groups = {
        name: Group(name, tuple(row for row in kept if row["frontend"] == name))
        for name in sorted({row["frontend"] for row in kept}, key=rank)
    }
    machines = {threaded(row["machine"], row["threads"]) for row in kept if row.get("machine")}
    return Study(dataset, *most[:2], groups, tuple(sorted(machines)), len(rows) - len(kept))


def read_rows(path: Path, needed: tuple[str, ...]) -> list[Row]:
    """Nothing if there is no such file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows: list[Row] = list(csv.DictReader(file))
    lacking = [name for name in ("frontend", "factor", *needed) if rows and name not in rows[0]]
    if lacking:
        raise UserError(
            f"{path} has no column {lacking[0]!r}: move it away and make it again with "
            f"`{COMMANDS[path.name]}`."
        )
    return rows


def read_speed(path: Path) -> Speed:
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        rows = {row["name"]: row for row in about.pop("rows")}
        return Speed(path.name, {key: about[key] for key in ("length", *about)}, rows)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is no file of frontend_speed.py ({type(error).__name__}): move it away and "
            "make it again."
        ) from error
