"""A bridge between networks: they exchange tokens half way through."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from einops import rearrange, reduce
from torch import Tensor, nn

from mmdiff.nn.embeddings import TimeEmbedding

_HEAD = 32
_FEW = 16  # channels that a slice is read in
_STEEP = 4.0  # what a slice further in time costs, see `slices`
_LONGEST = 512  # positions: the longest wave that marks one; the shortest has two


class Bridge(nn.Module):
    """Lets the networks of several modalities, each of something else, see each other.

    Each position of each bottleneck is a token; a small transformer over all of them changes the
    bottlenecks, and the vectors by which the second halves are told time and labels. It starts as
    nothing: the networks are exactly what they were. So is, at any time, one whose others are all
    absent, at t = 1: their tokens are not attended to, and nothing is changed.

    Args:
        widths: channels of each network's bottleneck, its attribute `width`, by name.
        width: of the tokens.
        depth: layers of the transformer.
        features: of the networks' embeddings, their attribute `features`.
        slices: of modalities that go on in time together, how many positions along each axis make
            one token, time first: as long for all, and all that there is of the other axes. What
            happens when is then between one pair of tokens. Half of the heads begin with those of
            about the same time: with distance their products fall (ALiBi; Press et al. 2022).
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        width: int = 192,
        depth: int = 4,
        features: int = 256,
        slices: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        whole = 2 * _HEAD if slices else _HEAD
        if width % whole:
            raise ValueError(f"this bridge needs a width that {whole} divides, not {width}.")
        if slices and slices.keys() != widths.keys():
            raise ValueError("slices are of all modalities, or of none.")
        self.config: dict[str, Any] = {
            "widths": dict(widths),
            "width": width,
            "depth": depth,
            "features": features,
            "slices": {name: list(sides) for name, sides in (slices or {}).items()},
        }
        self.sliced = bool(slices)
        self.ends = nn.ModuleDict()
        for name, channels in widths.items():
            how = (channels, width, features)
            self.ends[name] = Slices(*how, slices[name]) if slices else End(*how)
        layer = nn.TransformerEncoderLayer(
            width, width // _HEAD, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.body = nn.TransformerEncoder(
            layer, depth, nn.LayerNorm(width), enable_nested_tensor=False
        )

    def forward(
        self,
        networks: Mapping[str, Any],
        x: Mapping[str, Tensor],
        t: Mapping[str, Tensor],
        told: Mapping[str, Mapping[str, Tensor]],
        apart: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """What each of the `networks` makes of its x [B, C, *spatial] at its t [B].

        In the samples `apart` (bool [B]) none sees any other. A network has two halves,
        `encode(x, t, **told) -> Encoded` and `decode(encoded)`, as `UNet` and `FrontEnd` have.

        Raises:
            ValueError: signals that are not as many slices long as each other.
        """
        halves = {n: network.encode(x[n], t[n], **told[n]) for n, network in networks.items()}
        ends: Mapping[str, Any] = dict(self.ends.items())
        tokens = [ends[n].tokens(half.h, t[n]) for n, half in halves.items()]
        sizes = [part.shape[1] for part in tokens]
        accompanied, unseen, _ = company([t[n] for n in halves], sizes, apart)
        heads = self.body.layers[0].self_attn.num_heads
        mask = unseen.repeat_interleave(heads, dim=0)
        if self.sliced:
            mask = self._near(mask, sizes, heads)
        seen = self.body(torch.cat(tokens, dim=1), mask=mask).split(sizes, dim=1)
        return {
            n: network.decode(ends[n].changed(halves[n], seen[k], accompanied[:, k]))
            for k, (n, network) in enumerate(networks.items())
        }

    def check(self, networks: Mapping[str, Any]) -> None:
        """See `check_ends`."""
        features: int = self.config["features"]
        check_ends(networks, self.config["widths"], features)

    @staticmethod
    def _near(unseen: Tensor, sizes: Sequence[int], heads: int) -> Tensor:
        """What is added to products [B heads, N, N], see `slices`."""
        if len(set(sizes)) > 1:
            raise ValueError(f"a bridge of slices needs equally many of each, not {sizes}.")
        when = torch.arange(sizes[0], device=unseen.device).repeat(len(sizes))
        far = (when[:, None] - when).abs() * _STEEP
        slope = (torch.arange(heads, device=unseen.device) < heads // 2).float()
        bias = -(slope[:, None, None] * far).repeat(len(unseen) // heads, 1, 1)
        return bias.masked_fill(unseen, -math.inf)


class End(nn.Module):
    """Where a bridge meets one network; a token holds `size` numbers, by default a position."""

    def __init__(self, channels: int, width: int, features: int, size: int | None = None) -> None:
        super().__init__()
        size = channels if size is None else size
        self.norm = nn.GroupNorm(1, channels)
        self.enter = nn.Linear(size, width)
        self.name = nn.Parameter(torch.randn(width) * 0.02)
        self.time = TimeEmbedding(width)
        self.leave = nn.Linear(width, size)
        self.embed = nn.Linear(width, features)
        for layer in (self.leave, self.embed):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def tokens(self, h: Tensor, t: Tensor) -> Tensor:
        """h [B, C, *positions] -> [B, N, width], each with its place and the time."""
        held, grid = self.read(self.norm(h))
        tokens = self.enter(held)
        about = self.name + self.time(t)[:, None]
        return tokens + about + places(grid, tokens)

    def changed(self, encoded: Any, tokens: Tensor, where: Tensor) -> Any:
        """`encoded` as the tokens [B, N, width] change it in the samples `where` (bool [B])."""
        h, where = encoded.h, where.to(encoded.h.dtype)
        step = rearrange(self.written(self.leave(tokens)), "b n c -> b c n").reshape(h.shape)
        vector = self.embed(reduce(tokens, "b n c -> b c", "mean"))
        return encoded._replace(
            h=h + step * where.reshape(-1, *(1,) * (h.ndim - 1)),
            embedding=encoded.embedding + vector * where[:, None],
        )

    def read(self, h: Tensor) -> tuple[Tensor, Sequence[int]]:
        """h [B, C, *positions] -> what its tokens hold [B, N, size], and their grid."""
        return rearrange(h, "b c ... -> b (...) c"), h.shape[2:]

    def written(self, held: Tensor) -> Tensor:
        """The way back: [B, N, size] -> [B, positions, C]."""
        return held


class Slices(End):
    """The same with a token for all of a stretch of time, of so many positions along each axis."""

    def __init__(self, channels: int, width: int, features: int, sides: Sequence[int]) -> None:
        self.sides, self.count = tuple(sides), math.prod(sides)
        super().__init__(channels, width, features, _FEW * self.count)
        self.less, self.more = nn.Linear(channels, _FEW), nn.Linear(_FEW, channels, bias=False)

    def read(self, h: Tensor) -> tuple[Tensor, Sequence[int]]:
        """See `End`.

        Raises:
            ValueError: no whole number of slices.
        """
        long, *others = h.shape[-len(self.sides) :]  # a signal has a height of 1 before its length
        whole = h[0, 0].numel() == long * math.prod(others)
        if not whole or long % self.sides[0] or (*others,) != self.sides[1:]:
            raise ValueError(f"{tuple(h.shape[2:])} positions are not slices of {self.sides}.")
        few = self.less(rearrange(h, "b c ... -> b (...) c"))
        held = rearrange(few, "b (n p) c -> b n (p c)", p=self.count)
        return held, held.shape[1:2]

    def written(self, held: Tensor) -> Tensor:
        """See `End`."""
        return self.more(rearrange(held, "b n (p c) -> b (n p) c", p=self.count))


def check_ends(networks: Mapping[str, Any], widths: Mapping[str, int], features: int) -> None:
    """Raises ValueError for networks of other names, or that meet in other widths."""
    if networks.keys() != widths.keys():
        raise ValueError(
            f"the bridge is between {', '.join(widths)}, not {', '.join(networks)}: name both "
            "alike."
        )
    for name, width in widths.items():
        found = tuple(getattr(networks[name], what, None) for what in ("width", "features"))
        if found != (width, features):
            raise ValueError(
                f"{name} meets the bridge with (width, features) {found}, which expects "
                f"{(width, features)}."
            )


def company(
    t: Sequence[Tensor], sizes: Sequence[int], apart: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Who sees whom of modalities at the times `t` [B] that have so many tokens each.

    None sees one that is absent, at t = 1, nor in the samples `apart` (bool [B]) any other.

    Returns:
        whether each sees any other, bool [B, n]; what tokens do not see, bool [B, N, N]; whose
        they are, int64 [N].
    """
    there = torch.stack([one < 1 for one in t], dim=1)
    if apart is not None:
        there = there & ~apart[:, None]
    others = ~torch.eye(len(sizes), dtype=torch.bool, device=there.device)
    owner = torch.cat([torch.full((n,), k, device=there.device) for k, n in enumerate(sizes)])
    unseen = (others & ~there[:, None])[:, owner][:, :, owner]
    return (others & there[:, None]).any(2), unseen, owner


def places(sides: Sequence[int], like: Tensor) -> Tensor:
    """[N, features of `like`]: sinusoids of where each position of a grid lies, axis by axis."""
    features, device = like.shape[-1], like.device
    count = features // (2 * len(sides))
    part = torch.arange(count, device=device) / max(1, count - 1)
    grid = torch.cartesian_prod(*(torch.arange(side, device=device) + 0.5 for side in sides))
    angle = (grid.reshape(-1, len(sides), 1) * math.pi * (2 / _LONGEST) ** part).flatten(1)
    marks = torch.cat((angle.cos(), angle.sin()), dim=1)
    return nn.functional.pad(marks, (0, features - marks.shape[1])).to(like.dtype)
