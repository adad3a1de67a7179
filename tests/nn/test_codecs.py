"""Codecs: what goes in comes out, of any size, in one to three dimensions."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mmdiff.nn import MDCT, STFT, LearnedConv, Patch, Raw
from mmdiff.nn.codecs import from_patches, to_patches
from mmdiff.nn.mdct import basis, overlap

# Codecs that reconstruct, small enough to try on many lengths.
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


def matrix(codec: Any, length: int) -> Tensor:
    """[code, length]: the linear map that `encode` is."""
    return codec.double().encode(torch.eye(length, dtype=torch.float64)[:, None]).flatten(1).T


@each
def test_any_length_comes_back(name: str) -> None:
    codec = MADE[name]()
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 3000, (1000,), generator=generator).tolist()
    for length, channels in zip(lengths, itertools.cycle((1, 2))):
        x = torch.randn(1, channels, length, generator=generator)
        code = codec.encode(x)
        assert code.shape[:2] == (1, codec.channels(channels))
        # The windows that overlap the ends come on top.
        assert 0 <= code.shape[2] - -(-length // codec.factor) <= 5
        y = codec.decode(code, (length,))
        assert y.shape == x.shape
        error = (y - x).abs().max()
        assert error <= (0 if name in ("raw", "patch") else 1e-5), length


@pytest.mark.parametrize("name", ORTHONORMAL)
def test_orthonormal(name: str) -> None:
    codec = MADE[name]()
    a = matrix(codec, 5 * codec.factor)
    assert a.shape[0] == a.shape[1]
    assert (a @ a.T - torch.eye(len(a))).abs().max() < 1e-6


@pytest.mark.parametrize("name", PARSEVAL)
@pytest.mark.parametrize("length", [1, 37, 100])
def test_the_code_has_the_energy_of_the_signal(name: str, length: int) -> None:
    a = matrix(MADE[name](), length)
    assert (a.T @ a - torch.eye(length)).abs().max() < 1e-6


@pytest.mark.parametrize("name", PARSEVAL)
def test_decode_is_the_transpose_of_encode(name: str) -> None:
    codec = MADE[name]().double()
    x = normal(1, 2, 83).double().requires_grad_()
    code = codec.encode(x)
    weight = normal(*code.shape, seed=1).double()
    (gradient,) = torch.autograd.grad((code * weight).sum(), x)
    torch.testing.assert_close(codec.decode(weight, (83,)), gradient, rtol=0, atol=1e-6)


WIDE: dict[str, Callable[[int], Any]] = {
    "raw": lambda dims: Raw(),
    "patch": lambda dims: Patch(3, dims),
    "stft": lambda dims: STFT(8, 2, dims=dims),
    "learned": lambda dims: LearnedConv(8, 4, 4, dims=dims),
    "mdct": lambda dims: MDCT(4, dims=dims),
}


@pytest.mark.parametrize("name", WIDE)
@settings(max_examples=25, deadline=None)
@given(sides=st.lists(st.integers(1, 11), min_size=2, max_size=3), channels=st.integers(1, 2))
def test_any_sides_come_back(name: str, sides: list[int], channels: int) -> None:
    codec = WIDE[name](len(sides))
    x = normal(2, channels, *sides)
    code = codec.encode(x)
    assert code.shape[:2] == (2, codec.channels(channels))
    torch.testing.assert_close(codec.decode(code, sides), x, rtol=0, atol=1e-5)
    if name == "stft":
        return
    # No sample, no channel and no axis is taken for another.
    one = codec.encode(x[:, :1])
    torch.testing.assert_close(code[:, : one.shape[1]], one, rtol=0, atol=1e-6)
    torch.testing.assert_close(code[1:], codec.encode(x[1:]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["patch", "mdct"])
@pytest.mark.parametrize("dims", [2, 3])
def test_orthonormal_in_more_dimensions(name: str, dims: int) -> None:
    codec = WIDE[name](dims).double()
    sides = [2 * codec.factor, 3 * codec.factor, codec.factor][:dims]
    units = torch.eye(int(np.prod(sides)), dtype=torch.float64).reshape(-1, 1, *sides)
    a = codec.encode(units).flatten(1)
    assert a.shape[0] == a.shape[1]
    assert (a @ a.T - torch.eye(len(a))).abs().max() < 1e-6


def test_in_two_dimensions_both_axes_are_transformed() -> None:
    x = normal(1, 1, 8, 12).double()
    down, along = (matrix(MDCT(4), side).reshape(4, -1, side) for side in x.shape[2:])
    expected = torch.einsum("plh,qmw,hw->pqlm", down, along, x[0, 0])
    found = MDCT(4, dims=2).double().encode(x)
    torch.testing.assert_close(found, expected.reshape(1, 16, 2, 3), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("dims", "patch"), [(1, 3), (2, 2), (3, 2), (3, 3), (1, 1)])
def test_patches_come_apart_and_together_again(dims: int, patch: int) -> None:
    """All axes are cut: time, height and width of a video alike."""
    x = torch.randn(2, 3, *range(2 * patch, (2 + dims) * patch, patch))
    y = to_patches(x, patch)
    assert y.shape == (2, 3 * patch**dims, *(side // patch for side in x.shape[2:]))
    assert torch.equal(from_patches(y, patch), x)
    # One position of y is one patch of x, channel by channel.
    corner = x[(slice(None), slice(None), *(slice(patch),) * dims)]
    assert torch.equal(y[(..., *(0,) * dims)], corner.reshape(2, -1))


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
    codec = LearnedConv(32, 16, 16)
    x = normal(2, 1, 100)
    codec.decode(codec.encode(x).tanh(), (100,)).square().sum().backward()
    for weight in (codec.analysis.weight, codec.synthesis.weight):
        assert weight.grad is not None
        assert weight.grad.abs().min() > 0


def test_random_start_takes_any_sizes() -> None:
    codec = LearnedConv(20, 7, 5, start="random")
    assert codec.decode(codec.encode(normal(1, 2, 53)), (53,)).shape == (1, 2, 53)


@pytest.mark.parametrize(("kernel", "stride"), [(16, 8), (20, 7), (5, 5), (9, 1)])
def test_learned_is_torchs_convolution_and_its_transpose(kernel: int, stride: int) -> None:
    codec = LearnedConv(kernel, stride, 6, start="random").double()
    x = normal(2, 3, 53).double()
    code = codec.encode(x).detach().requires_grad_()
    before = kernel - stride
    padded = nn.functional.pad(x, (before, stride * code.shape[2] - 53))
    expected = codec.analysis(padded.flatten(0, 1)[:, None]).unflatten(0, (2, 3))
    torch.testing.assert_close(code, expected.flatten(1, 2), rtol=0, atol=1e-12)

    y = codec.decode(code, (53,))
    wave = codec.synthesis(code.unflatten(1, (3, 6)).flatten(0, 1)).unflatten(0, (2, 3))
    expected = wave[:, :, 0, before : before + 53]
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)
    weights = normal(*y.shape, seed=1).double()
    wanted = (code, codec.synthesis.weight)
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
    codec = MADE[name]()
    x = normal(2, 1, 90)
    x[1] = 0
    x.requires_grad_()
    codec.decode(codec.encode(x) * 1.5, (90,)).square().sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert x.grad[0].abs().min() > 0


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
        (lambda: MDCT(8, dims=4), "1 to 3 dimensions, not 4"),
        (lambda: Patch(0), "at least 1 position"),
    ],
)
def test_wrong_arguments_are_refused(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()
