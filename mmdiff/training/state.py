"""The whole state of a run in one checked file: what resuming needs, and nothing random."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from textwrap import shorten
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from mmdiff.checkpoints import Info, arguments, describe, on_cpu
from mmdiff.errors import UserError
from mmdiff.nn import EMA
from mmdiff.objective import Objective
from mmdiff.recipe import Recipe
from mmdiff.tensorfile import read, write

_SHOWN = 3  # differences, at most
_LONGEST = 60  # characters of a value
_DIGITS = 12  # of the digest of the data

# A run may be given more steps, another learning rate, and be looked at otherwise.
_FREE = (
    "model",
    "epochs",
    "steps",
    "lr",
    "precision",
    "save_every",
    "look_every",
    "sampling",
    "preview",
    "samples",
    "made",
)


@dataclass(frozen=True)
class Progress:
    """How far a run has come: optimiser steps done, and the minutes spent on them."""

    step: int = 0
    minutes: float = 0.0


def settings_of(
    recipe: Recipe, model: Objective, info: Info, data: Any, items: int
) -> dict[str, Any]:
    """What must be the same for a run to be gone on with; anything in it is what JSON can hold.

    In the order in which a difference is told: what a user chose, before what follows from it.
    """
    content = getattr(data, "identity", "")
    shown = info.modality.describe(info.shape) if info.modality is not None else {}
    settings = {name: v for name, v in arguments(recipe).items() if name not in _FREE}
    chosen = {**shown, **describe(recipe.made), **describe(settings)}
    found = {"items": items, "shape": list(info.shape), "content of the data": content[:_DIGITS]}
    kinds = model.conditions
    told = {"conditions": ", ".join(kinds) or "none", **describe(kinds)}
    return {"chosen": chosen, "data": found, "told": told, "model": {"model": describe(model)}}


def save_state(
    path: Path,
    model: nn.Module,
    optimizer: Optimizer,
    ema: EMA | None,
    progress: Progress,
    settings: dict[str, Any],
) -> None:
    """Write the state to `path`, whole or not at all.

    The optimiser's tensors are kept under the names of the parameters that they belong to.
    """
    tensors = {f"model/{name}": weight for name, weight in model.state_dict().items()}
    if ema is not None:
        tensors |= {f"ema/{name}": weight for name, weight in ema.state_dict().items()}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer/{key}/{name}"] = value
    description = {
        "step": progress.step,
        "minutes": progress.minutes,
        "ema_updates": 0 if ema is None else ema.updates,
        "settings": settings,
    }
    write(path, {name: on_cpu(tensor) for name, tensor in tensors.items()}, description)


def load_state(
    path: Path, model: nn.Module, optimizer: Optimizer, ema: EMA | None, settings: dict[str, Any]
) -> Progress:
    """Put the state in `path` into model, optimiser and average.

    Raises:
        UserError: a missing or damaged file, or one of a run with other settings than `settings`.
            What the file does not tell, as one of an older version may, is taken to be the same.
    """
    if not path.is_file():
        raise UserError(
            f"there is no run to resume, for {path} does not exist: begin one, or name the folder "
            "of the run."
        )
    tensors, description = read(path)
    if "settings" not in description:
        raise UserError(f"{path} is not the state of a run: begin another in another folder.")
    _same_settings(path, description["settings"], settings)
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "ema": {}, "optimizer": {}}
    for name, tensor in tensors.items():
        part, rest = name.split("/", 1)
        parts[part][rest] = tensor
    entries: dict[str, dict[str, Tensor]] = {}
    for name, tensor in parts["optimizer"].items():
        key, parameter = name.split("/", 1)
        entries.setdefault(parameter, {})[key] = tensor
    model.load_state_dict(parts["model"])
    names = {parameter: name for name, parameter in model.named_parameters()}
    places = (names[p] for group in optimizer.param_groups for p in group["params"])
    moments = {place: entries[name] for place, name in enumerate(places) if name in entries}
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    if ema is not None:
        ema.load_state_dict(parts["ema"], description["ema_updates"])
    return Progress(description["step"], description["minutes"])


def _same_settings(path: Path, saved: dict[str, Any], wanted: dict[str, Any]) -> None:
    if "chosen" not in saved:
        raise UserError(
            f"{path.parent.parent} was begun by an older version of mmdiff: finish it with that, "
            "or begin another from its weights (init)."
        )
    for part in wanted:
        different = list(_differences(saved[part], wanted[part]))
        if not different:
            continue
        more = f"; and {len(different) - _SHOWN} more" if len(different) > _SHOWN else ""
        raise UserError(
            f"the run in {path.parent.parent} was begun with {'; '.join(different[:_SHOWN])}"
            f"{more}: resume it with its own settings, or begin another in another folder."
        )


def _differences(saved: Any, wanted: Any, *names: str) -> Iterator[str]:
    """`backbone blocks 2, not 3` for each place, below `names`, where two settings differ."""
    if isinstance(saved, dict) and isinstance(wanted, dict):
        # Of two things of different types the arguments have nothing in common.
        other = saved.get("type") != wanted.get("type")
        for key in ["type"] if other else [key for key in wanted if key in saved]:
            inner = names if key in ("type", *names[-1:]) else (*names, key)
            yield from _differences(saved.get(key), wanted.get(key), *inner)
    elif saved != wanted:
        place = ""
        lists = isinstance(saved, list) and isinstance(wanted, list)
        if lists and isinstance((saved or wanted)[0], str):  # the names of classes
            pairs = enumerate(zip_longest(saved, wanted))
            index, (saved, wanted) = next(pair for pair in pairs if pair[1][0] != pair[1][1])
            place = f"[{index}]"
        texts = (shorten(str(value), _LONGEST, placeholder=" ...") for value in (saved, wanted))
        yield f"{' '.join(names)}{place} {', not '.join(texts)}"
