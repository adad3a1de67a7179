from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import librosa
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mmdiff.audio.frontends import (
    MDCT,
    STFT,
    FrontEnd,
    LearnedConv,
    Patch,
    Raw,
    build,
    parse,
)
from mmdiff.audio.mdct import basis, overlap
from mmdiff.nn import UNet

# Front ends that reconstruct, small enough to try on many lengths.
MADE: dict[str, Callable[[], Any]] = {
    "raw": Raw,
    "patch": lambda: Patch(7),
    "stft": lambda: STFT(32, 8),
    "stft, odd hop": lambda: STFT(30, 7),
    "stft, polar": lambda: STFT(32, 8, "polar"),
    "learned": lambda: LearnedConv(32, 16, 16),
    "mdct, sine": lambda: MDCT(16),
    "mdct, kbd": lambda: MDCT(16, "kbd"),
}
ORTHONORMAL = ("raw", "patch", "mdct, sine", "mdct, kbd")
PARSEVAL = (*ORTHONORMAL, "stft", "stft, odd hop", "learned")

each = pytest.mark.parametrize("name", MADE)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def matrix(transform: Any, length: int) -> Tensor:
    """[code, length]: the linear map that `encode` is."""
    return transform.double().encode(torch.eye(length, dtype=torch.float64)[:, None]).flatten(1).T


@each
def test_any_length_comes_back(name: str) -> None:
    transform = MADE[name]()
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 3000, (1000,), generator=generator).tolist()
    for length, channels in zip(lengths, itertools.cycle((1, 2))):
        x = torch.randn(1, channels, length, generator=generator)
        code = transform.encode(x)
        assert code.shape[:2] == (1, transform.channels(channels))
        # The windows that overlap the ends come on top.
        assert 0 <= code.shape[2] - -(-length // transform.factor) <= 5
        y = transform.decode(code, length)
        assert y.shape == x.shape
        error = (y - x).abs().max()
        assert error <= (0 if name in ("raw", "patch") else 1e-5), length


@pytest.mark.parametrize("name", ["patch:32", "stft", "learned", "mdct", "mdct:128"])
@pytest.mark.parametrize("length", [1, 100, 5120, 22051])
def test_the_sizes_of_the_recipe_reconstruct(name: str, length: int) -> None:
    x = normal(1, 2, length)
    transform: Any = parse(name)
    torch.testing.assert_close(transform.decode(transform.encode(x), length), x, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ORTHONORMAL)
def test_orthonormal(name: str) -> None:
    transform = MADE[name]()
    a = matrix(transform, 5 * transform.factor)
    assert a.shape[0] == a.shape[1]
    assert (a @ a.T - torch.eye(len(a))).abs().max() < 1e-6


@pytest.mark.parametrize("name", PARSEVAL)
@pytest.mark.parametrize("length", [1, 37, 100])
def test_the_code_has_the_energy_of_the_signal(name: str, length: int) -> None:
    a = matrix(MADE[name](), length)
    assert (a.T @ a - torch.eye(length)).abs().max() < 1e-6


@pytest.mark.parametrize("name", PARSEVAL)
def test_decode_is_the_transpose_of_encode(name: str) -> None:
    transform = MADE[name]().double()
    x = normal(1, 2, 83).double().requires_grad_()
    code = transform.encode(x)
    weight = normal(*code.shape, seed=1).double()
    (gradient,) = torch.autograd.grad((code * weight).sum(), x)
    torch.testing.assert_close(transform.decode(weight, 83), gradient, rtol=0, atol=1e-6)


def test_patches_are_stretches() -> None:
    x = torch.arange(12.0).reshape(1, 2, 6)
    expected = torch.tensor([[[0, 3], [1, 4], [2, 5], [6, 9], [7, 10], [8, 11]]]).float()
    assert torch.equal(Patch(3).encode(x), expected)


@pytest.mark.parametrize("kind", ["sine", "kbd"])
def test_mdct_is_its_definition(kind: Any) -> None:
    bands = 8
    w = overlap(bands, kind)
    torch.testing.assert_close(w[:bands] ** 2 + w[bands:] ** 2, torch.ones(bands).double())
    torch.testing.assert_close(w, w.flip(0))
    x = normal(1, 1, 6 * bands).double()
    code = MDCT(bands, kind).double().encode(x)[0]
    n, k = np.arange(2 * bands), np.arange(bands)
    phase = np.pi / bands * (n + 0.5 + bands / 2)[None] * (k + 0.5)[:, None]
    for block in range(1, 5):  # inside, where the window is whole
        start = block * bands - bands // 2
        frame = x[0, 0, start : start + 2 * bands].numpy()
        expected = np.sqrt(2 / bands) * np.cos(phase) @ (w.numpy() * frame)
        np.testing.assert_allclose(code[:, block].numpy(), expected, atol=1e-6)


def test_mdct_sorts_by_frequency() -> None:
    bands, k = 64, 20
    tone = torch.sin(torch.pi * (k + 0.5) / bands * torch.arange(64 * bands))[None, None]
    energy = MDCT(bands, "kbd").encode(tone)[0, :, 1:-1].square().sum(1)
    assert energy.argmax() == k
    assert energy[k - 3 : k + 4].sum() > 0.9998 * energy.sum()


def test_learned_starts_as_the_mdct() -> None:
    """The same filters, half a block apart."""
    learned, mdct = LearnedConv(32, 16, 16), MDCT(16)
    torch.testing.assert_close(learned.analysis.weight[:, 0].double(), basis(16), atol=1e-7, rtol=0)
    x = normal(1, 1, 160)
    shifted = torch.cat((torch.zeros(1, 1, 8), x), dim=2)
    torch.testing.assert_close(
        learned.encode(x)[..., 2:-2], mdct.encode(shifted)[..., 2:-2], rtol=0, atol=1e-5
    )


def test_learned_is_learned() -> None:
    transform = LearnedConv(32, 16, 16)
    x = normal(2, 1, 100)
    transform.decode(transform.encode(x).tanh(), 100).square().sum().backward()
    for weight in (transform.analysis.weight, transform.synthesis.weight):
        assert weight.grad is not None
        assert weight.grad.abs().min() > 0


def test_random_start_takes_any_sizes() -> None:
    transform = LearnedConv(20, 7, 5, start="random")
    assert transform.decode(transform.encode(normal(1, 2, 53)), 53).shape == (1, 2, 53)


@pytest.mark.parametrize(("kernel", "stride"), [(16, 8), (20, 7), (5, 5), (9, 1)])
def test_learned_is_torchs_convolution_and_its_transpose(kernel: int, stride: int) -> None:
    transform = LearnedConv(kernel, stride, 6, start="random").double()
    x = normal(2, 3, 53).double()
    code = transform.encode(x).detach().requires_grad_()
    before = kernel - stride
    padded = nn.functional.pad(x, (before, stride * code.shape[2] - 53))
    expected = transform.analysis(padded.flatten(0, 1)[:, None]).unflatten(0, (2, 3))
    torch.testing.assert_close(code, expected.flatten(1, 2), rtol=0, atol=1e-12)

    y = transform.decode(code, 53)
    wave = transform.synthesis(code.unflatten(1, (3, 6)).flatten(0, 1)).unflatten(0, (2, 3))
    expected = wave[:, :, 0, before : before + 53]
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)
    weights = normal(*y.shape, seed=1).double()
    wanted = (code, transform.synthesis.weight)
    for ours, torchs in zip(
        torch.autograd.grad((y * weights).sum(), wanted),
        torch.autograd.grad((expected * weights).sum(), wanted),
        strict=True,
    ):
        torch.testing.assert_close(ours, torchs, rtol=0, atol=1e-12)


def test_stft_is_librosas() -> None:
    n_fft, hop = 64, 16
    x = normal(1, 1, 2000)
    bins = STFT(n_fft, hop).encode(x)[0]
    real, imaginary = bins.chunk(2)
    expected = librosa.stft(
        np.pad(x[0, 0].numpy(), (n_fft - hop, n_fft)), n_fft=n_fft, hop_length=hop, center=False
    )
    # Hann squared at a quarter's hop adds up to 1.5; inner bins stand for two frequencies.
    scale = np.sqrt(2 / n_fft / 1.5)
    count = bins.shape[1]
    np.testing.assert_allclose(
        (real + 1j * imaginary)[1:-1].detach().numpy(), scale * expected[1:-1, :count], atol=1e-5
    )
    magnitude, phase = STFT(n_fft, hop, "polar").encode(x)[0].chunk(2)
    np.testing.assert_allclose(magnitude[1:-1], scale * np.abs(expected[1:-1, :count]), atol=1e-5)
    turns = np.exp(1j * phase[1:-1].numpy()) * magnitude[1:-1].numpy()
    np.testing.assert_allclose(turns, scale * expected[1:-1, :count], atol=1e-5)


@each
def test_gradients_flow_through_silence(name: str) -> None:
    transform = MADE[name]()
    x = normal(2, 1, 90)
    x[1] = 0
    x.requires_grad_()
    transform.decode(transform.encode(x) * 1.5, 90).square().sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert x.grad[0].abs().min() > 0


class Probe(nn.Module):
    """Passes its input on; remembers its dtype and shape."""

    def __init__(self) -> None:
        super().__init__()
        self.conditions: dict[str, int] = {}
        self.seen: list[tuple[torch.dtype, torch.Size]] = []

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        self.seen.append((x.dtype, x.shape))
        with torch.autocast("cpu", torch.bfloat16):
            return x @ torch.eye(x.shape[2])


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_front_ends_stay_exact_under_autocast(name: str, dtype: torch.dtype) -> None:
    probe = Probe()
    model = FrontEnd(MADE[name](), probe)
    x = normal(2, 1, 101).to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        y = model(x, torch.rand(2))
    assert probe.seen[0][0] == torch.float32
    assert y.dtype == dtype
    # The one rounding to bf16, in the middle, remains; a phase is rounded in radians.
    torch.testing.assert_close(y.float(), x.float(), rtol=0, atol=0.03)


@each
def test_front_ends_compile(name: str) -> None:
    transform = MADE[name]()
    compiled = torch.compile(
        lambda x: transform.decode(transform.encode(x), x.shape[2]), backend="aot_eager"
    )
    x = normal(2, 1, 75)
    torch.testing.assert_close(compiled(x), x, rtol=0, atol=1e-5)


@pytest.mark.parametrize("length", [999, 1000])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_network_behind_a_front_end_is_a_backbone(length: int, channels: int) -> None:
    conditions = {"label": 3, "speaker": 2}
    transform = MDCT(8)
    width = transform.channels(channels)
    model = FrontEnd(transform, UNet(1, width, width, (8, 16), conditions=conditions))
    nn.init.normal_(model.backbone.head.weight, std=0.1)
    assert model.conditions == conditions
    x = normal(3, channels, length)
    speaker = torch.tensor([0, 1, -1])
    y = model(x, torch.rand(3), label=torch.tensor([0, 1, 2]), speaker=speaker)
    assert y.shape == x.shape
    assert y.abs().min() > 0
    again = FrontEnd(build(model.config["transform"]), model.backbone)
    label = torch.tensor([2, 0, -1])
    t = torch.rand(3)
    assert torch.equal(again(x, t, label=label), model(x, t, label=label))


@pytest.mark.parametrize(
    ("text", "kind", "config"),
    [
        ("raw", Raw, {}),
        ("patch:32", Patch, {"size": 32}),
        ("stft", STFT, {"n_fft": 1024, "hop": 256, "form": "complex"}),
        ("stft:64", STFT, {"n_fft": 64, "hop": 16, "form": "complex"}),
        ("learned", LearnedConv, {"kernel": 128, "stride": 64, "channels": 64, "start": "mdct"}),
        ("learned:8", LearnedConv, {"kernel": 16, "stride": 8, "channels": 8, "start": "mdct"}),
        ("mdct", MDCT, {"bands": 64, "window": "sine"}),
        ("mdct:32", MDCT, {"bands": 32, "window": "sine"}),
    ],
)
def test_names(text: str, kind: type, config: dict[str, Any]) -> None:
    transform: Any = parse(text)
    assert type(transform) is kind
    assert transform.config == config
    assert build({"name": kind.__name__, "config": config}).config == config


@pytest.mark.parametrize(
    "text",
    ["", "patch", "raw:2", "mdct:x", "mdct:-4", "fft", "patch:0", "patch:8193", f"mdct:{10**30}"],
)
def test_unknown_names_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"known are|whole number|at least 1|up to 8192"):
        parse(text)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: MDCT(7), "even number of bands"),
        (lambda: MDCT(8, "hann"), "unknown window"),  # type: ignore[arg-type]
        (lambda: STFT(31, 8), "even n_fft"),
        (lambda: STFT(32, 17), "even n_fft"),
        (lambda: STFT(32, 8, "real"), "unknown form"),  # type: ignore[arg-type]
        (lambda: LearnedConv(8, 16, 4), "stride <= kernel"),
        (lambda: LearnedConv(16, 8, 4), "start=.random."),
        (lambda: LearnedConv(16, 8, 8, "zeros"), "unknown start"),  # type: ignore[arg-type]
        (lambda: build({"name": "Wavelet", "config": {}}), "unknown front end"),
    ],
)
def test_wrong_arguments_are_refused(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()
