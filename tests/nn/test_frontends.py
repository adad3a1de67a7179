"""A network behind a codec is a backbone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmdiff.checkpoints import build, describe
from mmdiff.conditions import Class, Signal
from mmdiff.nn import MDCT, STFT, FrontEnd, LearnedConv, Patch, Raw, UNet
from mmdiff.nn.frontends import parse

CODECS: dict[str, Any] = {
    "raw": Raw,
    "patch": lambda: Patch(7),
    "stft": lambda: STFT(32, 8),
    "stft, polar": lambda: STFT(32, 8, "polar"),
    "learned": lambda: LearnedConv(32, 16, 16),
    "mdct": lambda: MDCT(16),
}
each = pytest.mark.parametrize("name", CODECS)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Probe(nn.Module):
    """Passes its input on; remembers its dtype and shape."""

    def __init__(self) -> None:
        super().__init__()
        self.conditions: dict[str, Any] = {}
        self.seen: list[tuple[torch.dtype, torch.Size]] = []

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        self.seen.append((x.dtype, x.shape))
        with torch.autocast("cpu", torch.bfloat16):
            return x @ torch.eye(x.shape[2])


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_front_ends_stay_exact_under_autocast(name: str, dtype: torch.dtype) -> None:
    probe = Probe()
    model = FrontEnd(CODECS[name](), probe)
    x = normal(2, 1, 101).to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        y = model(x, torch.rand(2))
    assert probe.seen[0][0] == torch.float32
    assert y.dtype == dtype
    # The one rounding to bf16, in the middle, remains; a phase is rounded in radians.
    torch.testing.assert_close(y.float(), x.float(), rtol=0, atol=0.03)


@each
def test_front_ends_compile(name: str) -> None:
    codec = CODECS[name]()
    compiled = torch.compile(
        lambda x: codec.decode(codec.encode(x), x.shape[2:]), backend="aot_eager"
    )
    x = normal(2, 1, 75)
    torch.testing.assert_close(compiled(x), x, rtol=0, atol=1e-5)


@pytest.mark.parametrize("length", [999, 1000])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_network_behind_a_front_end_is_a_backbone(length: int, channels: int) -> None:
    conditions = {"label": Class(3), "speaker": Class(2)}
    codec = MDCT(8)
    width = codec.channels(channels)
    model = FrontEnd(codec, UNet(1, width, width, (8, 16), conditions=conditions))
    nn.init.normal_(model.backbone.head.weight, std=0.1)
    assert model.conditions == conditions
    x = normal(3, channels, length)
    speaker = torch.tensor([0, 1, -1])
    y = model(x, torch.rand(3), label=torch.tensor([0, 1, 2]), speaker=speaker)
    assert y.shape == x.shape
    assert y.abs().min() > 0
    again = build(describe(model))
    again.load_state_dict(model.state_dict())
    label = torch.tensor([2, 0, -1])
    t = torch.rand(3)
    assert torch.equal(again(x, t, label=label), model(x, t, label=label))


@pytest.mark.parametrize(
    ("text", "kind", "config"),
    [
        ("raw", Raw, {}),
        ("patch:32", Patch, {"size": 32, "dims": 1}),
        ("stft", STFT, {"n_fft": 1024, "hop": 256, "form": "complex", "dims": 1}),
        ("stft:64", STFT, {"n_fft": 64, "hop": 16, "form": "complex", "dims": 1}),
        (
            "learned",
            LearnedConv,
            {"kernel": 128, "stride": 64, "channels": 64, "start": "mdct", "dims": 1},
        ),
        (
            "learned:8",
            LearnedConv,
            {"kernel": 16, "stride": 8, "channels": 8, "start": "mdct", "dims": 1},
        ),
        ("mdct", MDCT, {"bands": 64, "window": "sine", "dims": 1}),
        ("mdct:32", MDCT, {"bands": 32, "window": "sine", "dims": 1}),
    ],
)
def test_names(text: str, kind: type, config: dict[str, Any]) -> None:
    codec: Any = parse(text)
    assert type(codec) is kind
    assert codec.config == config
    assert build(describe(codec)).config == config


@pytest.mark.parametrize(
    "text",
    ["", "patch", "raw:2", "mdct:x", "mdct:-4", "fft", "patch:0", "patch:8193", f"mdct:{10**30}"],
)
def test_unknown_names_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"known are|whole number|at least 1|up to 8192"):
        parse(text)


@pytest.mark.parametrize("name", ["patch:32", "stft", "learned", "mdct", "mdct:128"])
@pytest.mark.parametrize("length", [1, 100, 5120, 22051])
def test_what_is_named_reconstructs(name: str, length: int) -> None:
    x = normal(1, 2, length)
    codec: Any = parse(name)
    torch.testing.assert_close(codec.decode(codec.encode(x), (length,)), x, rtol=0, atol=1e-5)


def test_pictures_behind_a_front_end() -> None:
    codec = MDCT(4, dims=2)
    inner = UNet(2, 16, 16, (8, 16), blocks=1)
    nn.init.normal_(inner.head.weight, std=0.1)  # type: ignore[arg-type]
    x = normal(2, 1, 13, 10)
    y = FrontEnd(codec, inner)(x, torch.rand(2))
    assert y.shape == x.shape
    assert y.abs().min() > 0


def test_told_signals_pass_the_same_codec() -> None:
    """What a backbone hears behind a codec is the code of what the model is told."""
    codec = MDCT(8)
    given = {"noisy": Signal(1), "mel": Signal(3, 16), "label": Class(2)}
    inner = {name: kind.inside(codec) for name, kind in given.items()}
    heard: dict[str, Tensor] = {}

    class Listener(nn.Module):
        conditions = inner

        def forward(self, x: Tensor, t: Tensor, **told: Tensor) -> Tensor:
            heard.update(told)
            return x

    told = {"noisy": normal(2, 1, 50), "mel": normal(2, 3, 4), "label": torch.tensor([0, 1])}
    FrontEnd(codec, Listener(), given)(normal(2, 1, 50), torch.rand(2), **told)
    assert torch.equal(heard["noisy"], codec.encode(told["noisy"]))
    assert heard["mel"] is told["mel"]
    assert heard["label"] is told["label"]
