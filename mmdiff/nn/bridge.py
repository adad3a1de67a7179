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
_LONGEST = 512  # positions, twice the longest wave that marks one


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
    """

    def __init__(
        self, widths: Mapping[str, int], width: int = 192, depth: int = 4, features: int = 256
    ) -> None:
        super().__init__()
        if width % _HEAD:
            raise ValueError(f"a bridge needs a width that {_HEAD} divides, not {width}.")
        self.config: dict[str, Any] = {
            "widths": dict(widths),
            "width": width,
            "depth": depth,
            "features": features,
        }
        self.ends = nn.ModuleDict({name: End(n, width, features) for name, n in widths.items()})
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
        """
        halves = {n: network.encode(x[n], t[n], **told[n]) for n, network in networks.items()}
        ends: Mapping[str, Any] = dict(self.ends.items())
        tokens = [ends[n].tokens(half.h, t[n]) for n, half in halves.items()]
        sizes = [part.shape[1] for part in tokens]
        accompanied, unseen, _ = company([t[n] for n in halves], sizes, apart)
        mask = unseen.repeat_interleave(self.body.layers[0].self_attn.num_heads, dim=0)
        seen = self.body(torch.cat(tokens, dim=1), mask=mask).split(sizes, dim=1)
        return {
            n: network.decode(ends[n].changed(halves[n], seen[k], accompanied[:, k]))
            for k, (n, network) in enumerate(networks.items())
        }


class End(nn.Module):
    """Where a bridge meets one network."""

    def __init__(self, channels: int, width: int, features: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, channels)
        self.enter = nn.Linear(channels, width)
        self.name = nn.Parameter(torch.randn(width) * 0.02)
        self.time = TimeEmbedding(width)
        self.leave = nn.Linear(width, channels)
        self.embed = nn.Linear(width, features)
        for layer in (self.leave, self.embed):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def tokens(self, h: Tensor, t: Tensor) -> Tensor:
        """h [B, C, *positions] -> [B, N, width], each with its place and the time."""
        tokens = self.enter(rearrange(self.norm(h), "b c ... -> b (...) c"))
        about = self.name + self.time(t)[:, None]
        return tokens + about + places(h.shape[2:], tokens)

    def changed(self, encoded: Any, tokens: Tensor, where: Tensor) -> Any:
        """`encoded` as the tokens [B, N, width] change it in the samples `where` (bool [B])."""
        h, where = encoded.h, where.to(encoded.h.dtype)
        step = rearrange(self.leave(tokens), "b n c -> b c n").reshape(h.shape)
        vector = self.embed(reduce(tokens, "b n c -> b c", "mean"))
        return encoded._replace(
            h=h + step * where.reshape(-1, *(1,) * (h.ndim - 1)),
            embedding=encoded.embedding + vector * where[:, None],
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
