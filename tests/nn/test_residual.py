import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdiff.nn import MDCT, Residual, UNet


@settings(max_examples=20, deadline=None)
@given(length=st.integers(1, 90), channels=st.integers(1, 2))
def test_what_is_added_to_the_source_makes_the_signal(length, channels):
    x, source = torch.randn(2, 2, channels, length, generator=torch.manual_seed(length))
    codec = Residual(MDCT(8))
    z = codec.encode(x, source)
    assert z.shape[1] == codec.channels(channels)
    torch.testing.assert_close(codec.decode(z, (length,), source), x, atol=1e-5, rtol=0)
    assert codec.encode(x, x).abs().max() == 0
    torch.testing.assert_close(codec.decode(0 * z, (length,), source), source)


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
