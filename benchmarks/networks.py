"""The image networks that the benchmarks compare, all behind the backbone contract.

The peers are as their packages build them: three levels of 28, 14 and 7 pixels, widths that rise
towards the coarse levels, and the embedding and block counts that bring them to our parameter
count. Labels reach them by the ways that they have for labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmdiff.image.datasets import Images
from mmdiff.image.diffunet import DiffUNet
from mmdiff.image.folders import Decoded
from mmdiff.nn import UNet
from mmdiff.training.checkpoints import BACKBONES
from mmdiff.training.images import PRESETS

SHAPE = (1, 28, 28)
LABELS = tuple("0123456789")


class ADMUNet(nn.Module):
    """`deepinv.models.ADMUNet`'s raw network (Dhariwal & Nichol 2021), without its EDM scaling.

    Args:
        side: of the square images.
        channels: of the images.
        multipliers: of the width 32, for each level.
        attention: sides of the levels with self-attention.
        embedding: width of the embedding, in units of 32.
        conditions: {"label": classes}.
    """

    def __init__(
        self,
        side: int,
        channels: int,
        multipliers: Sequence[int],
        attention: Sequence[int],
        embedding: int,
        conditions: Mapping[str, int],
    ) -> None:
        super().__init__()
        from deepinv.models import ADMUNet as Network  # slow to import

        self.config: dict[str, Any] = {
            "side": side,
            "channels": channels,
            "multipliers": list(multipliers),
            "attention": list(attention),
            "embedding": embedding,
            "conditions": dict(conditions),
        }
        self.labels = conditions["label"]
        self.network = Network(
            img_resolution=side,
            in_channels=channels,
            out_channels=channels,
            label_dim=self.labels,
            model_channels=32,  # its group norms have 32 groups, so the least and the fastest
            channel_mult=multipliers,
            channel_mult_emb=embedding,
            num_blocks=1,
            attn_resolutions=attention,
            dropout=0.0,
            pretrained=None,
        )

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        """x [B, channels, side, side] at `t` [B] in [0, 1] -> the same shape."""
        if label is None:
            label = torch.full((len(x),), -1, device=x.device)
        # The network has no class "none": no class at all is a vector of zeros.
        one_hot = F.one_hot(label.clamp(min=0), self.labels) * (label >= 0)[:, None]
        return self.network.forward_unet(x, 1000 * t, class_labels=one_hot.to(x.dtype))


class AUNet(nn.Module):
    """a-unet's 2-D U-Net as audio-diffusion-pytorch assembles it (`UNetV0`), without attention.

    Args:
        channels: of the images.
        widths: of each level.
        items: residual blocks of each level, down and up alike.
        features: width of the embedding.
        conditions: {"label": classes}.
    """

    def __init__(
        self,
        channels: int,
        widths: Sequence[int],
        items: Sequence[int],
        features: int,
        conditions: Mapping[str, int],
    ) -> None:
        super().__init__()
        from audio_diffusion_pytorch import UNetV0  # slow to import

        self.config: dict[str, Any] = {
            "channels": channels,
            "widths": list(widths),
            "items": list(items),
            "features": features,
            "conditions": dict(conditions),
        }
        self.labels = conditions["label"]
        network = UNetV0(
            dim=2,
            in_channels=channels,
            channels=widths,
            factors=[1] + [2] * (len(widths) - 1),
            items=items,
            modulation_features=features,
        )
        self.table = nn.Embedding(self.labels + 1, features)
        # The package registers modules under several names at once, which no checkpoint can hold.
        # In a tuple they are out of torch's sight, and each weight is registered once.
        self.weights = nn.ParameterList(network.parameters())
        self._network = (network,)

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        """x [B, channels, H, W], sides that the levels divide, at `t` [B] in [0, 1] -> the same."""
        if label is None:
            label = torch.full((len(x),), -1, device=x.device)
        features = self.table(torch.where(label < 0, self.labels, label))
        output: Tensor = self._network[0](x, time=t, features=features)
        return output


def fast_unet() -> nn.Module:
    """Ours, as `--preset fast` builds it for digits."""
    blank = Decoded(torch.zeros(1, *SHAPE, dtype=torch.uint8), torch.zeros(1).long(), LABELS)
    return PRESETS["fast"].model(Images("mnist", blank), seed=0).backbone


def fast_unet_without_patches() -> nn.Module:
    """The same network on single pixels: four times the work."""
    config: Any = fast_unet().config
    return UNet(**{**config, "patch": 1})


_LABEL = {"label": len(LABELS)}
OURS = "mmdiff UNet"
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    OURS: fast_unet,
    "deepinv ADMUNet": lambda: ADMUNet(28, 1, (1, 2, 3), (7,), 8, _LABEL),
    "a-unet": lambda: AUNet(1, (32, 64, 128), (2, 2, 2), 304, _LABEL),
    "mmdiff UNet, no patches": fast_unet_without_patches,
    "deepinv ADMUNet, small": lambda: ADMUNet(28, 1, (1, 2, 2), (7,), 4, _LABEL),
    "a-unet, small": lambda: AUNet(1, (32, 64, 64), (1, 1, 1), 160, _LABEL),
    "deepinv DiffUNet": DiffUNet,
}
EQUAL = tuple(NETWORKS)[:3]  # the ones with about the same number of parameters


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def register() -> None:
    """Let checkpoints hold the peers too, for the trainer saves as it goes."""
    BACKBONES.update({"ADMUNet": __name__, "AUNet": __name__})
