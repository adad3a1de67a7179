"""From a file of one modality to another, by a joint model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from mmdiff.diffusion import Diffusion
from mmdiff.errors import UserError
from mmdiff.joint import Joint, Together
from mmdiff.modality import Modality


class Across(NamedTuple):
    """How one part is made from another.

    Attributes:
        view: what makes it.
        told: what it is told, by name.
        modality: of the file that is written.
        whole: from what is made [B, C, *spatial] to what that file holds.
    """

    view: Diffusion
    told: dict[str, Tensor]
    modality: Modality
    whole: Callable[[Tensor], Tensor]


def across(model: Diffusion, file: Path, out: str | None, checkpoint: str) -> Across:
    """The view of a joint model that makes what goes with `file`.

    Which part the file is, its suffix says; which is made, that of `out`, or else the first of the
    others. Of a film, which may be several parts, it is one that `out` does not hold. What is
    shorter than the part is filled up, what is longer is cut. A film (.mp4) that is written has
    both parts, if the model has no others.

    Raises:
        UserError: no joint model, or a file of another kind or that cannot be read.
    """
    if not (isinstance(model, Joint) and isinstance(model.info.modality, Together)):
        raise UserError(f"{checkpoint} makes nothing from anything else: leave --given out.")
    parts = model.info.modality.parts
    kind, suffix = file.suffix.lower(), Path(out or "").suffix.lower()
    if file.is_dir():
        fits = [name for name, part in parts.items() if part.folders]
    else:
        fits = [name for name, part in parts.items() if kind in part.suffixes]
        fits += [name for name, part in parts.items() if kind in part.within]
    if not fits:
        known = ", ".join(f"{part.title} ({part.writes[0]})" for part in parts.values())
        raise UserError(f"--given {file} is of no kind that {checkpoint} knows: it knows {known}.")
    film = len(parts) == 2 and suffix == ".mp4"
    ways = [(name, made) for name in fits for made in parts if made != name]
    wanted = (way for way in ways if suffix in parts[way[1]].writes and not film)
    name, made = next(wanted, ways[0])
    shape = model.packing.shapes[name]
    x = _fitted(parts[name].read(file, shape), shape, parts[name].rest)
    view = model.view(made, name)
    if not film:
        return Across(view, {name: x}, parts[made], lambda made: made)

    def whole(drawn: Tensor) -> Tensor:
        return model.packing.pack({name: x.to(drawn).expand(len(drawn), *x.shape), made: drawn})

    return Across(view, {name: x}, model.info.modality, whole)


def _fitted(x: Tensor, shape: Sequence[int], rest: float) -> Tensor:
    """`x` [C, *spatial] cut or filled up with `rest` at the ends."""
    missing = [side - have for side, have in zip(shape[1:], x.shape[1:], strict=True)]
    return F.pad(x, [m for side in reversed(missing) for m in (0, side)], value=rest)
