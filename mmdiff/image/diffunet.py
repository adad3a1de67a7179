"""DeepInverse's DiffUNet, the network of the first digit experiments, as a backbone.

It is the U-Net of Choi et al. 2021 (ILVR), after Dhariwal & Nichol 2021: 93.6 million parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from mmdiff.errors import UserError

_MULTIPLE = 32  # the network halves its input five times
_LARGEST = 512  # beyond it the network cuts an image into tiles that know nothing of each other
_SMALLEST = 12  # below it there is too little image to reflect


def check_sides(height: int, width: int) -> None:
    """Raises ValueError for images of a size that the network cannot take."""
    if not _SMALLEST <= min(height, width) <= max(height, width) <= _LARGEST:
        raise ValueError(
            f"DiffUNet takes images of {_SMALLEST} to {_LARGEST} pixels a side, "
            f"not {height}x{width}."
        )


class DiffUNet(nn.Module):
    """`deepinv.models.DiffUNet` behind the backbone contract, without labels.

    Its time is an index, the i-th of `timesteps` standing at t = (i + 1) / timesteps as in
    `LinearBeta`; between two indices the index is fractional, below the first one it stays there.

    Its sides must be multiples of 32. The network itself would repeat the right and the lower edge
    at the left and at the top; here both ends of a side are padded alike, by reflection: what the
    network sees beyond the edge has the noise level and the brightness of what lies before it,
    neither of which zeros would have.

    Args:
        in_channels: channels of x.
        out_channels: channels of the output. With 3, the network has three more for variances,
            as its published weights do; they are cut off.
        timesteps: how many times the schedule has.
    """

    def __init__(self, in_channels: int = 1, out_channels: int = 1, timesteps: int = 1000) -> None:
        super().__init__()
        from deepinv.models import DiffUNet as Network  # slow to import, and needed by few

        self.conditions: dict[str, Any] = {}
        self.config = {
            "in_channels": in_channels,
            "out_channels": out_channels,
            "timesteps": timesteps,
        }
        self.out_channels = out_channels
        self.timesteps = timesteps
        # Without `pretrained=None` it downloads weights.
        self.network = Network(in_channels, out_channels, pretrained=None)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """`x` [B, in_channels, H, W] at `t` [B] in [0, 1] -> [B, out_channels, H, W].

        In the dtype of `x`, computed in float32 or as `torch.autocast` has it.

        Raises:
            ValueError: a side below 12 or above 512.
        """
        height, width = x.shape[-2:]
        check_sides(height, width)
        below, beside = -height % _MULTIPLE, -width % _MULTIPLE
        top, left = below // 2, beside // 2
        padded = F.pad(x.float(), (left, beside - left, top, below - top), mode="reflect")
        index = (t.float() * self.timesteps - 1).clamp(min=0)
        # Any other type_t rescales x and clips what comes out. A table that the network makes anew
        # at each call is made where it is needed: copied there, the host would wait for it.
        with x.device:
            output: Tensor = self.network(padded, index, type_t="timestep")
        output = output[:, : self.out_channels, top : top + height, left : left + width]
        return output.to(x.dtype)

    def load_deepinv_state_dict(self, state_dict: Mapping[str, Tensor]) -> None:
        """Take over the weights of a plain `deepinv.models.DiffUNet`.

        Raises:
            UserError: they are not the weights of such a network with these channels.
        """
        constants = dict(self.network.named_buffers())
        try:
            # The published weights do not have the network's constant tables.
            self.network.load_state_dict({**constants, **state_dict})
        except RuntimeError as error:
            lines = str(error).split("\n")
            raise UserError(
                f"these are not the weights of a DiffUNet with {self.config['in_channels']} input "
                f"and {self.out_channels} output channels ({lines[1].strip()[:200]})."
            ) from error
