"""One transformer over the tokens of several modalities, and what each of these has of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from mmdiff.conditions import Condition
from mmdiff.nn.bridge import check_ends, company
from mmdiff.nn.conditioned import Conditioned
from mmdiff.nn.patcher import Patcher
from mmdiff.nn.trunk import Trunk
from mmdiff.nn.unet import Encoded

_EMBEDDING = 256


class Ends(Conditioned):
    """What a modality has of its own in a `SharedTrunk`: its patches become tokens, and again it.

    It has the halves of a `UNet`, and nothing between them: alone it knows next to nothing. The
    output starts at 0.

    Args:
        dims: 1 (x is [B, C, L]), 2 ([B, C, H, W]) or 3 ([B, C, T, H, W]).
        in_channels: channels of x.
        out_channels: channels of what is returned.
        width: of a token.
        patch: positions that a token holds, on all axes or on each.
        conditions: what it can be told, such as {"label": Class(10)}; no tokens.
    """

    def __init__(
        self,
        dims: int,
        in_channels: int,
        out_channels: int,
        width: int = 256,
        patch: int | Sequence[int] = 4,
        conditions: Mapping[str, Condition] | None = None,
    ) -> None:
        super().__init__(conditions, _EMBEDDING)
        sizes = [patch] * dims if isinstance(patch, int) else list(patch)
        self.config: dict[str, Any] = {
            "dims": dims,
            "in_channels": in_channels,
            "out_channels": out_channels,
            "width": width,
            "patch": sizes,
            "conditions": dict(self.conditions),
        }
        self.width, self.features = width, _EMBEDDING  # of what `Encoded` holds
        inside = in_channels + self._aligned()
        self.patcher = Patcher(inside, out_channels, width, sizes, [1.0] * dims)

    def forward(self, x: Tensor, t: Tensor, **told: Tensor) -> Tensor:
        """x [B, in_channels, *spatial] at t [B] -> [B, out_channels, *spatial]."""
        return self.decode(self.encode(x, t, **told))

    def encode(self, x: Tensor, t: Tensor, **told: Tensor) -> Encoded:
        """Its tokens [B, width, *positions], and what it knows of the time and is told."""
        given = self._given(x, told)
        sides = x.shape[2:]
        tokens = self.patcher.tokenise(self._with_signals(x, given)).tokens
        h = rearrange(tokens, "b n c -> b c n").unflatten(2, self.patcher.grid(sides))
        return Encoded(h, self._embed(t, given), (sides,))

    def decode(self, encoded: Encoded) -> Tensor:
        """[B, out_channels, *spatial] of tokens."""
        tokens = rearrange(encoded.h, "b c ... -> b (...) c")
        return self.patcher.untokenise(tokens, encoded.rest[0])


class SharedTrunk(nn.Module):
    """A transformer over one sequence that holds the tokens of all modalities (UniDiffuser).

    Each token follows the time of its own modality, and knows where it is on the axes that it has,
    such as height and width, or seconds. An axis that several modalities have is the same for all,
    so that what is seen at a time is close to what is heard then. Modalities that are absent, at
    t = 1, are not attended to.

    Args:
        axes: for each modality, by name, the distance between neighbouring tokens on each of its
            axes, by the axis's name: {"video": {"time": 0.4, "height": 4, "width": 4},
            "sound": {"time": 0.004}}.
        width: of a token, a multiple of 64, that of all `Ends`.
        depth: blocks, see `mmdiff.nn.trunk`.
    """

    def __init__(
        self, axes: Mapping[str, Mapping[str, float]], width: int = 256, depth: int = 6
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "axes": {name: dict(own) for name, own in axes.items()},
            "width": width,
            "depth": depth,
        }
        scales: dict[str, float] = {}
        for own in axes.values():
            for axis, spacing in own.items():
                scales[axis] = min(spacing, scales.get(axis, math.inf))
        self.axes = tuple(scales)
        self.spacings = {n: tuple(own.get(a) for a in self.axes) for n, own in axes.items()}
        self.trunk = Trunk(width, depth, _EMBEDDING, list(scales.values()))

    def forward(
        self,
        networks: Mapping[str, Any],
        x: Mapping[str, Tensor],
        t: Mapping[str, Tensor],
        told: Mapping[str, Mapping[str, Tensor]],
        apart: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """What each of the `networks`, of `Ends`, makes of its x [B, C, *spatial] at its t [B].

        In the samples `apart` (bool [B]) none sees any other.
        """
        halves = {n: network.encode(x[n], t[n], **told[n]) for n, network in networks.items()}
        tokens = [rearrange(half.h, "b c ... -> b (...) c") for half in halves.values()]
        sizes = [part.shape[1] for part in tokens]
        _, unseen, owner = company([t[n] for n in halves], sizes, apart)
        seen = self.trunk(
            torch.cat(tokens, dim=1),
            torch.cat([self._places(n, half.h) for n, half in halves.items()])[None],
            F.silu(torch.stack([half.embedding for half in halves.values()], dim=1)),
            ~unseen,
            owner,
        ).split(sizes, dim=1)
        return {
            n: network.decode(halves[n]._replace(
                h=rearrange(seen[k], "b n c -> b c n").reshape(halves[n].h.shape)
            ))
            for k, (n, network) in enumerate(networks.items())
        }  # fmt: skip

    def check(self, networks: Mapping[str, Any]) -> None:
        """See `check_ends`."""
        check_ends(networks, dict.fromkeys(self.spacings, self.config["width"]), _EMBEDDING)

    def _places(self, name: str, h: Tensor) -> Tensor:
        """[N, axes]: the centre of each position of h [B, C, *positions]; NaN on others' axes."""
        own = [k for k, spacing in enumerate(self.spacings[name]) if spacing is not None]
        wide = torch.promote_types(h.dtype, torch.float32)
        sides = [torch.arange(n, device=h.device, dtype=wide) + 0.5 for n in h.shape[2:]]
        centres = torch.stack(torch.meshgrid(*sides, indexing="ij"), dim=-1).flatten(0, -2)
        places = centres.new_full((len(centres), len(self.axes)), math.nan)
        places[:, own] = centres * centres.new_tensor([self.spacings[name][k] for k in own])
        return places
