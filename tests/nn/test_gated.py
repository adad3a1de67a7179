import torch
from torch import nn

from mmdiff.conditions import Signal
from mmdiff.nn import Gated, UNet


class Weights(nn.Module):
    """A rest of 5, the weight 2 for x and 3 for the signal."""

    conditions = {"source": Signal(4)}  # noqa: RUF012

    def forward(self, x: torch.Tensor, t: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.full_like(x, weight) for weight in (5.0, 2.0, 3.0)], dim=1)


def test_what_is_given_is_weighed() -> None:
    x, source, t = torch.randn(2, 4, 9), torch.randn(2, 4, 9), torch.ones(2)
    found = Gated(Weights(), ["source"])(x, t, source=source)
    torch.testing.assert_close(found, 5 + 2 * x + 3 * source)


def test_what_is_not_told_counts_as_zero() -> None:
    torch.manual_seed(0)
    net = UNet(1, 4, 12, (8,), 1, conditions={"source": Signal(4)})
    nn.init.normal_(net.head.weight)  # type: ignore[arg-type]
    x, t = torch.randn(2, 4, 9), torch.ones(2)
    untold = torch.full_like(x, torch.nan)
    rest, weight, _ = net(x, t, source=untold).chunk(3, dim=1)
    found = Gated(net, ["source"])(x, t, source=untold)
    torch.testing.assert_close(found, rest + weight * x)
