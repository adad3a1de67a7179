"""The U-Net's blocks against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from einops import rearrange
from torch import Tensor, nn

from mmdiff.nn.layers import Attention, Resample, ResBlock, conv, group_norm
from mmdiff.nn.tokens import CrossAttention


def resample(dims: int, up: bool, weight: Tensor | None = None) -> Resample:
    """A float64 Resample that mixes channels by `weight`; by default one channel, unchanged."""
    weight = torch.ones(1, 1) if weight is None else weight
    layer = Resample(dims, weight.shape[1], weight.shape[0], up).double()
    layer.weight.detach().copy_(weight)
    return layer


def tone(omega: float, length: int) -> Tensor:
    """e^(j omega n)."""
    places = torch.arange(length, dtype=torch.float64)
    return torch.polar(torch.ones_like(places), omega * places)


def resample_tone(layer: Resample, omega: float, length: int = 64) -> Tensor:
    wave = tone(omega, length)
    real, imaginary = layer(wave.real[None, None, None]), layer(wave.imag[None, None, None])
    return torch.complex(real, imaginary)[0, 0, 0]


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("up", [False, True])
def test_a_constant_stays_constant_inside(dims: int, up: bool) -> None:
    sides, side = ((1, 12) if dims == 1 else (12,) * dims), 24 if up else 6
    y = resample(dims, up)(torch.full((1, 1, *sides), 0.7, dtype=torch.float64))
    assert y.shape[2:] == ((1, side) if dims == 1 else (side,) * dims)
    inside = y[(..., *(slice(1, -1),) * dims)]
    torch.testing.assert_close(inside, torch.full_like(inside, 0.7), rtol=0, atol=1e-12)


@pytest.mark.parametrize("omega", [0.1, 1.0, math.pi / 2, 2.0, 2.6, 3.0, math.pi])
def test_halving_attenuates_a_tone_by_the_cosine_cubed(omega: float) -> None:
    """[1, 3, 3, 1] / 8 has the response cos^3(omega / 2), centred between two samples.

    Above pi / 2 the tone is an alias: at 2.6 it is left at -34 dB, where a mean of two has -11.
    """
    y = resample_tone(resample(1, up=False), omega)[1:-1]
    at = 2 * torch.arange(1, len(y) + 1, dtype=torch.float64) + 0.5
    expected = math.cos(omega / 2) ** 3 * torch.polar(torch.ones_like(at), omega * at)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("omega", [0.1, 1.0, 2.0, 3.0])
def test_doubling_leaves_of_a_tones_image_the_sine_cubed(omega: float) -> None:
    """The tone omega / 2 at cos^3(omega / 4), its image omega / 2 + pi at sin^3(omega / 4)."""
    y = resample_tone(resample(1, up=True), omega)[1:-1]
    at = torch.arange(1, len(y) + 1, dtype=torch.float64) - 0.5
    expected = torch.zeros_like(y)
    for place in (omega / 2, omega / 2 + math.pi):
        expected += math.cos(place / 2) ** 3 * torch.polar(torch.ones_like(at), place * at)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("dims", [2, 3])
def test_more_dimensions_are_one_after_the_other(dims: int, up: bool) -> None:
    weight = torch.randn(3, 2, dtype=torch.float64)
    x = torch.randn(2, 2, *(6, 10, 4)[:dims], dtype=torch.float64)
    expected = x
    for axis in range(2, 2 + dims):
        layer = resample(1, up, weight if axis == 2 else torch.eye(3))
        lines = expected.movedim(axis, -1)
        done = layer(rearrange(lines, "b c ... l -> (b ...) c 1 l"))
        done = rearrange(done, "n c 1 l -> n c l").unflatten(0, (2, *lines.shape[2:-1]))
        expected = rearrange(done, "b ... c l -> b c ... l").movedim(-1, axis)
    torch.testing.assert_close(resample(dims, up, weight)(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("up", [False, True])
def test_training_filters_alike(dims: int, up: bool) -> None:
    """One convolution after the other, where evaluation has one of a dense kernel."""
    layer = resample(dims, up, torch.randn(3, 2, dtype=torch.float64))
    layer.bias.detach().normal_()
    sides = (1, 10) if dims == 1 else (4, 6, 10)[-dims:]
    x = torch.randn(2, 2, *sides, dtype=torch.float64, requires_grad=True)

    def outcome() -> tuple[Tensor, ...]:
        y = layer(x)
        return y, *torch.autograd.grad(y.square().sum(), (x, layer.weight, layer.bias))

    assert layer.training
    trained = outcome()
    layer.eval()
    torch.testing.assert_close(trained, outcome(), rtol=1e-12, atol=1e-12)


def test_the_filter_is_not_trained_or_stored() -> None:
    layer = Resample(2, 2, 3, up=True)
    assert set(layer.state_dict()) == {"weight", "bias"}
    assert not layer.fir.requires_grad


def attention(channels: int) -> Attention:
    layer = Attention(channels).double().eval()
    for parameter in layer.parameters():
        parameter.detach().normal_(std=0.3)
    return layer


def test_attention_does_not_care_for_the_order() -> None:
    layer = attention(64)
    x = torch.randn(2, 64, 15, dtype=torch.float64)
    order = torch.randperm(15)
    torch.testing.assert_close(layer(x[..., order]), layer(x)[..., order], rtol=0, atol=1e-12)
    image = x.unflatten(2, (3, 5))
    torch.testing.assert_close(layer(image).flatten(2), layer(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("channels", "heads"), [(16, 1), (64, 2)])
def test_attention_is_torchs_own(channels: int, heads: int) -> None:
    layer = attention(channels)
    peer = nn.MultiheadAttention(channels, heads, batch_first=True).double()
    state = {
        "in_proj_weight": layer.qkv.weight, "in_proj_bias": layer.qkv.bias,
        "out_proj.weight": layer.out.weight, "out_proj.bias": layer.out.bias,
    }  # fmt: skip
    peer.load_state_dict(state)
    x = torch.randn(2, channels, 9, dtype=torch.float64)
    tokens = layer.norm(x).transpose(1, 2)
    expected = x + peer(tokens, tokens, tokens)[0].transpose(1, 2)
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-12)


def test_blocks_start_as_the_identity() -> None:
    x = torch.randn(2, 16, 5, 7)
    assert torch.equal(ResBlock(2, 16, 8)(x, torch.randn(2, 8)), x)
    assert torch.equal(Attention(16)(x), x)
    assert torch.equal(CrossAttention(16, 6)(x, torch.randn(2, 3, 6), torch.ones(2, 3).bool()), x)


@pytest.mark.parametrize(("channels", "heads"), [(16, 1), (64, 2)])
def test_attention_to_tokens_is_torchs_own(channels: int, heads: int) -> None:
    layer = CrossAttention(channels, 6).double()
    for parameter in layer.parameters():
        parameter.detach().normal_(std=0.3)
    peer = nn.MultiheadAttention(channels, heads, batch_first=True, kdim=6, vdim=6).double()
    key, value = layer.key_value.weight.chunk(2)
    state = {
        "q_proj_weight": layer.query.weight, "k_proj_weight": key, "v_proj_weight": value,
        "in_proj_bias": torch.cat((layer.query.bias, layer.key_value.bias)),
        "out_proj.weight": layer.out.weight, "out_proj.bias": layer.out.bias,
    }  # fmt: skip
    peer.load_state_dict(state)
    x = torch.randn(2, channels, 3, 5, dtype=torch.float64)
    tokens = torch.randn(2, 4, 6, dtype=torch.float64)
    exist = torch.tensor([[True, True, False, True], [True, False, False, False]])
    places = rearrange(layer.norm(x), "b c h w -> b (h w) c")
    said, _ = peer(places, tokens, tokens, key_padding_mask=~exist)
    expected = x + rearrange(said, "b (h w) c -> b c h w", h=3)
    torch.testing.assert_close(layer(x, tokens, exist), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kernel", [1, 3])
def test_convolutions_of_signals_are_torchs_own(kernel: int) -> None:
    layer = conv(1, 3, 5, kernel).double()
    peer = nn.Conv1d(3, 5, kernel, padding=kernel // 2).double()
    peer.load_state_dict(layer.state_dict())
    x = torch.randn(2, 3, 9, dtype=torch.float64)
    torch.testing.assert_close(layer(x[:, :, None])[:, :, 0], peer(x), rtol=0, atol=1e-12)


def test_the_embedding_scales_and_shifts() -> None:
    block = ResBlock(1, 8, 4).double()
    block.conv_out.weight.detach().zero_()  # type: ignore[union-attr, operator]
    block.conv_out.weight.detach()[:, :, 1] = torch.eye(8)  # type: ignore[index, union-attr]
    x = torch.randn(2, 8, 1, 6, dtype=torch.float64)
    embedding = torch.randn(2, 4, dtype=torch.float64)
    scale, shift = block.modulation(embedding)[..., None, None].chunk(2, dim=1)
    inner = block.norm_out(block.conv_in(nn.functional.silu(block.norm_in(x))))
    expected = x + nn.functional.silu(inner * (1 + scale) + shift)
    torch.testing.assert_close(block(x, embedding), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("channels", "groups"), [(64, 8), (16, 8), (12, 4), (8, 4), (1, 1)])
def test_groups(channels: int, groups: int) -> None:
    assert group_norm(channels).num_groups == groups


@pytest.mark.parametrize("sides", [(1, 4, 4), (2, 4, 4), (2, 2, 2), (3, 4, 4), (4, 8, 8)])
def test_weights_of_a_video_get_their_gradient_in_bfloat16(sides: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    layer, x = conv(3, 64, 64, 3), torch.randn(8, 64, *sides)
    found = []
    for fast in (True, False):
        nan = [torch.full((64 * 64 * 27,), torch.nan) for _ in range(3)]
        del nan  # memory that is left unwritten is seen
        layer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            y = layer(x)
        (y.float() * torch.linspace(-1, 1, y.numel()).view_as(y)).sum().backward()
        found.append(layer.weight.grad.clone())
    assert (found[0] - found[1]).abs().max() < 0.02 * found[1].abs().max()
