"""Checkpoints of version 0.1, as today's describe them."""

from __future__ import annotations

from typing import Any

from torch import Tensor

_RENAMED = {"transform.": "codec.", "classes.": "embeddings."}


def upgraded(
    tensors: dict[str, Tensor], said: dict[str, Any]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and description of a checkpoint that told of class conditions by their numbers."""
    info = said["info"]
    names = {"label": info.get("labels", ()), "speaker": info.get("speakers", ())}
    schedule = dict(said["schedule"])
    model = {
        "type": "Diffusion",
        "backbone": _backbone(said["backbone"], names),
        "schedule": {"type": schedule.pop("name"), **schedule},
        "prediction": said["prediction"],
        "weighting": said["weighting"],
    }
    sampling = dict(info.get("sampling", {}))
    if info.get("sample_rate") is None:
        modality: dict[str, Any] = {"type": "Pictures"}
        sampling.setdefault("clip", info["data_range"])
    else:
        scale = info["data_range"][1]
        modality = {"type": "Sound", "sample_rate": info["sample_rate"], "scale": scale}
    about = {
        "type": "Info",
        "shape": info["shape"],
        "modality": modality,
        "sampling": {"type": "Sampling", **sampling},
        "dataset": info.get("dataset", ""),
        "made": info.get("made", {}),
    }
    return {_name(name): tensor for name, tensor in tensors.items()}, {
        "model": model,
        "info": about,
    }


def _name(name: str) -> str:
    for old, new in _RENAMED.items():
        name = name.replace(old, new)
    return f"backbone.{name}"


def _backbone(told: dict[str, Any], names: dict[str, Any]) -> dict[str, Any]:
    config = dict(told["config"])
    if told["name"] == "FrontEnd":
        transform = config["transform"]
        codec = {"type": transform["name"], **transform["config"]}
        return {
            "type": "FrontEnd",
            "codec": codec,
            "backbone": _backbone(config["backbone"], names),
        }
    if "conditions" in config:
        config["conditions"] = {
            name: {"type": "Class", "count": count, "names": names.get(name, ())}
            for name, count in config["conditions"].items()
        }
    return {"type": told["name"], **config}
