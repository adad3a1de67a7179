"""The adapter against the package's own network with the same weights, and what copies it."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import audio_diffusion_pytorch as adp
import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

import mmdiff
from mmdiff import tensorfile
from mmdiff.audio.unet_v0 import UNetV0
from mmdiff.nn import EMA

SMALL: dict[str, Any] = {
    "in_channels": 2,
    "channels": [8, 16],
    "factors": [4, 2],
    "items": [1, 1],
    "attentions": [0, 1],
    "attention_heads": 2,
    "attention_features": 4,
    "modulation_features": 16,
}
TIMES = torch.tensor([0.0, 0.37, 1.0])


@pytest.fixture
def model() -> UNetV0:
    return UNetV0(**SMALL)


@pytest.fixture
def package() -> Any:
    """The package's model: its network, objective and sampler."""
    return adp.DiffusionModel(net_t=adp.UNetV0, **SMALL)


def share(package: Any, model: UNetV0) -> None:
    """Give `model` the weights of the package's."""
    for theirs, ours in zip(package.net.parameters(), model.parameters(), strict=True):
        ours.data.copy_(theirs.data)


def sounds(length: int, batch: int = 3, channels: int = 2) -> Tensor:
    return torch.randn(batch, channels, length, generator=torch.Generator().manual_seed(2))


def change(model: nn.Module) -> None:
    for parameter in model.parameters():
        parameter.detach().add_(torch.randn_like(parameter))


@torch.no_grad()
def test_whole_lengths_are_the_package_s_network(package: Any, model: UNetV0) -> None:
    share(package, model)
    expected = package.net(sounds(64), TIMES)
    assert torch.equal(model(sounds(64), TIMES), expected)
    # The time and the input matter.
    assert (package.net(sounds(64), TIMES + 0.1) - expected).abs().amax((1, 2)).min() > 1e-3
    assert (package.net(sounds(64) + 0.1, TIMES) - expected).abs().amax((1, 2)).min() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize(
    ("length", "before", "after"), [(63, 0, 1), (57, 3, 4), (13, 1, 2), (2, 3, 3), (1, 3, 4)]
)
def test_other_lengths_are_the_middle_of_a_reflection(
    package: Any, model: UNetV0, length: int, before: int, after: int
) -> None:
    share(package, model)
    x = sounds(length)
    mirrored = torch.cat((x, x.flip(-1)) * 10, dim=-1)
    padded = mirrored[..., 10 * length - before : 11 * length + after]
    assert padded.shape[-1] % 8 == 0
    expected = package.net(padded, TIMES)[..., before : before + length]
    assert torch.equal(model(x, TIMES), expected)


@pytest.mark.parametrize("length", [40, 37])
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_the_loss_is_the_package_s(
    package: Any, model: UNetV0, length: int, dtype: torch.dtype, rtol: float
) -> None:
    share(package, model)
    package, model = package.to(dtype), model.to(dtype)
    # The package's network takes no length but multiples: for others it is given ours.
    package.diffusion.net = package.net if length % 8 == 0 else model
    sigmas = torch.rand(16, generator=torch.Generator().manual_seed(4), dtype=dtype)
    package.diffusion.sigma_distribution = lambda num_samples, device: sigmas
    x = sounds(length, batch=16).to(dtype)
    torch.manual_seed(3)
    wanted = package(x)
    torch.manual_seed(3)
    noise = torch.randn_like(x)
    found = mmdiff.Diffusion(model, mmdiff.Trigonometric(), "v").loss_at(x, sigmas, noise)
    torch.testing.assert_close(found, wanted, rtol=rtol, atol=0)
    assert wanted > 0.5


class WideSchedule(nn.Module):
    """The package's grid in float64; its own is float32 whatever the sound is."""

    def forward(self, count: int, device: torch.device) -> Tensor:
        return torch.linspace(1, 0, count, dtype=torch.float64, device=device)


@pytest.mark.parametrize("steps", [1, 7, 25])
@pytest.mark.parametrize(("wide", "rtol"), [(False, 1e-6), (True, 1e-12)])
def test_ddim_is_the_package_s_sampler(
    package: Any, model: UNetV0, steps: int, wide: bool, rtol: float
) -> None:
    share(package, model)
    package, model = package.double(), model.double()
    if wide:
        package.sampler.schedule = WideSchedule()
    diffusion = mmdiff.Diffusion(model, mmdiff.Trigonometric(), "v")
    noise = sounds(40).double()
    wanted = package.sample(noise, num_steps=steps)
    found = mmdiff.sample(diffusion, noise.shape, mmdiff.DDIM(steps, eta=0), noise=noise)
    assert (found - wanted).abs().max() < rtol * wanted.abs().max()
    # Without the network the samples are far from these.
    assert (noise - wanted).abs().mean() > 0.1 * wanted.abs().mean()


COPIES: dict[str, Callable[[nn.Module], nn.Module]] = {
    "deepcopy": copy.deepcopy,
    "within": lambda model: copy.deepcopy(nn.Sequential(model))[0],
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "averaged": lambda model: AveragedModel(model).module,
}


@torch.no_grad()
@pytest.mark.parametrize("way", COPIES)
def test_a_copy_is_on_its_own(model: UNetV0, way: str) -> None:
    x = sounds(24)
    before = model(x, TIMES)
    state = torch.get_rng_state()
    other = COPIES[way](model)
    assert torch.equal(torch.get_rng_state(), state)
    change(model)
    assert torch.equal(other(x, TIMES), before)
    after = model(x, TIMES)
    assert not torch.allclose(after, before, atol=1e-2)
    change(other)
    assert torch.equal(model(x, TIMES), after)
    assert not torch.allclose(other(x, TIMES), before, atol=1e-2)


@torch.no_grad()
def test_the_package_s_copies_are_not(package: Any) -> None:
    """Or else the test above would say nothing."""
    other = copy.deepcopy(package.net)
    before = other(sounds(24), TIMES)
    change(package)
    assert not torch.allclose(other(sounds(24), TIMES), before, atol=1e-2)


def test_a_copy_keeps_what_the_weights_are(model: UNetV0) -> None:
    model.double().eval()
    frozen = next(model.parameters()).requires_grad_(False)
    other = copy.deepcopy(model)
    assert not any(module.training for module in other.modules())
    for (name, weight), (same, copied) in zip(
        model.named_parameters(), other.named_parameters(), strict=True
    ):
        assert name == same
        assert weight is not copied
        assert torch.equal(weight, copied)
        assert copied.dtype == torch.float64
        assert copied.requires_grad is (weight is not frozen)
    assert other.config == model.config


@torch.no_grad()
def test_state_dict_has_each_tensor_once_and_comes_back(model: UNetV0) -> None:
    state = model.state_dict()
    assert len({tensor.data_ptr() for tensor in state.values()}) == len(state)
    assert list(state) == [name for name, _ in model.named_parameters()]
    other = UNetV0(**json.loads(json.dumps(model.config)))
    assert not torch.equal(other(sounds(21), TIMES), model(sounds(21), TIMES))
    other.load_state_dict(state)
    assert torch.equal(other(sounds(21), TIMES), model(sounds(21), TIMES))
    assigned = copy.deepcopy(model)
    change(assigned)
    assigned.load_state_dict({name: w.clone() for name, w in state.items()}, assign=True)
    assert torch.equal(assigned(sounds(21), TIMES), model(sounds(21), TIMES))


@torch.no_grad()
def test_files(model: UNetV0, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    tensorfile.write(path, model.state_dict(), {"config": model.config})
    tensors, description = tensorfile.read(path)
    other = UNetV0(**description["config"])
    other.load_state_dict(tensors)
    assert torch.equal(other(sounds(21), TIMES), model(sounds(21), TIMES))


@torch.no_grad()
def test_average(model: UNetV0) -> None:
    """Ours beside torch's, which averages a deep copy."""
    ema = EMA(model, 0.0)
    copied = AveragedModel(model, multi_avg_fn=lambda to, of, _: torch._foreach_lerp_(to, of, 0.5))
    copied.update_parameters(model)
    ema.update()
    ema.decay = 0.5
    ema.updates = 100  # past the warm-up
    for _ in range(3):
        change(model)
        ema.update()
        copied.update_parameters(model)
    own = model(sounds(16), TIMES)
    wanted = copied(sounds(16), TIMES)
    assert not torch.allclose(own, wanted, atol=1e-2)
    with ema.swapped_in():
        torch.testing.assert_close(model(sounds(16), TIMES), wanted, rtol=1e-5, atol=1e-5)
    assert torch.equal(model(sounds(16), TIMES), own)


@pytest.mark.parametrize("length", [24, 19, 9])
def test_gradients_reach_the_sound_and_every_parameter(model: UNetV0, length: int) -> None:
    x = sounds(length).requires_grad_()
    model(x, TIMES).square().mean().backward()
    assert x.grad is not None
    assert (x.grad != 0).all()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not without


@torch.no_grad()
def test_bfloat16(model: UNetV0) -> None:
    expected = model(sounds(24), TIMES)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = model(sounds(24), TIMES)
    assert mixed.dtype == torch.float32
    assert not torch.equal(mixed, expected)
    assert (mixed - expected).norm() < 0.05 * expected.norm()
    half = model(sounds(24).bfloat16(), TIMES)
    assert half.dtype == torch.bfloat16
    assert (half.float() - expected).norm() < 0.05 * expected.norm()


@torch.no_grad()
def test_contract() -> None:
    model = UNetV0()
    assert 2e6 < sum(p.numel() for p in model.parameters()) < 3e6
    assert model.conditions == {}
    assert json.loads(json.dumps(model.config)) == model.config
    assert model(sounds(300, channels=1), TIMES).shape == (3, 1, 300)
    other = UNetV0(**{**SMALL, "out_channels": 3, "attentions": None})
    assert other(sounds(10), TIMES).shape == (3, 3, 10)


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="one entry of each of its lists for each level"):
        UNetV0(**{**SMALL, "factors": [4, 2, 2]})
    with pytest.raises(ValueError, match=r"multiples of 8, not \[8, 12\]"):
        UNetV0(**{**SMALL, "channels": [8, 12]})
