"""One file that holds a model: weights, and all that is needed to sample from it.

A `tensorfile` of the backbone's weights and a description of all else. Loading it runs no pickle,
and builds only the backbones that are named here: `BACKBONES` tells which module each comes from,
and one's own are added to it before saving and before loading. A backbone's `config` holds the
arguments that build it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from mmdiff.diffusion import Diffusion
from mmdiff.errors import UserError
from mmdiff.schedules import from_config
from mmdiff.tensorfile import read, write

BACKBONES = {
    "UNet": "mmdiff.nn.unet",
    "DiffUNet": "mmdiff.image.diffunet",
    "FrontEnd": "mmdiff.audio.frontends",
    "UNetV0": "mmdiff.audio.unet_v0",
}
ZOO = Path(__file__).parent.parent / "zoo"


@dataclass(frozen=True)
class Info:
    """What a model makes, and how it was made.

    Attributes:
        shape: of one sample, [C, *spatial].
        data_range: the values that training data spans.
        labels: names of the classes of the condition "label"; empty if there is none.
        speakers: the same of the condition "speaker".
        sample_rate: in Hz, for sound; None for images.
        sampling: how it is best sampled from, of "solver", "steps", "guidance" and "spin".
        dataset: what it was trained on.
        made: how: settings, steps, minutes, versions; anything JSON can hold.
    """

    shape: tuple[int, ...]
    data_range: tuple[float, float] = (-1.0, 1.0)
    labels: tuple[str, ...] = ()
    speakers: tuple[str, ...] = ()
    sample_rate: int | None = None
    dataset: str = ""
    sampling: dict[str, Any] = field(default_factory=dict)
    made: dict[str, Any] = field(default_factory=dict)


class Pretrained(Diffusion):
    """A model that came from a checkpoint, and what the checkpoint says of it."""

    info: Info
    name: str


def save(path: str | Path, model: Diffusion, info: Info, dtype: torch.dtype | None = None) -> None:
    """Write `model` to `path`, complete or not at all.

    Args:
        path: usually ends in .safetensors; an existing file is replaced.
        model: its backbone must be one of `BACKBONES` and have a `config`.
        info: see `Info`.
        dtype: of the stored floating-point weights, such as torch.float16; as they are if None.
    """
    write(Path(path), weights(model, dtype), describe(model, info))


def weights(model: Diffusion, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """The backbone's tensors on the CPU, as `save` stores them."""
    return {
        name: on_cpu(tensor).to(dtype if tensor.is_floating_point() else None)
        for name, tensor in model.backbone.state_dict().items()
    }


def on_cpu(tensor: Tensor) -> Tensor:
    """As a file takes it."""
    return tensor.detach().cpu().contiguous()


def describe(model: Diffusion, info: Info) -> dict[str, Any]:
    """The JSON description that a checkpoint's header carries."""
    name = type(model.backbone).__name__
    if name not in BACKBONES:
        raise ValueError(
            f"cannot save a {name}: checkpoints hold {', '.join(BACKBONES)}. To add one's own: "
            f'BACKBONES["{name}"] = "{type(model.backbone).__module__}", and let its attribute '
            "`config` be the arguments that build it."
        )
    return {
        "backbone": {"name": name, "config": model.backbone.config},
        "schedule": model.schedule.config(),
        "prediction": model.prediction,
        "weighting": model.weighting,
        "info": asdict(info),
    }


def load(path: str | Path, device: str | torch.device = "cpu") -> Pretrained:
    """The model in a checkpoint, ready to sample from (eval mode, float32).

    Args:
        path: a file written by `save`, or the name of a bundled model such as "digits".
        device: where the weights go.

    Raises:
        UserError: a missing, cut, changed or foreign file, in one sentence.
    """
    path = find(path)
    tensors, description = read(path)
    try:
        backbone = build_backbone(description["backbone"])
        schedule = from_config(description["schedule"])
        model = Pretrained(backbone, schedule, description["prediction"], description["weighting"])
        info = dict(description["info"])
        for key in ("shape", "data_range", "labels", "speakers"):
            if key in info:
                info[key] = tuple(info[key])
        model.info = Info(**info)
        model.backbone.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{path} does not describe a model that this version of mmdiff can build ({reason})."
        ) from error
    model.name = path.stem
    return model.to(device).eval().requires_grad_(False)


def build_backbone(description: dict[str, Any]) -> nn.Module:
    """The backbone that `{"name", "config"}` describes, with fresh weights."""
    name = description["name"]
    if name not in BACKBONES:
        raise ValueError(f"unknown backbone {name!r}")
    module = import_module(BACKBONES[name])
    config = description["config"]
    if name == "FrontEnd":
        transform, inner = module.build(config["transform"]), build_backbone(config["backbone"])
        return cast(nn.Module, module.FrontEnd(transform, inner))
    return cast(nn.Module, getattr(module, name)(**config))


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
