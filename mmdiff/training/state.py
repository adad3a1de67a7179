"""The whole state of a run in one checked file: what resuming needs, and nothing random."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_state_dict,
    set_state_dict,
)
from torch.optim import Optimizer

from mmdiff.errors import UserError
from mmdiff.nn import EMA
from mmdiff.tensorfile import read, write
from mmdiff.training.checkpoints import whole

# Whole tensors on the CPU, however the processes hold them (DDP, FSDP or neither).
_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


@dataclass(frozen=True)
class Progress:
    """How far a run has come: optimiser steps done, and the minutes spent on them."""

    step: int = 0
    minutes: float = 0.0


def save_state(
    path: Path,
    model: nn.Module,
    optimizer: Optimizer,
    ema: EMA | None,
    progress: Progress,
    settings: dict[str, Any],
    main: bool = True,
) -> None:
    """Write the state to `path`, whole or not at all. All processes call it, `main` writes."""
    weights, moments = _states(model, optimizer)
    average = {} if ema is None else {name: whole(w) for name, w in ema.state_dict().items()}
    if not main:
        return
    tensors = {f"model/{name}": weight for name, weight in weights.items()}
    tensors |= {f"ema/{name}": weight for name, weight in average.items()}
    for name, entries in moments["state"].items():
        tensors |= {f"optimizer/{key}/{name}": value for key, value in entries.items()}
    description = {
        "step": progress.step,
        "minutes": progress.minutes,
        "ema_updates": 0 if ema is None else ema.updates,
        "settings": settings,
    }
    write(path, {name: value.contiguous() for name, value in tensors.items()}, description)


def load_state(
    path: Path, model: nn.Module, optimizer: Optimizer, ema: EMA | None, settings: dict[str, Any]
) -> Progress:
    """Put the state in `path` into model, optimiser and average.

    Raises:
        UserError: a missing or damaged file, or one of a run with other settings than `settings`.
    """
    if not path.is_file():
        raise UserError(f"there is no run to resume: {path} does not exist.")
    tensors, description = read(path)
    _same_settings(path, description.get("settings", {}), settings)
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "ema": {}, "optimizer": {}}
    for name, tensor in tensors.items():
        part, rest = name.split("/", 1)
        parts[part][rest] = tensor
    entries: dict[str, dict[str, Tensor]] = {}
    for name, tensor in parts["optimizer"].items():
        key, parameter = name.split("/", 1)
        entries.setdefault(parameter, {})[key] = tensor
    _, moments = _states(model, optimizer)
    weights = cast(dict[str, Any], parts["model"])
    moments["state"] = entries
    set_state_dict(
        model, optimizer, model_state_dict=weights, optim_state_dict=moments, options=_WHOLE
    )
    if ema is not None:
        ema.load_state_dict(parts["ema"], description["ema_updates"])
    return Progress(description["step"], description["minutes"])


def _states(model: nn.Module, optimizer: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    return cast(Any, get_state_dict(model, optimizer, options=_WHOLE))


def _same_settings(path: Path, saved: dict[str, Any], wanted: dict[str, Any]) -> None:
    different = [
        f"{key} = {saved.get(key)}, not {wanted.get(key)}"
        for key in sorted(saved.keys() | wanted.keys())
        # A run may be given more steps; where it saves changes nothing in the weights.
        if key not in ("steps", "save_every") and saved.get(key) != wanted.get(key)
    ]
    if different:
        raise UserError(
            f"the run in {path.parent.parent} has {'; '.join(different)}: "
            "resume it with its own settings, or begin another with --out."
        )
