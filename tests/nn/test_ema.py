"""The moving average against its closed form."""

from __future__ import annotations

from contextlib import suppress

import pytest
import torch
from torch import nn

from mmdiff.nn import EMA


def model() -> nn.Linear:
    return nn.Linear(3, 2).double()


def walk(network: nn.Module, ema: EMA, steps: int) -> list[torch.Tensor]:
    """Change the weights at random and average them; the weights from the first on."""
    seen = [nn.utils.parameters_to_vector(network.parameters()).detach().clone()]
    for _ in range(steps):
        for parameter in network.parameters():
            parameter.detach().add_(torch.randn_like(parameter))
        ema.update()
        seen.append(nn.utils.parameters_to_vector(network.parameters()).detach().clone())
    return seen


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.9995])
def test_closed_form_with_warm_up(decay: float) -> None:
    network = model()
    ema = EMA(network, decay)
    seen = walk(network, ema, 12)
    decays = [min(decay, (1 + n) / (10 + n)) for n in range(12)]
    # The weights of step k have 1 - d_k of their own, and lose a factor d at each later step.
    expected, left = torch.zeros_like(seen[0]), 1.0
    for weights, own in zip(reversed(seen[1:]), reversed(decays), strict=True):
        expected += left * (1 - own) * weights
        left *= own
    expected += left * seen[0]
    average = torch.cat([tensor.flatten() for tensor in ema.state_dict().values()])
    torch.testing.assert_close(average, expected, rtol=0, atol=1e-12)
    assert ema.updates == 12


def test_swapping_in_and_out_is_exact() -> None:
    network = model()
    ema = EMA(network)
    walk(network, ema, 3)
    own = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    average = {name: tensor.clone() for name, tensor in ema.state_dict().items()}
    with suppress(KeyError), ema.swapped_in():
        for name, tensor in network.state_dict().items():
            assert torch.equal(tensor, average[name])
        raise KeyError  # whatever happens inside, the weights come back
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, own[name])
        assert torch.equal(ema.state_dict()[name], average[name])


def test_goes_on_where_it_stopped() -> None:
    network = model()
    ema = EMA(network, 0.9)
    walk(network, ema, 4)
    other = model()
    other.load_state_dict(network.state_dict())
    resumed = EMA(other, 0.9)
    held = {name: tensor.clone() for name, tensor in ema.state_dict().items()}
    resumed.load_state_dict(held, ema.updates)
    for each, average in ((network, ema), (other, resumed)):
        torch.manual_seed(5)
        walk(each, average, 3)
    for name, tensor in ema.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name])


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_decay_has_a_range(decay: float) -> None:
    with pytest.raises(ValueError, match=r"must be in \[0, 1\)"):
        EMA(model(), decay)
