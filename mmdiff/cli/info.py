"""mmdiff info: what is in a checkpoint."""

from __future__ import annotations

from typing import Any

from mmdiff.cli.options import Checkpoint

_APART = ("type", "conditions")  # are said elsewhere
_NETWORKS = ("backbone", "parts", "bridge")  # are said first


def info(checkpoint: Checkpoint) -> None:
    """Show what a checkpoint holds, how it is best sampled from and how it was made.

    Examples:

    - `mmdiff info digits`

    - `mmdiff info runs/mine/model.safetensors`
    """
    from mmdiff.checkpoints import describe, find, load

    path = find(checkpoint)
    model = load(path)
    about = model.info
    parts = describe(model)
    rows = {
        "file": f"{path} ({path.stat().st_size:,} bytes)",
        **{key: _value(parts.pop(key)) for key in _NETWORKS if key in parts},
        "parameters": f"{sum(p.numel() for p in model.parameters()):,}",
        **{key: _value(value) for key, value in parts.items() if key not in _APART},
        "shape": " x ".join(map(str, about.shape)),
    }
    if about.modality is not None:
        rows["range"] = "{:g} to {:g}".format(*about.modality.data_range)
        rows |= about.modality.describe(about.shape)
    for name, kind in model.conditions.items():
        known = ", ".join(map(kind.say, range(kind.choices)))
        rows[f"told: {name}"] = known or _value(describe(kind))
    if about.task is not None:
        rows["task"] = _value(describe(about.task))
    rows["sampling"] = _arguments(describe(about.sampling))
    rows["data set"] = about.dataset or "not recorded"
    rows |= {f"made: {key}": str(value) for key, value in about.made.items()}
    width = max(map(len, rows))
    for key, value in rows.items():
        print(f"{key:{width}}  {value}")


def _value(value: Any) -> str:
    """What `describe` gave, as Python would write it."""
    if isinstance(value, dict) and "type" in value:
        return f"{value['type']}({_arguments(value)})"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key!r}: {_value(part)}' for key, part in value.items())}}}"
    return value if isinstance(value, str) else repr(value)


def _arguments(value: dict[str, Any]) -> str:
    return ", ".join(f"{key}={_value(part)}" for key, part in value.items() if key not in _APART)
