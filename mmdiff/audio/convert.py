"""Sound from sound, as one uses it: `enhance`, `upsample` and `vocode`, of any length.

    clean = mmdiff.audio.enhance(x, sample_rate)

Each is `stream` for one kind of model: it goes through a tensor or a file in windows, see
`mmdiff.audio.windows`, so that an hour needs no more memory than a minute.

A recording is brought to the level that models are trained at, and what they make of it back to its
own. What then goes beyond 0.95 of full scale is bent to stay within it, and all else left as it is;
a recording that itself goes beyond [-1, 1] is made quieter as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from mmdiff.audio import sound
from mmdiff.audio.levels import ratio
from mmdiff.audio.paired import LEVELS
from mmdiff.audio.recording import Recording, fitted
from mmdiff.audio.windows import Window, cut, factor, grid, mirrored, noise_at, reach, windows
from mmdiff.checkpoints import load
from mmdiff.diffusion import Diffusion
from mmdiff.errors import UserError
from mmdiff.nn import Magnitudes
from mmdiff.sampling import Sampling, sample

LEVEL = ratio(sum(LEVELS) / 2)

_MARGINS = 16  # of a window's length: an eighth of the work is done twice
_BENT = 0.95  # of full scale

# An enhancer works on copies that begin a part of a hop apart, and their mean is taken: what
# depends on where frames begin is no voice (cycle spinning; Coifman & Donoho 1995). Phases that are
# drawn anew would differ from copy to copy.
_SPINS = {"enhance": 4}

_KINDS = {"enhance": "enhancer", "upsample": "upsampler", "vocode": "vocoder"}

Model = Diffusion | str | Path

# What a model is told [B, ...] of a window and of what lies around it, so many samples before it.
Told = tuple[int, dict[str, Tensor]]
# A window, what the model is told, and what there is of it already [B, C, L].
Asked = tuple[Window, list[Told], Tensor | None]


class Stream(NamedTuple):
    """A sound of [channels, frames] that comes in parts [channels, any length]."""

    parts: Iterator[Tensor]
    channels: int
    frames: int
    sample_rate: int

    def whole(self) -> Tensor:
        """[channels, frames]."""
        return torch.cat(list(self.parts), 1)


def enhance(
    x: Tensor,
    sample_rate: int,
    model: Model = "enhancer",
    strength: float = 1.0,
    steps: int | None = None,
    seed: int = 0,
) -> Tensor:
    """`x` [C, L] in [-1, 1] without noise and echo: [C, L] at the same rate.

    Nothing is left above half of the model's rate.

    Args:
        x: any number of channels, each of which is worked on by itself.
        sample_rate: in Hz.
        model: a path, the name of a bundled one, or what `mmdiff.load` gave.
        strength: how much of what the model makes is mixed in, from 0 to 1.
        steps: of the solver; what the model recommends if None.
        seed: of the initial noise.

    Raises:
        ValueError: an argument that is no sound, or does not fit.
        UserError: a model of another kind.
    """
    return stream("enhance", Recording.of(x, sample_rate), model, strength, steps, seed).whole()


def upsample(
    x: Tensor,
    sample_rate: int,
    model: Model = "upsampler",
    strength: float = 1.0,
    steps: int | None = None,
    seed: int = 0,
) -> Tensor:
    """`x` [C, L] in [-1, 1] with the highs that it lacks: [C, L'] at the model's rate.

    Of x the model takes what lies below half of the rate that it was trained to begin from.
    Arguments are those of `enhance`.
    """
    return stream("upsample", Recording.of(x, sample_rate), model, strength, steps, seed).whole()


def vocode(
    x: Tensor,
    sample_rate: int | None = None,
    model: Model = "vocoder",
    steps: int | None = None,
    seed: int = 0,
) -> Tensor:
    """The sound of log-mel frames: [C, L] in [-1, 1] at the model's rate.

    Args:
        x: with a sample rate, a sound [C, L], of which the frames are taken; without one, frames
            [bands, N] or [C, bands, N], as the model's `info.task.mel.of` gives them.
        sample_rate: in Hz.

    Other arguments are those of `enhance`.
    """
    source = x if sample_rate is None else Recording.of(x, sample_rate)
    return stream("vocode", source, model, 1.0, steps, seed).whole()


def load_for(task: str, model: Model, device: str | torch.device = "cpu") -> Diffusion:
    """The model, once it is known to be for `task`.

    Raises:
        UserError: it is not.
    """
    loaded = model if isinstance(model, Diffusion) else load(model, device)
    does = getattr(loaded.info.task, "name", None)
    if does != task:
        name = "this model" if isinstance(model, Diffusion) else model
        what = f"to {does}" if does else f"for {loaded.info.dataset or 'nothing of the kind'}"
        raise UserError(f"{name} is no {_KINDS[task]}: it was trained {what}; choose another.")
    return loaded


def settings(model: Diffusion, steps: int | None = None) -> Sampling:
    """How `stream` samples: as the model recommends, but in `steps`.

    Raises:
        ValueError: steps that cannot be, or a solver that adds noise, which windows that overlap
            would not agree on.
    """
    sampling: Sampling = model.info.sampling
    sampling = replace(sampling, steps=sampling.steps if steps is None else steps)
    if sampling.method().plan(model.schedule).random:
        raise ValueError(
            f"{sampling.solver} adds noise, which windows would not agree on: use a model that "
            "recommends ddim, heun or dpmpp2m."
        )
    return sampling


def stream(
    task: str,
    source: Recording | Tensor,
    model: Model,
    strength: float = 1.0,
    steps: int | None = None,
    seed: int = 0,
    margins: int = _MARGINS,
) -> Stream:
    """What a model for `task` makes of a recording, or of mel frames [(C,) bands, N], in parts.

    Other arguments are those of `enhance`; a window is as long as so many of its `margins`.
    """
    model = load_for(task, model)
    if isinstance(model.codec, Magnitudes):
        # A search for phases makes a million times as much of what rounding leaves: windows would
        # not agree.
        model = deepcopy(model).double()
    if not 0 <= strength <= 1:
        raise ValueError(f"strength must lie in [0, 1], not {strength}.")
    sampling = settings(model, steps)
    rate = model.info.modality.sample_rate
    unit = grid(model)
    seen = sampling.method().plan(model.schedule).calls * reach(model)
    margin = _whole(seen + getattr(model.codec, "reach", 0), unit) + unit
    size = margins * margin
    if isinstance(source, Tensor):
        mel = _batched(source, model)
        frames, out, loud = mel.shape[-1] * model.info.task.mel.hop, rate, 1.0
        channels = len(mel) * model.info.shape[0]
        told = _told_frames(model, mel, windows(frames, size, margin, unit))
    else:
        out = source.sample_rate if task == "enhance" else rate
        frames, channels = source.length(out), source.channels
        loud = source.level / LEVEL / max(1.0, source.peak)
        spins = min(_SPINS.get(task, 1), factor(model))
        leads = [k * factor(model) // spins for k in range(spins)]
        told = _told_sound(model, source, windows(source.length(rate), size, margin, unit), leads)
    made = sound.resampled(_drawn(model, told, sampling, strength, seed), rate, out)
    parts = fitted((_bent(part[:channels] * loud) for part in made), frames)
    return Stream(parts, channels, frames, out)


def _told_sound(
    model: Diffusion, source: Recording, into: Iterable[Window], leads: Sequence[int]
) -> Iterator[Asked]:
    """At the level that models are trained at; as many channels at once as the model makes."""
    task, scale, unit = model.info.task, model.info.modality.scale, grid(model)

    def told(groups: Tensor, lead: int) -> dict[str, Tensor]:
        wider = F.pad(groups, (lead, unit - lead), "reflect") if lead else groups
        each = [task.told(group, scale) for group in wider]
        return {name: torch.stack([one[name] for one in each]) for name in each[0]}

    each = model.info.shape[0]
    gain = LEVEL / source.level if source.level else 1.0
    for window, x in cut(source.at(task.sample_rate), into):
        x = sound.mix(x * gain, _whole(len(x), each))
        groups = rearrange(x, "(b c) l -> b c l", c=each)
        yield window, [(lead, told(groups, lead)) for lead in leads], groups


def _told_frames(model: Diffusion, mel: Tensor, into: Iterable[Window]) -> Iterator[Asked]:
    hop = model.info.task.mel.hop
    for window in into:
        frames = mel[..., window.start // hop : window.stop // hop].float()
        yield window, [(0, {"mel": mirrored(frames, (window.stop - window.start) // hop)})], None


def _drawn(
    model: Diffusion, asked: Iterable[Asked], sampling: Sampling, strength: float, seed: int
) -> Iterator[Tensor]:
    """What the model makes of each window, [B C, what is kept], in [-1, 1] about."""
    home, hop = next(model.parameters()), factor(model)
    how, unit = sampling.arguments(seed), grid(model)
    for window, asked_of, given in asked:
        size, made = window.stop - window.start, []
        for lead, values in asked_of:
            told: dict[str, Any] = {name: value.to(home) for name, value in values.items()}
            count = len(next(iter(told.values())))
            shape = (count, model.info.shape[0], size + (unit if lead else 0))
            _, *code = model.state_shape(shape, told)
            noise = noise_at(seed, count, code, window.start // hop, home.device)
            x = sample(model, shape, noise=noise.to(home), **how, **told)
            made.append(x[..., lead : lead + size].to("cpu", torch.float32))
        x = torch.stack(made).mean(0) / model.info.modality.scale
        x = x if given is None else torch.lerp(given, x, strength)
        yield rearrange(window.kept(x), "b c l -> (b c) l")


def _batched(mel: Tensor, model: Diffusion) -> Tensor:
    """[bands, N] or [B, bands, N] -> [B, bands, N], checked."""
    bands = model.conditions["mel"].channels  # type: ignore[attr-defined]
    batch = mel[None] if mel.ndim == 2 else mel
    if batch.ndim != 3 or batch.shape[1] != bands or not batch.numel():
        raise ValueError(
            f"this model is told mel frames [{bands}, N], not {list(mel.shape)}: see its "
            "info.task.mel."
        )
    if not (mel.is_floating_point() and mel.isfinite().all()):
        raise ValueError("mel frames are floating-point numbers, none of them NaN or infinite.")
    return batch


def _bent(x: Tensor) -> Tensor:
    """What is beyond `_BENT` comes as close to 1 as it likes, and no further."""
    room = 1 - _BENT
    return torch.where(
        x.abs() > _BENT, (_BENT + room * ((x.abs() - _BENT) / room).tanh()).copysign(x), x
    )


def _whole(value: int, unit: int) -> int:
    """`value` or more, in whole units."""
    return -(-value // unit) * unit
