"""One file that holds a model: weights, and all that is needed to sample from it.

A `tensorfile` of the weights and a description of all else. Loading it runs no pickle. The
description is recursive: an object is {"type": its class, and the arguments that make it}, and an
argument may be an object again, as the backbone in a front end in a model is. Only classes that are
named here, or were handed to `register`, are built.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from mmdiff.diffusion import Diffusion
from mmdiff.errors import UserError
from mmdiff.sampling import Sampling
from mmdiff.tensorfile import read, write

ZOO = Path(__file__).parent / "zoo"

# Where each class is; those of modalities are imported only when a file names them.
_HOMES = {
    "Diffusion": "diffusion",
    "Cosine": "schedules",
    "Linear": "schedules",
    "LinearBeta": "schedules",
    "Trigonometric": "schedules",
    "Class": "conditions",
    "Signal": "conditions",
    "Tokens": "conditions",
    "Vector": "conditions",
    "Info": "checkpoints",
    "Sampling": "sampling",
    "FrontEnd": "nn",
    "Gated": "nn",
    "LearnedConv": "nn",
    "Bridge": "nn",
    "Ends": "nn",
    "MDCT": "nn",
    "Magnitudes": "nn",
    "Patch": "nn",
    "Raw": "nn",
    "Residual": "nn",
    "SharedTrunk": "nn",
    "TimeFrequency": "nn",
    "STFT": "nn",
    "Transformer": "nn",
    "UNet": "nn",
    "Bundled": "joint",
    "Frozen": "joint",
    "Joint": "joint",
    "Packing": "joint",
    "Shares": "joint",
    "Together": "joint",
    "DiffUNet": "image.diffunet",
    "Pictures": "image.modality",
    "Sound": "audio.modality",
    "Mel": "audio.mel",
    "MelMagnitudes": "audio.mel_magnitudes",
    "Enhance": "audio.tasks",
    "Upsample": "audio.tasks",
    "Vocode": "audio.tasks",
    "UNetV0": "audio.unet_v0",
    "Video": "video.modality",
}
_own: dict[str, type] = {}

_COMPILED = "_orig_mod."  # what torch.compile puts around a module; a file has the module itself

T = TypeVar("T", bound=type)


def register(kind: T) -> T:
    """Let checkpoints hold objects of a class of one's own; usable as a decorator.

    It is a frozen dataclass, or has an attribute `config`: the arguments that make the object.
    """
    _own[kind.__name__] = kind
    return kind


@dataclass(frozen=True)
class Info:
    """What a model makes, and how it was made.

    Attributes:
        shape: of one sample, [C, *spatial].
        modality: what that is, a `mmdiff.modality.Modality`; None for nothing that can be shown.
        sampling: how it is best sampled from.
        dataset: the name of what it was trained on.
        made: how: settings, steps, minutes, versions; anything JSON can hold.
        task: what the model is for, where it makes one signal of another: an object that knows
            what the model is told of a signal, such as `mmdiff.audio.Enhance`; or None.
    """

    shape: tuple[int, ...]
    modality: Any = None
    sampling: Sampling = field(default_factory=Sampling)
    dataset: str = ""
    made: dict[str, Any] = field(default_factory=dict)
    task: Any = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape))


def save(path: str | Path, model: nn.Module, info: Info, dtype: torch.dtype | None = None) -> None:
    """Write `model` to `path`, complete or not at all.

    Args:
        path: usually ends in .safetensors; an existing file is replaced.
        model: see `register` for what it may be made of.
        info: see `Info`.
        dtype: of the stored floating-point weights, such as torch.float16; as they are if None.

    Raises:
        ValueError: a part that could not be loaded again.
    """
    write(Path(path), weights(model, dtype), description(model, info))


def weights(model: nn.Module, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """The tensors of `model` on the CPU, as `save` stores them."""
    return {
        name.replace(_COMPILED, ""): on_cpu(tensor).to(
            dtype if tensor.is_floating_point() else None
        )
        for name, tensor in model.state_dict().items()
    }


def on_cpu(tensor: Tensor) -> Tensor:
    """As a file takes it."""
    return tensor.detach().cpu().contiguous()


def description(model: nn.Module, info: Info) -> dict[str, Any]:
    """The JSON description that a checkpoint's header carries."""
    return {"model": describe(model), "info": describe(info)}


def describe(value: Any) -> Any:
    """`value` as JSON, an object as {"type", and its arguments}.

    Raises:
        ValueError: an object of a class that no checkpoint can hold.
    """
    if isinstance(value, Mapping):
        if "type" in value:
            raise ValueError(f"a description cannot have an entry of its own called type: {value}.")
        return {str(key): describe(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [describe(part) for part in value]
    if value is None or isinstance(value, str | int | float):
        return value
    value = getattr(value, _COMPILED[:-1], value)
    name = type(value).__name__
    if name not in _HOMES and name not in _own:
        raise ValueError(
            f"cannot save a {name}: hand the class to mmdiff.register, here and before loading, "
            "and let its attribute `config` be the arguments that make it."
        )
    return {"type": name, **{key: describe(part) for key, part in arguments(value).items()}}


def arguments(value: Any) -> dict[str, Any]:
    """What `value` was made with, by name."""
    if is_dataclass(value):
        return {part.name: getattr(value, part.name) for part in fields(value)}
    return dict(value.config)


def build(value: Any) -> Any:
    """What `describe` described; modules have fresh weights.

    Raises:
        ValueError: a class that is not known here.
    """
    if isinstance(value, list):
        return [build(part) for part in value]
    if not isinstance(value, dict):
        return value
    parts = {key: build(part) for key, part in value.items() if key != "type"}
    return _class(value["type"])(**parts) if "type" in value else parts


def _class(name: str) -> Any:
    if name in _own:
        return _own[name]
    if name not in _HOMES:
        raise ValueError(f"{name} is not known here: hand it to mmdiff.register before loading")
    return getattr(import_module(f"mmdiff.{_HOMES[name]}"), name)


def load(path: str | Path, device: str | torch.device = "cpu") -> Diffusion:
    """The model in a checkpoint, ready to sample from (eval mode, float32).

    Args:
        path: a file written by `save`, or the name of a bundled model such as "digits".
        device: where the weights go.

    Returns:
        The model; its attribute `info` is what the checkpoint says of it.

    Raises:
        UserError: a missing, cut, changed or foreign file, in one sentence.
    """
    path = find(path)
    tensors, said = read(path)
    try:
        if "backbone" in said:
            from mmdiff.upgrade import upgraded

            tensors, said = upgraded(tensors, said)
        model, info = build(said["model"]), build(said["info"])
        if not (isinstance(model, Diffusion) and isinstance(info, Info)):
            raise TypeError(f"a {type(model).__name__} with a {type(info).__name__}")
        model.load_state_dict(tensors)
        model.info = info
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{path} does not describe a model that this version of mmdiff can build ({reason})."
        ) from error
    return model.to(device).eval().requires_grad_(False)


def bundled() -> list[str]:
    """The names of the models that come with the library."""
    return sorted(path.stem for path in ZOO.glob("*.safetensors") if "judge" not in path.stem)


def find(path: str | Path) -> Path:
    """The file of a bundled model's name or of a path; UserError if there is none."""
    if str(path) in bundled():
        return ZOO / f"{path}.safetensors"
    path = Path(path)
    if not path.is_file():
        raise UserError(
            f"there is no checkpoint {path}: give a .safetensors file, "
            f"or a bundled model ({', '.join(bundled()) or 'none here'})."
        )
    return path
