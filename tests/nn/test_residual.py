import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdiff.nn import MDCT, Companded, Residual, UNet


@settings(max_examples=20, deadline=None)
@given(length=st.integers(40, 90), channels=st.integers(1, 2), first=st.integers(0, 7))
def test_what_is_not_coded_comes_back_from_the_source(length, channels, first):
    x, source = torch.randn(2, 2, channels, length, generator=torch.manual_seed(length))
    inner = Companded(MDCT(8))
    codec = Residual(inner, first)
    z = codec.encode(x, source)
    assert z.shape[1] == codec.channels(channels)
    bands = inner.encode(codec.decode(z, (length,), source)).unflatten(1, (channels, 8))
    of_x, of_source = (inner.encode(v).unflatten(1, (channels, 8)) for v in (x, source))
    whole = slice(0, length // 8 - 1)  # the last block is cut, and its coefficients with it
    torch.testing.assert_close(
        bands[:, :, first:, whole], of_x[:, :, first:, whole], atol=2e-4, rtol=0
    )
    torch.testing.assert_close(
        bands[:, :, :first, whole], of_source[:, :, :first, whole], atol=2e-4, rtol=0
    )


def test_nothing_to_add_is_zero():
    x = torch.randn(1, 1, 64)
    codec = Residual(MDCT(8))
    assert codec.encode(x, x).abs().max() == 0
    torch.testing.assert_close(codec.decode(torch.zeros(1, 8, 8), (64,), x), x, atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match=r"0 \.\. 7"):
        Residual(MDCT(8), first=8)


@settings(max_examples=20, deadline=None)
@given(length=st.integers(1, 60), power=st.floats(0.3, 1))
def test_companding_comes_back(length, power):
    x = torch.randn(1, 2, length, dtype=torch.float64)
    codec = Companded(MDCT(4).double(), power)
    torch.testing.assert_close(codec.decode(codec.encode(x), (length,)), x, atol=1e-6, rtol=0)


def test_a_local_network_sees_only_what_is_near():
    torch.manual_seed(0)
    net = UNet(1, 2, 2, (16, 32, 32), local=True).double()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    x, t = torch.randn(1, 2, 1024, dtype=torch.float64), torch.full((1,), 0.5).double()
    far = x.clone()
    far[..., :256] += 1
    moved = (net(far, t) - net(x, t)).abs().amax((0, 1))
    assert moved[200:256].min() > 0
    assert moved[512:].max() == 0
