"""One file that holds a model: weights, and all that is needed to sample from it.

A checkpoint is a safetensors file whose header carries a JSON description and the SHA-256 of the
whole file (taken with zeros in the digest's own place), so that any cut or changed byte is found.
Nothing in it is executed: no pickle, and only the backbones named here are ever built.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as pack_tensors
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from mmdiff.diffusion import Diffusion
from mmdiff.errors import UserError
from mmdiff.files import written_aside
from mmdiff.schedules import from_config

FORMAT = 1
BACKBONES = {
    "UNet": "mmdiff.nn.unet",
    "DiffUNet": "mmdiff.image.diffunet",
}
ZOO = Path(__file__).parent.parent / "zoo"

_NO_DIGEST = "0" * 64
_DIGEST = re.compile(rb'(?<="sha256":")[0-9a-f]{64}(?=")')


@dataclass(frozen=True)
class Info:
    """What a model makes, and how it was made.

    Attributes:
        shape: of one sample, [C, *spatial].
        data_range: the values that training data spans.
        labels: names of the classes of the condition "label"; empty if there is none.
        sample_rate: in Hz, for audio.
        dataset: what it was trained on.
        made: how: settings, steps, minutes, versions; anything JSON can hold.
    """

    shape: tuple[int, ...]
    data_range: tuple[float, float] = (-1.0, 1.0)
    labels: tuple[str, ...] = ()
    sample_rate: int | None = None
    dataset: str = ""
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
        name: whole(tensor).to(dtype if tensor.is_floating_point() else None).contiguous()
        for name, tensor in model.backbone.state_dict().items()
    }


def whole(tensor: Tensor) -> Tensor:
    """A tensor on the CPU, gathered where processes hold parts of it (all of them must call)."""
    tensor = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return tensor.detach().cpu()


def describe(model: Diffusion, info: Info) -> dict[str, Any]:
    """The JSON description that a checkpoint's header carries."""
    name = type(model.backbone).__name__
    if name not in BACKBONES:
        raise ValueError(f"cannot save a {name}: checkpoints hold {', '.join(BACKBONES)}.")
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
        for key in ("shape", "data_range", "labels"):
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
    backbone: nn.Module = getattr(import_module(BACKBONES[name]), name)(**description["config"])
    return backbone


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


def write(path: Path, tensors: dict[str, Tensor], description: dict[str, Any]) -> None:
    """A file that `read` reads: complete or not at all."""
    with written_aside(path) as aside:
        aside.write_bytes(_pack(tensors, {"format": FORMAT, **description}))


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and description of a checkpoint; UserError unless every byte is as it was written."""
    data = path.read_bytes()
    header = _header(path, data)
    metadata = header.get("__metadata__")
    if not isinstance(metadata, dict) or "mmdiff" not in metadata:
        raise UserError(f"{path} is a safetensors file, but not one that mmdiff wrote.")
    end = 8 + int.from_bytes(data[:8], "little")
    blank, count = _DIGEST.subn(_NO_DIGEST.encode(), data[:end])
    if count != 1 or _sha256(blank, data[end:]) != metadata.get("sha256"):
        raise UserError(f"{path} is damaged (its checksum is wrong): get or make it again.")
    description: dict[str, Any] = json.loads(metadata["mmdiff"])
    if description.get("format") != FORMAT:
        raise UserError(
            f"{path} has format {description.get('format')}, this mmdiff reads {FORMAT}: "
            "use the version of mmdiff that wrote it."
        )
    return parse_tensors(data), description


def _header(path: Path, data: bytes) -> dict[str, Any]:
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > len(data) - 8:
        # Only now: a sound file's length may well begin with the byte that begins a pickle.
        if data[:2] == b"PK" or data[:1] == b"\x80":
            raise UserError(
                f"{path} is a pickle, which mmdiff never opens: it reads .safetensors only."
            )
        raise UserError(f"{path} is cut short, or is no safetensors file: get or make it again.")
    try:
        header = json.loads(data[8 : 8 + length])
    except (UnicodeDecodeError, json.JSONDecodeError):
        header = None
    if not isinstance(header, dict):
        raise UserError(f"{path} is no safetensors file, or is damaged: get or make it again.")
    return header


def _pack(tensors: dict[str, Tensor], description: dict[str, Any]) -> bytes:
    metadata = {"mmdiff": json.dumps(description), "sha256": _NO_DIGEST}
    data = pack_tensors(tensors, metadata)
    end = 8 + int.from_bytes(data[:8], "little")
    digest = _sha256(data[:end], data[end:])
    return _DIGEST.sub(digest.encode(), data[:end], count=1) + data[end:]


def _sha256(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
