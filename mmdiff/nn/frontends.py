"""A codec inside a network: a front end, and the words that name one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmdiff.conditions import Condition
from mmdiff.nn.codecs import AxisCodec, Patch, Raw
from mmdiff.nn.learned import LearnedConv
from mmdiff.nn.mdct import MDCT
from mmdiff.nn.stft import STFT
from mmdiff.nn.unet import Encoded

LARGEST = 8192  # positions that `parse` lets a codec take at a time


class FrontEnd(nn.Module):
    """A backbone behind a codec, itself a backbone on signals.

    Args:
        codec: any of this module's kind.
        backbone: takes and returns `codec.channels(C)` channels.
        conditions: what it can be told, where signals are among it (`Condition.inside` gives what
            the backbone is told then); the backbone's own if None.

    The codec computes in float32 (or wider, as x is) under autocast too. For bfloat16 use autocast:
    weights of less than float32 would be those of the codec, too. The convolution of `LearnedConv`
    follows `torch.backends.cudnn.allow_tf32`.
    """

    def __init__(
        self,
        codec: nn.Module,
        backbone: nn.Module,
        conditions: Mapping[str, Condition] | None = None,
    ) -> None:
        super().__init__()
        self.codec: Any = codec
        self.backbone: Any = backbone
        self.conditions = dict(backbone.conditions if conditions is None else conditions)  # type: ignore[arg-type]

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that it was made with."""
        return {"codec": self.codec, "backbone": self.backbone, "conditions": self.conditions}

    @property
    def width(self) -> int:
        """See `Encoded`."""
        return self.backbone.width

    @property
    def features(self) -> int:
        """See `Encoded`."""
        return self.backbone.features

    def forward(self, x: Tensor, t: Tensor, **told: Tensor) -> Tensor:
        """x [B, C, *spatial] at t [B] -> [B, C, *spatial], in the dtype of x."""
        code, inside = self._code(x, told)
        return self._decoded(self.backbone(code, t, **inside), x.shape[2:], x.dtype)

    def encode(self, x: Tensor, t: Tensor, **told: Tensor) -> Encoded:
        """The first half of `forward`, where the backbone has halves."""
        code, inside = self._code(x, told)
        encoded: Encoded = self.backbone.encode(code, t, **inside)
        return encoded._replace(rest=(encoded.rest, x.shape[2:], x.dtype))

    def decode(self, encoded: Encoded) -> Tensor:
        """The second half of `forward`."""
        rest, sides, dtype = encoded.rest
        return self._decoded(self.backbone.decode(encoded._replace(rest=rest)), sides, dtype)

    def _code(self, x: Tensor, told: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """What the backbone is given for x and what is told."""
        wide = torch.promote_types(x.dtype, torch.float32)
        with torch.autocast(x.device.type, enabled=False):
            code = self.codec.encode(x.to(wide))
            inside = {n: self.conditions[n].encode(value, self.codec) for n, value in told.items()}
        return code, inside

    def _decoded(self, output: Tensor, sides: Sequence[int], dtype: torch.dtype) -> Tensor:
        wide = torch.promote_types(dtype, torch.float32)
        with torch.autocast(output.device.type, enabled=False):
            y: Tensor = self.codec.decode(output.to(wide), sides)
        return y.to(dtype)


def parse(text: str) -> Raw | Patch | AxisCodec:
    """The codec that a few letters name, for signals of one dimension.

    raw; patch:P; stft or stft:N (a window of N, a quarter of it as hop; 1024); learned or learned:S
    (a stride of S, twice that as kernel; 64); mdct or mdct:M (M bands; 64).

    Raises:
        ValueError: anything else, or a number beyond `LARGEST` (a transform's matrix has that many
            rows and columns).
    """
    name, _, number = text.partition(":")
    if number and not number.isdecimal():
        raise ValueError(f"{text!r} does not end in a whole number, as patch:32 does.")
    size = int(number or 0)
    if size > LARGEST:
        raise ValueError(f"{text!r} takes too much at a time: use a number up to {LARGEST}.")
    if name == "raw" and not number:
        return Raw()
    if name == "patch" and number:
        return Patch(size)
    if name == "stft":
        return STFT(size, max(1, size // 4)) if number else STFT()
    if name == "learned":
        return LearnedConv(2 * size, size, size) if number else LearnedConv()
    if name == "mdct":
        return MDCT(size if number else 64)
    raise ValueError(
        f"unknown codec {text!r}; known are raw, patch:P, stft, stft:N, learned, learned:S, "
        "mdct and mdct:M."
    )
