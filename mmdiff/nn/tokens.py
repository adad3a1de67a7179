"""Attention from the positions of a signal to tokens that a network is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

_HEAD = 32


class TokenEmbedding(nn.Module):
    """All tokens that a network is told, of any kinds -> ([B, 1 + N, features], which exist).

    The first token is learned and always there: where nothing is told, it alone is attended to.
    """

    def __init__(self, kinds: Mapping[str, Any], features: int) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(
            {name: nn.Linear(kind.size, features) for name, kind in kinds.items()}
        )
        self.nothing = nn.Parameter(torch.zeros(1, 1, features))

    def forward(self, told: Mapping[str, Tensor], batch: int) -> tuple[Tensor, Tensor]:
        """`told` [B, N, size] by name, NaN where a token does not exist."""
        tokens = [self.nothing.expand(batch, -1, -1)]
        exist = [self.nothing.new_ones(batch, 1, dtype=torch.bool)]
        for name, layer in self.layers.items():
            if name in told:
                tokens.append(layer(told[name].nan_to_num(0.0).to(self.nothing.dtype)))
                exist.append(told[name].isnan().any(2).logical_not())
        return torch.cat(tokens, dim=1), torch.cat(exist, dim=1)


class CrossAttention(nn.Module):
    """Each position attends to all tokens, a head for 32 channels; it starts as the identity."""

    def __init__(self, channels: int, features: int) -> None:
        super().__init__()
        self.heads = max(1, channels // _HEAD)
        if channels % self.heads:
            raise ValueError(
                f"{self.heads} heads do not divide {channels} channels: use a multiple of {_HEAD}."
            )
        self.norm = nn.GroupNorm(1, channels)
        self.query = nn.Linear(channels, channels)
        self.key_value = nn.Linear(features, 2 * channels)
        self.out = nn.Linear(channels, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, tokens: Tensor, exist: Tensor) -> Tensor:
        """x [B, C, *spatial], tokens [B, N, features], exist bool [B, N] -> the shape of x."""
        positions = self.query(rearrange(self.norm(x), "b c ... -> b (...) c"))
        query = rearrange(positions, "b n (h d) -> b h n d", h=self.heads)
        key, value = rearrange(
            self.key_value(tokens), "b n (k h d) -> k b h n d", k=2, h=self.heads
        )
        h = F.scaled_dot_product_attention(query, key, value, exist[:, None, None])
        h = self.out(rearrange(h, "b h n d -> b n (h d)"))
        return x + rearrange(h, "b n c -> b c n").reshape(x.shape)
