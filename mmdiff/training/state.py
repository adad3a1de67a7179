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

from mmdiff.diffusion import Diffusion
from mmdiff.errors import UserError
from mmdiff.nn import EMA
from mmdiff.tensorfile import read, write
from mmdiff.training.checkpoints import Info, describe, on_cpu
from mmdiff.training.config import TrainingConfig

# Of what a checkpoint says of its making: the user's own words for much else.
_CHOSEN = ("preset", "frontend")
_SHOWN = 3  # differences, at most
_LONGEST = 60  # characters of a value


@dataclass(frozen=True)
class Progress:
    """How far a run has come: optimiser steps done, and the minutes spent on them."""

    step: int = 0
    minutes: float = 0.0


def settings_of(config: TrainingConfig, model: Diffusion, info: Info, items: int) -> dict[str, Any]:
    """What must be the same for a run to be gone on with; anything in it is what JSON can hold.

    What a user chose comes before what follows from it.
    """
    described = describe(model, info)
    return {
        "dataset": info.dataset,
        **{name: info.made.get(name) for name in _CHOSEN},
        **config.as_dict(),
        **{name: described[name] for name in ("backbone", "schedule", "prediction", "weighting")},
        "shape": list(info.shape),
        "data_range": list(info.data_range),
        "sample_rate": info.sample_rate,
        "labels": list(info.labels),
        "speakers": list(info.speakers),
        "items": items,
    }


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
            f"there is no run to resume, for {path} does not exist: leave --resume out, or name "
            "the folder of the run with --out."
        )
    tensors, description = read(path)
    if "settings" not in description:
        raise UserError(f"{path} is not the state of a run: begin another with --out.")
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
    # A run may be given more steps; where it saves changes nothing in the weights.
    known = [key for key in wanted if key in saved and key not in ("steps", "save_every")]
    chosen = [key for key in known if key in _CHOSEN]
    # Another front end, for example, makes another network: one of them is enough to say.
    for keys in (chosen, known):
        pairs = ((key, saved[key], wanted[key]) for key in keys)
        different = [text for key, *both in pairs for text in _differences(*both, key)]
        if different:
            more = f"; and {len(different) - _SHOWN} more" if len(different) > _SHOWN else ""
            raise UserError(
                f"the run in {path.parent.parent} was begun with {'; '.join(different[:_SHOWN])}"
                f"{more}: resume it with its own settings, or begin another with --out."
            )


def _differences(saved: Any, wanted: Any, *names: str) -> Iterator[str]:
    """`backbone blocks 2, not 3` for each place, below `names`, where two settings differ."""
    if isinstance(saved, dict) and isinstance(wanted, dict) and "name" in saved:
        saved, wanted = ({**part, **part.get("config", {})} for part in (saved, wanted))
        # Of two things of different names the arguments have nothing in common.
        other = saved["name"] != wanted["name"]
        for key in ["name"] if other else [key for key in wanted if key in saved]:
            if key != "config":
                inner = names if key in ("name", names[-1]) else (*names, key)
                yield from _differences(saved[key], wanted[key], *inner)
    elif saved != wanted:
        place = ""
        lists = isinstance(saved, list) and isinstance(wanted, list)
        if lists and isinstance((saved or wanted)[0], str):  # the names of classes
            pairs = enumerate(zip_longest(saved, wanted))
            index, (saved, wanted) = next(pair for pair in pairs if pair[1][0] != pair[1][1])
            place = f"[{index}]"
        texts = (shorten(str(value), _LONGEST, placeholder=" ...") for value in (saved, wanted))
        yield f"{' '.join(names)}{place} {', not '.join(texts)}"
