"""What `mmdiff restore` is asked for, as tasks of the library, and the files that come of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdiff.cli.outputs import Destination
from mmdiff.diffusion import Diffusion
from mmdiff.errors import UserError
from mmdiff.joint import Joint
from mmdiff.modality import Modality
from mmdiff.raster import save_png
from mmdiff.restore import tasks


class Repair(NamedTuple):
    """A task that only waits for `count`, `seed` and the rest of what all of them take.

    `damaged` [C, *spatial] is of the shape of its answers, to be shown beside them; `how` is what
    files say of it.
    """

    damaged: Tensor
    draw: Callable[..., Tensor]
    how: str = ""


def repair_of(name: str, value: Any, model: Diffusion, file: Path, checkpoint: str) -> Repair:
    """The task of an option `name` with its `value`, for the damaged `file`.

    Raises:
        UserError: what is not done to such files; files that cannot be read, or do not fit.
        ValueError: a value that does not fit.
    """
    modality = model.info.modality
    if isinstance(model, Joint):
        raise UserError(
            f"{checkpoint} makes {modality.title}, of which a file is one part: for the others use "
            f"mmdiff sample {checkpoint} --given {file} --out FILE."
        )
    if name not in modality.repairs:
        known = ", ".join(f"--{one}" for one in modality.repairs)
        raise UserError(f"--{name} is not for {modality.title}: use one of {known}.")
    return _REPAIRS[name](model, file, value)


def write(
    modality: Modality,
    damaged: Tensor,
    x: Tensor,
    destination: Destination,
    paths: Sequence[Path],
    note: Mapping[str, str],
) -> None:
    """Answers `x` [N, C, *spatial]: a file each in a folder, or one of all.

    A .png is what `overview` shows, but for a single picture.
    """
    if not destination.suffix:
        for path, one in zip(paths, x, strict=True):
            modality.write(one, path, note)
    elif destination.suffix in modality.writes and (len(x) == 1 or destination.suffix != ".png"):
        modality.write(x[0] if len(x) == 1 else x, destination.path, note)
    else:
        save_png(modality.show(*overview(modality, damaged, x)), destination.path, note)


def overview(
    modality: Modality, damaged: Tensor, x: Tensor
) -> tuple[list[tuple[str, Tensor]], list[str]]:
    """A row of the damage, the answers, their mean and their deviation; and captions."""
    if len(x) == 1:
        return [("", torch.stack((damaged, x[0])))], ["given", "restored"]
    low, high = modality.data_range
    rest = modality.rest
    deviation = rest + x.std(0, correction=0) * (high - rest) / ((high - low) / 2)
    shown = torch.stack((damaged, *x, x.mean(0), deviation))
    answers = [str(index + 1) for index in range(len(x))]
    return [("", shown)], ["given", *answers, "mean", "deviation"]


def _read(model: Diffusion, file: Path, sides: Sequence[int] = (), channels: int = 0) -> Tensor:
    """`file` in the units of the model; of `sides` and `channels` (the model's if not given)."""
    shape = (channels or model.info.shape[0], *(sides or model.info.shape[1:]))
    x: Tensor = model.info.modality.read(file, shape)
    return x


def _mask(model: Diffusion, file: Path, picture: Path) -> Repair:
    y, white = _read(model, file), _read(model, picture)
    mask = (white > sum(model.info.modality.data_range) / 2).any(0)
    if any(side not in (1, whole) for side, whole in zip(mask.shape, y.shape[1:], strict=True)):
        raise UserError(f"{picture} and {file} differ in length: use one picture for all of it.")
    return _filled(model, y, mask, picture.name)


def _gap(model: Diffusion, file: Path, spans: list[str]) -> Repair:
    y, modality = _read(model, file), model.info.modality
    length, rate = y.shape[modality.time], modality.rate
    mask = torch.zeros(length, *(1 for _ in y.shape[modality.time + 1 :]), dtype=torch.bool)
    for span in spans:
        try:
            begin, end = (round(float(second) * rate) for second in span.split(":"))
        except (ValueError, OverflowError):
            begin = end = 0
        if not 0 <= begin < end <= length:
            raise UserError(
                f"--gap {span} is no part of {file}: use FROM:TO, within 0:{length / rate:g} "
                "seconds."
            )
        mask[begin:end] = True
    return _filled(model, y, mask, ", ".join(spans))


def _filled(model: Diffusion, y: Tensor, mask: Tensor, how: str) -> Repair:
    return Repair(y.masked_fill(mask, 0.0), partial(tasks.fill, model, y, mask), how)


def _extend(model: Diffusion, file: Path, border: int) -> Repair:
    sides = [side - 2 * border for side in model.info.shape[1:]]
    if min(sides) < 1:
        raise UserError(f"--extend {border} leaves nothing to be known: use a smaller one.")
    y = _read(model, file, sides)
    damaged = F.pad(y, (border, border) * len(sides))
    return Repair(damaged, partial(tasks.extend, model, y, border), str(border))


def _continue(model: Diffusion, file: Path, seconds: float) -> Repair:
    y = _read(model, file)
    damaged = tasks.lengthened(model, y, seconds)
    return Repair(damaged, partial(tasks.continue_to, model, y, seconds), f"{seconds:g} s")


def _enlarge(model: Diffusion, file: Path, factor: int) -> Repair:
    sides = model.info.shape[1:]
    if any(side % factor for side in sides):
        raise UserError(
            f"--enlarge {factor} does not divide the sides of what this model makes, {sides}: use "
            "another factor."
        )
    y = _read(model, file, [side // factor for side in sides])
    damaged = F.interpolate(y[None], scale_factor=factor)[0]
    return Repair(damaged, partial(tasks.enlarge, model, y, factor), str(factor))


def _room(model: Diffusion, file: Path, response: Path) -> Repair:
    y, heard = _read(model, file), _read(model, response, channels=1)
    if not heard.any():
        raise UserError(f"{response} is no impulse response: give a sound that is not silent.")
    return Repair(y, partial(tasks.unroom, model, y, heard[0] / heard.abs().max()), response.name)


def _colour(model: Diffusion, file: Path, _: Any) -> Repair:
    y = _read(model, file, channels=1)
    return Repair(y.expand(model.info.shape[0], *y.shape[1:]), partial(tasks.colour, model, y))


def _denoise(model: Diffusion, file: Path, deviation: float) -> Repair:
    y = _read(model, file)
    low, high = model.info.modality.data_range
    draw = partial(tasks.denoise, model, y, deviation * (high - low) / 2)
    return Repair(y, draw, f"{deviation:g}")


def _plain(task: Callable[..., Tensor], model: Diffusion, file: Path, value: Any) -> Repair:
    """A task that takes a file as it is, and a number or nothing."""
    y = _read(model, file)
    value = () if value is True else (value,)
    return Repair(y, partial(task, model, y, *value), " ".join(f"{v:g}" for v in value))


_REPAIRS: dict[str, Callable[..., Repair]] = {
    "mask": _mask,
    "gap": _gap,
    "extend": _extend,
    "continue": _continue,
    "enlarge": _enlarge,
    "band": partial(_plain, tasks.widen),
    "deblur": partial(_plain, tasks.deblur),
    "room": _room,
    "clipped": partial(_plain, tasks.declip),
    "denoise": _denoise,
    "colour": _colour,
    "vary": partial(_plain, tasks.vary),
}
