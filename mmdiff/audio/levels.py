"""How loud a sound is where there is something to hear."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

_FRAME = 0.02  # seconds
_ACTIVE = 1e-3  # of the power of the loudest frame, -30 dB


def active_level(x: Tensor, sample_rate: int) -> float:
    """The root mean square of `x` [C, L] over its active frames of 20 ms; 0 of silence.

    Active is what is at most 30 dB below the loudest frame, so that pauses do not count. Of a
    steady sound it is the plain root mean square. (ITU-T P.56 measures speech in this sense, with
    an envelope in place of frames.)
    """
    return level_of([x], sample_rate)


def level_of(parts: Iterable[Tensor], sample_rate: int) -> float:
    """The `active_level` of a sound in parts [C, any length] one after another."""
    size = max(1, round(_FRAME * sample_rate))
    rest, energies = torch.empty(0), []
    for part in parts:
        power = torch.cat((rest.to(part), part.square().mean(0)))
        whole = len(power) // size * size
        energies.append(power[:whole].view(-1, size).sum(1))
        rest = power[whole:]
    energy = torch.cat((*energies, rest.sum()[None]))
    count = torch.full_like(energy, size)
    count[-1] = len(rest)
    power = energy / count.clamp(min=1)
    active = power > _ACTIVE * power.max()
    return float((energy[active].sum() / count[active].sum()).sqrt()) if active.any() else 0.0


def ratio(decibels: float) -> float:
    """Of amplitudes."""
    return float(10 ** (decibels / 20))
