"""The adapter against the plain deepinv network with the same weights, built once each."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from mmdiff.errors import UserError
from mmdiff.image.diffunet import DiffUNet


@pytest.fixture(scope="module")
def plain() -> nn.Module:
    """A deepinv network whose output depends on everything: as built, its last layers are 0."""
    from deepinv.models import DiffUNet as Network

    network: nn.Module = Network(1, 1, pretrained=None).eval()
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        if not parameter.detach().any():
            parameter.detach().normal_(std=0.02, generator=generator)
    return network


@pytest.fixture(scope="module")
def model(plain: nn.Module) -> DiffUNet:
    model = DiffUNet().eval()
    model.load_deepinv_state_dict(plain.state_dict())
    return model


def images(height: int, width: int, batch: int = 1) -> torch.Tensor:
    return torch.randn(batch, 1, height, width, generator=torch.Generator().manual_seed(2))


@torch.no_grad()
def test_whole_sizes_are_the_plain_network(plain: nn.Module, model: DiffUNet) -> None:
    x = images(32, 32, batch=3)
    index = torch.tensor([0, 499, 999])
    expected = plain(x, index, type_t="timestep")
    torch.testing.assert_close(model(x, (index + 1) / 1000), expected, atol=1e-4, rtol=1e-4)
    assert expected.std() > 0.01
    # The time matters, by far more than that tolerance.
    assert (plain(x, index + 20, type_t="timestep") - expected).abs().amax((1, 2, 3)).min() > 1e-3


@torch.no_grad()
def test_times_between_and_below_the_indices(plain: nn.Module, model: DiffUNet) -> None:
    x = images(32, 32).expand(3, -1, -1, -1)
    expected = plain(x, torch.tensor([249.5, 0, 0]), type_t="timestep")
    actual = model(x, torch.tensor([0.2505, 0.0005, 0]))
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize(
    ("size", "before", "after"),
    [((28, 28), (2, 2), (2, 2)), ((31, 29), (0, 1), (1, 2)), ((12, 40), (10, 12), (10, 12))],
)
def test_other_sizes_are_the_middle_of_a_reflection(
    plain: nn.Module,
    model: DiffUNet,
    size: tuple[int, int],
    before: tuple[int, int],
    after: tuple[int, int],
) -> None:
    x = images(*size)
    padded = torch.nn.functional.pad(x, (before[1], after[1], before[0], after[0]), "reflect")
    assert all(side % 32 == 0 for side in padded.shape[2:])
    expected = plain(padded, torch.tensor([99]), type_t="timestep")
    rows, columns = (slice(b, b + s) for b, s in zip(before, size, strict=True))
    actual = model(x, torch.tensor([0.1]))
    torch.testing.assert_close(actual, expected[..., rows, columns], atol=1e-4, rtol=1e-4)


def test_gradients_reach_the_image_and_every_parameter(model: DiffUNet) -> None:
    x = images(28, 28).requires_grad_()
    model(x, torch.tensor([0.3])).square().mean().backward()
    assert x.grad is not None
    assert (x.grad != 0).all()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    model.zero_grad()
    assert not without


@torch.no_grad()
def test_bfloat16(model: DiffUNet) -> None:
    x, t = images(28, 28), torch.tensor([0.3])
    expected = model(x, t)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = model(x, t)
    assert mixed.dtype == torch.float32
    assert not torch.equal(mixed, expected)
    assert (mixed - expected).norm() < 0.05 * expected.norm()
    half = model(x.bfloat16(), t)
    assert half.dtype == torch.bfloat16
    assert (half.float() - expected).norm() < 0.05 * expected.norm()


@pytest.mark.parametrize("size", [(11, 28), (28, 11), (513, 28), (28, 544)])
def test_sizes_that_it_cannot_take(model: DiffUNet, size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"12 to 512 pixels a side, not {size[0]}x{size[1]}"):
        model(images(*size), torch.tensor([0.5]))


def test_foreign_weights_are_refused(plain: nn.Module, model: DiffUNet) -> None:
    weights = plain.state_dict()
    cut = {name: value for name, value in weights.items() if name != "out.2.weight"}
    wide = {**weights, "out.2.weight": torch.zeros(3, 128, 3, 3)}
    for broken, reason in ((cut, "out.2.weight"), (wide, "out.2.weight"), ({}, "time_embed")):
        with pytest.raises(UserError, match=f"not the weights of a DiffUNet with 1 .*{reason}"):
            model.load_deepinv_state_dict(broken)


def test_weights_without_the_constant_tables(plain: nn.Module, model: DiffUNet) -> None:
    tables = dict(plain.named_buffers())
    assert tables
    model.load_deepinv_state_dict({n: v for n, v in plain.state_dict().items() if n not in tables})


def test_contract(model: DiffUNet) -> None:
    assert model.conditions == {}
    assert model.config == {"in_channels": 1, "out_channels": 1, "timesteps": 1000}
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(93.6e6, abs=5e4)


@torch.no_grad()
def test_three_channels_come_back_as_three() -> None:
    """On the meta device: shapes are all that is asked for."""
    with torch.device("meta"):
        model = DiffUNet(in_channels=3, out_channels=3, timesteps=10)
        assert model.network.out_channels == 6
        assert model(torch.empty(2, 3, 28, 28), torch.empty(2)).shape == (2, 3, 28, 28)


def test_deepinv_is_imported_by_those_who_build_it() -> None:
    code = "import sys, mmdiff.image.diffunet; sys.exit('deepinv' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
