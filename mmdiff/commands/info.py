"""mmdiff info: what is in a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmdiff.options import Checkpoint


def info(checkpoint: Checkpoint) -> None:
    """Show what a checkpoint holds, how it is best sampled from and how it was made.

    Examples:

    - `mmdiff info digits`

    - `mmdiff info runs/mine/model.safetensors`
    """
    from mmdiff.training.checkpoints import find, load

    path = find(checkpoint)
    model = load(path)
    about = model.info
    backbone: Any = model.backbone
    schedule = model.schedule.config()
    rows = {
        "file": f"{path} ({path.stat().st_size:,} bytes)",
        "backbone": _call(type(backbone).__name__, backbone.config),
        "parameters": f"{sum(p.numel() for p in backbone.parameters()):,}",
        "schedule": _call(schedule.pop("name"), schedule),
        "prediction": f"{model.prediction}, weighting {model.weighting}",
        "shape": " x ".join(map(str, about.shape)),
        "range": "{:g} to {:g}".format(*about.data_range),
        "labels": ", ".join(about.labels) or "none",
    }
    if about.sample_rate is not None:
        rows["speakers"] = ", ".join(about.speakers) or "none"
        rows["sample rate"] = f"{about.sample_rate:,} Hz"
        rows["seconds"] = f"{about.shape[-1] / about.sample_rate:g}"
    rows["sampling"] = _arguments(about.sampling) or "no recommendation"
    rows["data set"] = about.dataset or "not recorded"
    rows |= {f"made: {key}": str(value) for key, value in about.made.items()}
    width = max(map(len, rows))
    for key, value in rows.items():
        print(f"{key:{width}}  {value}")


def _call(name: str, config: Mapping[str, Any]) -> str:
    return f"{name}({_arguments(config)})"


def _arguments(config: Mapping[str, Any]) -> str:
    """As in a call; a part that is described by its name and its own arguments is a call too."""
    return ", ".join(f"{key}={_value(value)}" for key, value in config.items())


def _value(value: Any) -> str:
    if isinstance(value, dict) and value.keys() == {"name", "config"}:
        return _call(**value)
    return repr(value)
