"""audio-diffusion-pytorch's U-Net, with which audio diffusion is often begun, as a backbone.

Built by its `UNetV0` from a-unet's parts (Schneider et al. 2023, Moûsai): 1-D residual blocks,
modulated by the time, and self-attention where a level has it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class UNetV0(nn.Module):
    """`audio_diffusion_pytorch.UNetV0`, in 1-D, behind the backbone contract, without labels.

    Its noise level, 0 to 1, is t itself. Lengths that its levels do not divide are padded at both
    ends by reflection, as often as it takes, and cropped after: what the network sees beyond an
    edge has the noise level of what lies before it.

    a-unet's modules compute in functions that hold on to the layers that they were built with, so
    a copy of one would go on computing with the layers of the original; and a layer that it uses
    twice stands in its state dict twice, which no safetensors file takes. So torch is shown each
    layer once, in `layers`, under its first path in the network, and a copy, by `copy.deepcopy` or
    by pickle, is a network built anew around copies of them.

    Args:
        in_channels: channels of x.
        out_channels: channels of the output; those of x if None.
        channels: width of each level, each a multiple of 8 (the groups of its norms).
        factors: by how much each level shortens the signal.
        items: residual blocks of each level, down and up alike.
        attentions: self-attentions after each such block; none if None.
        attention_heads: heads of each self-attention.
        attention_features: width of each head.
        modulation_features: width of the time's embedding.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int | None = None,
        channels: Sequence[int] = (32, 64, 128, 128),
        factors: Sequence[int] = (4, 4, 2, 2),
        items: Sequence[int] = (1, 2, 2, 2),
        attentions: Sequence[int] | None = (0, 0, 1, 1),
        attention_heads: int = 4,
        attention_features: int = 32,
        modulation_features: int = 256,
    ) -> None:
        super().__init__()
        if attentions is None:
            attentions = [0] * len(channels)
        levels = {len(channels), len(factors), len(items), len(attentions)}
        if len(levels) > 1 or not channels:
            raise ValueError("UNetV0 needs one entry of each of its lists for each level.")
        if any(width % 8 for width in channels):
            raise ValueError(f"the widths of UNetV0 must be multiples of 8, not {list(channels)}.")
        self.conditions: dict[str, Any] = {}
        self.config: dict[str, Any] = {
            "in_channels": in_channels,
            "out_channels": out_channels,
            "channels": list(channels),
            "factors": list(factors),
            "items": list(items),
            "attentions": list(attentions),
            "attention_heads": attention_heads,
            "attention_features": attention_features,
            "modulation_features": modulation_features,
        }
        self.multiple = math.prod(factors)
        self._network = (self._build(),)  # in a tuple it is out of torch's sight
        self.layers = nn.ModuleDict(_layers(self._network[0]))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """`x` [B, in_channels, L] at `t` [B] in [0, 1] -> [B, out_channels, L], any L.

        In the dtype of `x`, computed in that of the weights or as `torch.autocast` has it.
        """
        length = x.shape[-1]
        left = -length % self.multiple // 2
        dtype = next(self.parameters()).dtype
        (network,) = self._network
        output: Tensor = network(_reflect(x, self.multiple).to(dtype), t.to(dtype))
        return output[..., left : left + length].to(x.dtype)

    def _build(self) -> nn.Module:
        from audio_diffusion_pytorch import UNetV0 as Network  # slow to import, and needed by few

        network: nn.Module = Network(dim=1, **self.config)
        return network

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_network"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        with torch.random.fork_rng(devices=()):  # what it draws now is not kept
            self._network = (self._build(),)
        for name, layer in _layers(self._network[0]).items():
            layer.__dict__ = self.layers[name].__dict__
            self.layers[name] = layer


def _layers(network: nn.Module) -> dict[str, nn.Module]:
    """The outermost modules that have tensors of their own, each once, in the network's order."""
    found: dict[str, nn.Module] = {}
    within: set[nn.Module] = set()
    for path, module in network.named_modules():
        if module not in within and (module._parameters or module._buffers):
            found[path.replace(".", "_")] = module
            within |= set(module.modules())
    return found


def _reflect(x: Tensor, multiple: int) -> Tensor:
    """x [..., L] mirrored at both ends, evenly, up to a multiple of `multiple`."""
    length = x.shape[-1]
    extra = -length % multiple
    if not extra:
        return x
    # Mirrored with its last value doubled, even a signal shorter than its margins has a period.
    place = (torch.arange(length + extra, device=x.device) - extra // 2) % (2 * length)
    return x[..., torch.minimum(place, 2 * length - 1 - place)]
