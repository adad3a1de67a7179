"""Small classifiers that judge what is generated: its class, and features to compare sets by."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, TypeVar, cast

import torch
from torch import Tensor, nn

from mmdiff.errors import UserError
from mmdiff.tensorfile import read, write

BUNDLED = Path(__file__).parent.parent / "zoo" / "digit_judge.safetensors"


class Judge(nn.Module, ABC):
    """x -> features [B, D], which the Fréchet distance reads -> logits [B, K] of each question.

    Attributes:
        kind: what it is called.
        recipe: the script that makes one.
    """

    kind: ClassVar[str]
    recipe: ClassVar[str]

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """[B, ...] -> [B, D]."""

    @abstractmethod
    def heads(self, features: Tensor) -> tuple[Tensor, ...]:
        """[B, D] -> logits [B, K] for each question."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """[B, ...] -> logits [B, K] for each question."""
        return self.heads(self.features(x))


AnyJudge = TypeVar("AnyJudge", bound=Judge)


@torch.inference_mode()
def run_judge(judge: Judge, x: Tensor, batch: int = 200) -> tuple[Tensor, ...]:
    """(features [N, D], logits [N, K] of each question) of `x` [N, ...], on the CPU.

    `batch` of them at a time, on the judge's device.
    """
    device = next(judge.parameters()).device
    features = torch.cat([judge.features(part.to(device)) for part in torch.split(x, batch)])
    return features.cpu(), *(logits.cpu() for logits in judge.heads(features))


def accuracy(logits: Tensor, classes: Tensor) -> float:
    """The fraction of `logits` [N, K] that are largest at `classes` [N].

    Raises:
        ValueError: more or fewer classes.
    """
    if classes.shape != logits.shape[:1]:
        raise ValueError(f"{len(logits)} samples need as many classes, not {list(classes.shape)}.")
    return (logits.argmax(1) == classes.cpu()).double().mean().item()


def save_judge(judge: Judge, path: Path, notes: Mapping[str, str]) -> None:
    """Write `judge` in half precision, with `notes` in the file's header."""
    state = {
        name: value.half().contiguous() if value.is_floating_point() else value
        for name, value in judge.state_dict().items()
    }
    write(path, state, {**notes, "kind": judge.kind})


def read_judge(judge: AnyJudge, path: Path) -> AnyJudge:
    """`judge` with the weights in `path`, in float32 and in eval mode.

    Raises UserError for a file that is missing, cut, edited or not of this kind.
    """
    state, description = read(path)
    try:
        if description.get("kind") != judge.kind:
            raise RuntimeError
        judge.load_state_dict(state)
    except RuntimeError:
        raise UserError(f"{path} is no {judge.kind}: {judge.recipe} makes one.") from None
    return judge.eval()


def conv_block(channels_in: int, channels: int, stride: int = 1) -> nn.Sequential:
    """A 3x3 convolution, batch normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


class DigitJudge(Judge):
    """Images [B, 1, 28, 28] in [-1, 1] -> 96 features -> 10 logits.

    The features are the spatial mean of the last convolution's activations: non-negative and of
    order one, the counterpart of the pooled Inception layer that the usual Fréchet distance reads.
    """

    kind = "digit judge"
    recipe = "recipes/digit_judge.py"
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

    def heads(self, features: Tensor) -> tuple[Tensor]:
        """[B, 96] -> (logits of the digits [B, 10],)."""
        return (self.head(features),)


def load_judge(path: str | Path = BUNDLED, device: str | torch.device = "cpu") -> DigitJudge:
    """The judge of written digits in `path` (default: the bundled one), see `read_judge`."""
    return read_judge(DigitJudge(), Path(path)).to(device)
