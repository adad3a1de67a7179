"""The image networks that the benchmarks compare, all behind the backbone contract.

The peers are as their packages build them: three levels of 28, 14 and 7 pixels, widths that rise
towards the coarse levels, and the embedding and block counts that bring them to our parameter
count. Labels reach them by the ways that they have for labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import mmdiff
from mmdiff import Class
from mmdiff.data.turns import take_turns
from mmdiff.image import presets
from mmdiff.image.diffunet import DiffUNet
from mmdiff.nn import UNet

SHAPE = (1, 28, 28)
LABELS = Class(10)
DIGITS: Any = SimpleNamespace(shape=SHAPE, conditions={"label": LABELS})  # what recipes ask of data


@mmdiff.register
class ADMUNet(nn.Module):
    """`deepinv.models.ADMUNet`'s raw network (Dhariwal & Nichol 2021), without its EDM scaling.

    Args:
        multipliers: of the width 32 (its group norms have 32 groups), for each level.
        embedding: width of the embedding, in units of 32.
    """

    conditions = DIGITS.conditions

    def __init__(self, multipliers: Sequence[int], embedding: int) -> None:
        super().__init__()
        from deepinv.models import ADMUNet as Network  # slow to import

        self.config: dict[str, Any] = {"multipliers": list(multipliers), "embedding": embedding}
        self.network = Network(
            img_resolution=28, in_channels=1, out_channels=1, label_dim=LABELS.count,
            model_channels=32, channel_mult=multipliers, channel_mult_emb=embedding, num_blocks=1,
            attn_resolutions=(7,), dropout=0.0, pretrained=None,
        )  # fmt: skip

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        """x [B, 1, 28, 28] at `t` [B] in [0, 1] -> the same shape."""
        if label is None:
            label = torch.full((len(x),), -1, device=x.device)
        # The network has no class "none": no class at all is a vector of zeros.
        one_hot = F.one_hot(label.clamp(min=0), LABELS.count) * (label >= 0)[:, None]
        return self.network.forward_unet(x, 1000 * t, class_labels=one_hot.to(x.dtype))


@mmdiff.register
class AUNet(nn.Module):
    """a-unet's 2-D U-Net as audio-diffusion-pytorch assembles it (`UNetV0`), without attention.

    Args:
        widths: of each level.
        items: residual blocks of each level, down and up alike.
        features: width of the embedding.
    """

    conditions = DIGITS.conditions

    def __init__(self, widths: Sequence[int], items: int, features: int) -> None:
        super().__init__()
        from audio_diffusion_pytorch import UNetV0  # slow to import

        self.config: dict[str, Any] = {"widths": list(widths), "items": items, "features": features}
        network = UNetV0(
            dim=2, in_channels=1, channels=widths, factors=[1] + [2] * (len(widths) - 1),
            items=[items] * len(widths), modulation_features=features,
        )  # fmt: skip
        self.table = nn.Embedding(LABELS.count + 1, features)
        # The package registers modules under several names at once, which no checkpoint can hold.
        # In a tuple they are out of torch's sight, and each weight is registered once.
        self.weights = nn.ParameterList(network.parameters())
        self._network = (network,)

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        """x [B, 1, H, W], sides that the levels divide, at `t` [B] in [0, 1] -> the same."""
        if label is None:
            label = torch.full((len(x),), -1, device=x.device)
        features = self.table(torch.where(label < 0, LABELS.count, label))
        output: Tensor = self._network[0](x, time=t, features=features)
        return output


def fast_unet(**changes: Any) -> nn.Module:
    """Ours, as the recipe `fast` builds it for digits, with other arguments."""
    model: Any = presets.fast(DIGITS).model
    return UNet(**model.backbone.config | changes)


OURS = "mmdiff UNet"
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    OURS: fast_unet,
    "deepinv ADMUNet": lambda: ADMUNet((1, 2, 3), 8),
    "a-unet": lambda: AUNet((32, 64, 128), 2, 304),
    "mmdiff UNet, no patches": lambda: fast_unet(patch=1),  # four times the work
    "deepinv ADMUNet, small": lambda: ADMUNet((1, 2, 2), 4),
    "a-unet, small": lambda: AUNet((32, 64, 64), 1, 160),
    "deepinv DiffUNet": DiffUNet,
}
EQUAL = tuple(NETWORKS)[:3]  # the ones with about the same number of parameters


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def classes(model: Any, batch: int, device: str) -> dict[str, Any]:
    """int64 [batch] for each condition that a model is told: its classes in turn."""
    told = take_turns({name: kind.choices for name, kind in model.conditions.items()}, batch)
    return {name: value.to(device) for name, value in told.items()}
