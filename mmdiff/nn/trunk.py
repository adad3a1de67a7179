"""Transformer blocks over tokens with places, of one modality or of several in one sequence."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from mmdiff.nn.layers import attend
from mmdiff.nn.rotary import Rotary, turn

_HEAD = 64
_EPSILON = 1e-6
_MULTIPLE = 32  # divides the width inside of the feed-forward layers


class Modulation(nn.Module):
    """An embedding -> `parts` vectors for each token that follows it; it starts at 0."""

    def __init__(self, features: int, width: int, parts: int) -> None:
        super().__init__()
        self.parts = parts
        self.layer = _zero(nn.Linear(features, parts * width))

    def forward(self, embedding: Tensor, follows: Tensor | None) -> tuple[Tensor, ...]:
        """[B, S, features] -> `parts` times [B, 1, width], or [B, N, width]; see `Trunk`."""
        vectors = self.layer(embedding)
        return (vectors if follows is None else vectors[:, follows]).chunk(self.parts, dim=2)


class Block(nn.Module):
    """Self-attention, then a feed-forward layer, each after an adaptive norm and behind a gate.

    adaLN-zero (Peebles & Xie 2023) with root-mean-square norms (Zhang & Sennrich 2019), normalised
    queries and keys (Dehghani et al. 2023) and SwiGLU (Shazeer 2020). It starts as the identity.
    """

    def __init__(self, width: int, features: int) -> None:
        super().__init__()
        self.modulation = Modulation(features, width, 6)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.gains = nn.Parameter(torch.ones(2, 1, _HEAD))  # of queries and keys
        self.out = nn.Linear(width, width, bias=False)
        inside = -(-8 * width // (3 * _MULTIPLE)) * _MULTIPLE  # costs what 4 width without gates do
        self.wide = nn.Linear(width, 2 * inside, bias=False)
        self.narrow = nn.Linear(inside, width, bias=False)

    def forward(
        self,
        x: Tensor,
        angles: tuple[Tensor, Tensor],
        mask: Tensor | None,
        embedding: Tensor,
        follows: Tensor | None,
    ) -> Tensor:
        scale, shift, gate, scale_2, shift_2, gate_2 = self.modulation(embedding, follows)
        x = x + gate * self._attention(_norm(x) * (1 + scale) + shift, angles, mask)
        linear, swish = self.wide(_norm(x) * (1 + scale_2) + shift_2).chunk(2, dim=2)
        return x + gate_2 * self.narrow(F.silu(swish) * linear)

    def _attention(self, x: Tensor, angles: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        mixed = self.qkv(x).unflatten(2, (3, -1, _HEAD))  # [B, N, 3, heads, head]
        cos, sin = (part[:, :, None] for part in angles)
        both = turn(_norm(mixed[:, :, :2].to(cos.dtype)) * self.gains, cos, sin)
        q, k = rearrange(both, "b n two h d -> two b h n d")
        v = rearrange(mixed[:, :, 2], "b n h d -> b h n d")
        return self.out(rearrange(attend(q, k, v, mask), "b h n d -> b n (h d)"))


class Trunk(nn.Module):
    """Blocks over one sequence of tokens, whatever these stand for.

    Args:
        width: of a token, a multiple of 64.
        depth: blocks.
        features: of an embedding.
        scales: for each axis of the coordinates, see `Rotary`.

    Raises:
        ValueError: a width or a depth that cannot be.
    """

    def __init__(self, width: int, depth: int, features: int, scales: Sequence[float]) -> None:
        super().__init__()
        if width < 1 or width % _HEAD or depth < 1:
            raise ValueError(
                f"a trunk needs a width that {_HEAD} divides and at least one block, "
                f"not {width} and {depth}."
            )
        self.rotary = Rotary(_HEAD, scales)
        self.blocks = nn.ModuleList(Block(width, features) for _ in range(depth))
        self.modulation = Modulation(features, width, 2)

    def forward(
        self,
        tokens: Tensor,
        places: Tensor,
        embedding: Tensor,
        exist: Tensor | None = None,
        follows: Tensor | None = None,
    ) -> Tensor:
        """Tokens [B, N, width] -> [B, N, width], normalised, for linear layers to read.

        Args:
            tokens: of all modalities, one after the other.
            places: their coordinates [B, N, axes], or [1, N, axes]; NaN where one has none.
            embedding: [B, S, features], such as each modality's own time.
            exist: bool [B, N]; the others fill a batch up, and nothing attends to them. Or
                [B, N, N], the tokens that each attends to. All if None.
            follows: int64 [N], the embedding that each token follows; the only one if None.
        """
        # Sums over many blocks keep float32 under autocast.
        x = tokens.to(torch.promote_types(tokens.dtype, torch.float32))
        angles = self.rotary.angles(places)
        mask = exist
        if mask is not None:
            mask = mask[:, None] if mask.ndim == 3 else mask[:, None, None]
        for block in self.blocks:
            x = block(x, angles, mask, embedding, follows)
        scale, shift = self.modulation(embedding, follows)
        return _norm(x) * (1 + scale) + shift


def _norm(x: Tensor) -> Tensor:
    return F.rms_norm(x, x.shape[-1:], eps=_EPSILON)


def _zero(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
