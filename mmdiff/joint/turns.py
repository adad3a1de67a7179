"""Pairs drawn part after part: p(a) p(b | a), where p(a) is the mean of p(a | class)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from mmdiff.data.turns import take_turns
from mmdiff.sampling import OnStep, Sampling, sample
from mmdiff.told import tell

if TYPE_CHECKING:
    from mmdiff.joint.model import Joint


def in_turn(
    model: Joint,
    count: int,
    sampling: Sampling,
    seed: int = 0,
    *,
    batch: int,
    on_step: OnStep | None = None,
    **told: Any,
) -> Iterator[Tensor]:
    """Packed signals [B, 1, N], `batch` at a time, whose parts are drawn in the order of `turns`.

    The first part is drawn as its own model draws best, told classes, which take turns where they
    are not given. Each other part is told nothing but all parts before it. Without guidance, and if
    the data have as much of each class, that has the law of drawing all at once; and it asks of the
    first part nothing that it has not learned.

    Args:
        model: one that has `turns`, in eval mode.
        count: signals in all.
        sampling: its solver and steps serve for each turn, its guidance for all but the first; what
            a part's own samples are clipped to and how they are spun stays.
        seed: any integer.
        batch: signals at a time.
        on_step: as of `sample`, with packed states; what is still to be drawn is 0 there.
        told: conditions of the first part by name.
    """
    opens, *_ = model.turns
    kinds = model.parts[opens].conditions
    free = {name: kind.choices for name, kind in kinds.items() if kind.choices}
    values = tell(kinds, count, {**take_turns(free, count), **told}).values
    for first in range(0, count, batch):
        size = min(batch, count - first)
        some: dict[str, Any] = {n: value[first : first + size] for n, value in values.items()}
        drawn: dict[str, Any] = {}
        for turn, name in enumerate(model.turns):
            how, given = model.sampling_of(name, sampling), drawn or some
            if not drawn:
                own = model.backbone.infos[name].sampling
                scale = own.guidance if given else None
                how = replace(how, guidance=scale, interval=own.interval)
            drawn[name] = sample(
                model.view(name, tuple(drawn)), (size, *model.packing.shapes[name]), first=first,
                on_step=on_step and _packed(model, on_step, name, drawn, turn * sampling.steps),
                **how.arguments(seed + (turn << 32)), **given,
            )  # fmt: skip
        yield model.packing.pack(drawn)


def _packed(
    model: Joint, on_step: OnStep, name: str, drawn: Mapping[str, Tensor], before: int
) -> OnStep:
    drawn = dict(drawn)

    def packed(i: int, t: float, x: Tensor, x0: Tensor) -> None:
        states = []
        for state in (x, x0):
            parts = {
                other: drawn.get(other, state.new_zeros(len(state), *shape))
                for other, shape in model.packing.shapes.items()
            }
            states.append(model.packing.pack({**parts, name: state}))
        on_step(before + i, t, *states)

    return packed
