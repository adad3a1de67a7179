"""What is known before sampling begins: the model, how to sample from it, and what is wanted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from textwrap import shorten
from typing import Any

import torch
from torch import Tensor

from mmdiff.errors import UserError
from mmdiff.options import Device, SolverName
from mmdiff.solvers import SOLVERS, Solver
from mmdiff.training.checkpoints import Info, Pretrained, load
from mmdiff.training.runs import take_turns

PICTURES = 64  # are drawn where nothing else is asked for
MOST_STEPS = 100_000  # of a solver; the table of many more would fill the memory


@dataclass(frozen=True)
class Settings:
    """How to sample; the defaults are for checkpoints that recommend nothing.

    Attributes:
        solver: a key of `SOLVERS`.
        steps: of the solver, 1 to `MOST_STEPS`.
        guidance: the scale of classifier-free guidance; 1, like None, is none.
        spin: see `mmdiff.sample`; 0 is none.
    """

    solver: str = "dpmpp2msde"
    steps: int = 25
    guidance: float | None = None
    spin: int = 0


# What each setting of a checkpoint may be: a file can say anything.
_FITS: dict[str, Callable[[Any], bool]] = {
    "solver": lambda value: value in list(SOLVERS),
    "steps": lambda value: type(value) is int and 0 < value <= MOST_STEPS,
    "guidance": lambda value: value is None or (type(value) in (int, float) and 0 <= value < inf),
    "spin": lambda value: type(value) is int and value >= 0,
}


def recommended(info: Info, checkpoint: str) -> Settings:
    """What `info.sampling` says, and the defaults for what it leaves open.

    Raises:
        UserError: it says something that cannot be followed.
    """
    said: Any = info.sampling
    if isinstance(said, dict) and all(key in _FITS and _FITS[key](said[key]) for key in said):
        return Settings(**said)
    raise UserError(
        f"{checkpoint} recommends to sample with {said}, which this version of mmdiff does not "
        "know how to do: use the version that wrote it."
    )


@dataclass(frozen=True)
class Opened:
    """A model on its device, and how to sample from it: solver, guidance (None: off) and spin."""

    model: Pretrained
    solver: Solver
    guidance: float | None
    spin: int

    @property
    def info(self) -> Info:
        return self.model.info

    @property
    def sound(self) -> bool:
        """Whether it makes sound; pictures if not."""
        return self.info.sample_rate is not None

    @property
    def batch(self) -> int:
        """How many samples at a time, where the user does not say: a sound takes more memory."""
        return 50 if self.sound else 256


def open_model(
    checkpoint: str,
    device: Device,
    solver: SolverName | None,
    steps: int | None,
    guidance: float | None,
    spin: int | None,
) -> Opened:
    """The model of a bundled name or a path; what is None is as the checkpoint recommends.

    Whatever cannot work is found here, before any work begins.

    Raises:
        UserError: no such checkpoint or device; settings that do not go with the model.
    """
    available = torch.cuda.is_available()
    if device is Device.cuda and not available:
        raise UserError("torch finds no CUDA device here: use --device cpu.")
    place = ("cuda" if available else "cpu") if device is Device.auto else device.value
    model = load(checkpoint, device=place)
    info = model.info
    sound = info.sample_rate is not None
    if not (len(info.shape) == 2 if sound else len(info.shape) == 3 and info.shape[0] in (1, 3)):
        raise UserError(
            f"{checkpoint} makes signals of shape {info.shape}, which are neither pictures nor "
            "sound: use mmdiff.sample in Python."
        )
    default = recommended(info, checkpoint)
    if steps is not None and steps > MOST_STEPS:
        raise UserError(f"--steps {steps} is too many: use {MOST_STEPS:,} at most.")
    method = SOLVERS[solver.value if solver else default.solver](steps or default.steps)
    scale = default.guidance if guidance is None else guidance
    spin = default.spin if spin is None else spin
    try:
        method.plan(model.schedule)
    except ValueError as error:
        raise UserError(str(error)) from None
    if scale is not None and not scale < inf:
        raise UserError("the guidance must be finite: use --guidance 2, for example.")
    scale = None if scale == 1 else scale
    if scale is not None and not (info.labels or info.speakers):
        raise UserError(f"{checkpoint} knows no labels to be guided by: leave --guidance out.")
    if spin and not sound:
        raise UserError(f"{checkpoint} makes pictures, and --spin is for sound: leave it out.")
    if spin > info.shape[-1]:
        raise UserError(
            f"--spin {spin} shifts by more than a whole clip of {info.shape[-1]} samples: "
            "use a smaller one."
        )
    return Opened(model, method, scale, spin)


@dataclass(frozen=True)
class Wanted:
    """The samples that are asked for.

    Attributes:
        info: of the model.
        count: how many.
        label: of each by name; None where the model has none.
        speaker: likewise.
    """

    info: Info
    count: int
    label: list[str] | None
    speaker: list[str] | None

    def conditions(self) -> dict[str, Tensor]:
        """Arguments for `mmdiff.sample`: int64 [count] each."""
        classes = (
            ("label", self.label, self.info.labels),
            ("speaker", self.speaker, self.info.speakers),
        )
        return {
            kind: torch.tensor([known.index(name) for name in names])
            for kind, names, known in classes
            if names is not None
        }

    def said(self, first: int, size: int) -> dict[str, str]:
        """What a file of `size` samples from `first` on says of their labels and speakers."""
        return {
            kind: shorten(", ".join(dict.fromkeys(names[first : first + size])), 200)
            for kind, names in (("Label", self.label), ("Speaker", self.speaker))
            if names is not None
        }


def choose_samples(
    info: Info, checkpoint: str, label: str | None, speaker: str | None, count: int | None
) -> Wanted:
    """`count` samples of one `label` and `speaker`; where these are None, all take turns.

    They do as in `take_turns`, so that all pairs come. A `count` of None is 64 pictures, or of
    sounds one of each label that takes part.

    Raises:
        UserError: a name that the model does not know.
    """
    names = {
        "label": _names("label", info.labels, label, checkpoint),
        "speaker": _names("speaker", info.speakers, speaker, checkpoint),
    }
    if count is None:
        count = PICTURES if info.sample_rate is None else len(names["label"]) or 1
    free = {kind: len(known) for kind, known in names.items() if len(known) > 1}
    turns = take_turns(free, count)
    chosen = {
        kind: [known[int(turns[kind][i]) if kind in turns else 0] for i in range(count)]
        for kind, known in names.items()
        if known
    }
    return Wanted(info, count, chosen.get("label"), chosen.get("speaker"))


def _names(
    kind: str, known: tuple[str, ...], wanted: str | None, checkpoint: str
) -> tuple[str, ...]:
    """The names that come in turn: none, all, or the one that is wanted."""
    if wanted is None:
        return known
    if not known:
        raise UserError(f"{checkpoint} was trained without {kind}s: leave --{kind} out.")
    if wanted not in known:
        raise UserError(f"{checkpoint} has no {kind} {wanted!r}; it knows {', '.join(known)}.")
    return (wanted,)
