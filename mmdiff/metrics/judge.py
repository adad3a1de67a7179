"""A small classifier that judges generated digits: their class, and features to compare sets by."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from mmdiff.errors import UserError
from mmdiff.tensorfile import read, write

BUNDLED = Path(__file__).parent.parent / "zoo" / "digit_judge.safetensors"
KIND = "digit judge"

Judge = TypeVar("Judge", bound=nn.Module)


def conv_block(channels_in: int, channels: int, stride: int = 1) -> nn.Sequential:
    """A 3x3 convolution, batch normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


class DigitJudge(nn.Module):
    """Images [B, 1, 28, 28] in [-1, 1] -> 96 features -> 10 logits.

    The features are the spatial mean of the last convolution's activations: non-negative and of
    order one, the counterpart of the pooled Inception layer that the usual Fréchet distance reads.
    """

    shape = (1, 28, 28)
    classes = 10
    width = 96

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv_block(1, 32),
            conv_block(32, 32, stride=2),
            conv_block(32, 64),
            conv_block(64, 64, stride=2),
            conv_block(64, 96),
            conv_block(96, self.width),
        )
        self.head = nn.Linear(self.width, self.classes)

    def features(self, x: Tensor) -> Tensor:
        """[B, 1, 28, 28] in [-1, 1] -> [B, 96]."""
        if tuple(x.shape[1:]) != self.shape:
            raise ValueError(f"the digit judge reads [B, 1, 28, 28] images, not {list(x.shape)}.")
        return cast(Tensor, self.body(x).mean(dim=(2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        """[B, 1, 28, 28] in [-1, 1] -> logits [B, 10]."""
        return cast(Tensor, self.head(self.features(x)))


@torch.inference_mode()
def run_judge(judge: DigitJudge, x: Tensor, batch: int = 500) -> tuple[Tensor, Tensor]:
    """(features [N, 96], logits [N, 10]), on the CPU, of images `x` [N, 1, 28, 28] in [-1, 1].

    `batch` images at a time, on the judge's device.
    """
    device = judge.head.weight.device
    features = torch.cat([judge.features(part.to(device)) for part in torch.split(x, batch)])
    return features.cpu(), judge.head(features).cpu()


def write_judge(judge: nn.Module, path: Path, kind: str, notes: Mapping[str, str]) -> None:
    """Write a `judge` of this `kind` in half precision, with `notes` in the file's header."""
    state = {
        name: value.half().contiguous() if value.is_floating_point() else value
        for name, value in judge.state_dict().items()
    }
    write(path, state, {**notes, "kind": kind})


def read_judge(judge: Judge, path: Path, kind: str, recipe: str) -> Judge:
    """`judge` with the weights in `path`, in eval mode.

    Raises UserError for a file that is missing, cut, edited or not of this `kind`, which `recipe`
    makes.
    """
    state, description = read(path)
    try:
        if description.get("kind") != kind:
            raise RuntimeError
        judge.load_state_dict(state)
    except RuntimeError:
        raise UserError(f"{path} is no {kind}: {recipe} makes one.") from None
    return judge.eval()


def save_judge(judge: DigitJudge, path: Path, notes: Mapping[str, str]) -> None:
    """Write `judge` to `path` in half precision, with `notes` in the file's header."""
    write_judge(judge, path, KIND, notes)


def load_judge(path: str | Path = BUNDLED, device: str | torch.device = "cpu") -> DigitJudge:
    """The judge in `path` (default: the bundled one), in float32 and in eval mode.

    Raises UserError for a file that is missing, cut, edited or not a digit judge.
    """
    return read_judge(DigitJudge(), Path(path), KIND, "recipes/digit_judge.py").to(device)
