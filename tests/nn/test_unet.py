"""The U-Net's contract, for one to three dimensions: sizes, gradients, copies, precisions."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from mmdiff.checkpoints import build, describe
from mmdiff.conditions import Class
from mmdiff.nn import UNet
from mmdiff.nn.codecs import to_patches
from mmdiff.nn.unet import _crop, _in_order, _pad


def awake(**config: Any) -> UNet:
    """A small float64 network without the zeros that it starts with, so that all of it counts."""
    arguments = {"dims": 2, "in_channels": 1, "out_channels": 1, "channels": (8, 16), "blocks": 1}
    network = UNet(**{**arguments, **config}).double()
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        parameter.detach().normal_(std=0.2, generator=generator)
    return network.eval()


def batch(*shape: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(*shape, generator=generator, dtype=dtype)
    return x, torch.rand(shape[0], generator=generator, dtype=dtype)


@st.composite
def networks(draw: st.DrawFn) -> tuple[dict[str, Any], tuple[int, ...]]:
    dims = draw(st.sampled_from((1, 2, 3)))
    levels = draw(st.sampled_from(((8,), (8, 12), (4, 8, 16))))
    config = {
        "dims": dims,
        "in_channels": draw(st.sampled_from((1, 2))),
        "out_channels": draw(st.sampled_from((1, 2, 3))),
        "channels": levels,
        "blocks": draw(st.sampled_from((1, 2))),
        "attention": draw(st.none() | st.just([True] * len(levels))),
        "patch": draw(st.integers(1, 4 if dims < 3 else 2)),
        "conditions": draw(
            st.sampled_from((None, {"label": Class(3)}, {"label": Class(3), "genre": Class(2)}))
        ),
    }
    sides = draw(st.tuples(*[st.integers(1, 19 if dims < 3 else 7)] * dims))
    return config, sides


ONE_POSITION = (
    {"dims": 1, "in_channels": 1, "out_channels": 1, "channels": (8,), "blocks": 1, "patch": 2,
     "attention": [True], "conditions": {"label": Class(3)}},
    (2,),
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(drawn=networks())
@example(drawn=ONE_POSITION)
def test_any_size_comes_back_and_every_parameter_counts(
    drawn: tuple[dict[str, Any], tuple[int, ...]],
) -> None:
    config, sides = drawn
    network = awake(**config)
    x, t = batch(2, config["in_channels"], *sides)
    x.requires_grad_()
    # With "none" in one row, each table has two rows in use.
    cond = {name: torch.tensor([0, -1]) for name in config["conditions"] or {}}
    y = network(x, t, **cond)
    assert y.shape == (2, config["out_channels"], *sides)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(3), dtype=y.dtype)
    (y * weights).sum().backward()
    assert x.grad is not None
    assert (x.grad != 0).all()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        # One channel a group on one position is normalised to 0, whatever it was.
        assert parameter.grad.any() or _is_normalised_away(name, config, sides), name


def _is_normalised_away(name: str, config: dict[str, Any], sides: tuple[int, ...]) -> bool:
    multiple = config["patch"] * 2 ** (len(config["channels"]) - 1)
    return all(side <= multiple for side in sides)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_starts_at_zero(dims: int) -> None:
    network = UNet(dims, 2, 3, (8, 16), attention=(False, True), conditions={"label": Class(4)})
    x, t = batch(2, 2, *(10,) * dims, dtype=torch.float32)
    assert torch.equal(network(x, t, label=torch.tensor([1, 2])), torch.zeros(2, 3, *x.shape[2:]))


@settings(deadline=None)
@given(
    sides=st.lists(st.integers(1, 20), min_size=1, max_size=3), multiple=st.sampled_from((1, 4, 12))
)
def test_padding_repeats_the_edges_and_is_cropped_again(sides: list[int], multiple: int) -> None:
    x = torch.randn(1, 2, *sides)
    padded = _pad(x, multiple)
    assert all(side % multiple == 0 for side in padded.shape[2:])
    assert all(b - a < multiple for a, b in zip(sides, padded.shape[2:], strict=True))
    assert torch.equal(_crop(padded, sides), x)
    first = x[(..., *(0,) * len(sides))]
    last = x[(..., *(-1,) * len(sides))]
    assert torch.equal(padded[(..., *(0,) * len(sides))], first)
    assert torch.equal(padded[(..., *(-1,) * len(sides))], last)


def test_a_copy_is_independent() -> None:
    network = awake(attention=(True, True), conditions={"label": Class(3)})
    twin = copy.deepcopy(network)
    x, t = batch(2, 1, 8, 8)
    label = torch.tensor([0, 2])
    assert torch.equal(twin(x, t, label=label), network(x, t, label=label))
    for changed, kept, factor in ((network, twin, 1.5), (twin, network, 0.5)):
        before, reference = changed(x, t, label=label), kept(x, t, label=label)
        for parameter in changed.parameters():
            parameter.detach().mul_(factor)
        assert not torch.allclose(changed(x, t, label=label), before)
        assert torch.equal(kept(x, t, label=label), reference)


def test_the_state_holds_each_tensor_once_and_rebuilds_the_network() -> None:
    network = awake(attention=(False, True), patch=2, conditions={"label": Class(3)})
    state = network.state_dict()
    assert len({tensor.data_ptr() for tensor in state.values()}) == len(state)
    assert set(state) == {name for name, _ in network.named_parameters()}
    rebuilt = build(describe(network)).double().train(network.training)
    rebuilt.load_state_dict(state)
    x, t = batch(2, 1, 9, 6)
    label = torch.tensor([1, -1])
    assert torch.equal(rebuilt(x, t, label=label), network(x, t, label=label))


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_rows_do_not_see_each_other(dims: int) -> None:
    network = awake(dims=dims, attention=(True, True), conditions={"label": Class(3)})
    x, t = batch(3, 1, *(8,) * dims)
    label = torch.tensor([2, -1, 0])
    together = network(x, t, label=label)
    for row in range(3):
        alone = network(x[row : row + 1], t[row : row + 1], label=label[row : row + 1])
        torch.testing.assert_close(together[row : row + 1], alone, rtol=0, atol=1e-9)
    assert not torch.allclose(together[0], network(x, t + 0.1, label=label)[0])


@pytest.mark.parametrize("dims", [1, 2])
def test_bf16_autocast_is_close_to_float32(dims: int) -> None:
    network = awake(dims=dims, attention=(False, True), patch=2).float()
    x, t = batch(4, 1, *(12,) * dims, dtype=torch.float32)
    expected = network(x, t)
    with torch.autocast("cpu", torch.bfloat16):
        y = network(x, t)
        y.float().square().mean().backward()
    assert y.dtype == torch.bfloat16
    assert (y.float() - expected).norm() < 0.03 * expected.norm()
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())  # type: ignore[arg-type]


def test_float32_is_close_to_float64() -> None:
    network = awake(attention=(True, True))
    x, t = batch(2, 1, 8, 8)
    expected = network(x, t)
    torch.testing.assert_close(
        network.float()(x.float(), t.float()).double(), expected, rtol=0, atol=1e-4
    )


def test_channels_last_is_the_same() -> None:
    network = awake(attention=(False, True), patch=2)
    x, t = batch(2, 1, 10, 12)
    expected = network(x, t)
    network = network.to(memory_format=torch.channels_last)
    y = network(x.contiguous(memory_format=torch.channels_last), t)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-9)


def inputs(batch: int, *sides: int) -> tuple[Tensor, Tensor]:
    """Four channels; signals with the channels last in memory, as some front ends leave them."""
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(batch, *sides, 4, generator=generator).movedim(-1, 1)
    return x if len(sides) == 1 else x.contiguous(), torch.rand(batch, generator=generator)


FAST = {1: (2048,), 2: (46, 46), 3: (8, 16, 16)}
FEW = {1: (2046,), 2: (44, 46), 3: (8, 14, 16)}
MANY = {1: (2**15 + 2,), 2: (184, 184), 3: (32, 32, 34)}


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("batch", [1, 3])
def test_without_gradients_the_answer_is_the_same(batch: int, dims: int) -> None:
    """On a CPU the order in memory is another."""
    network = awake(dims=dims, in_channels=4, out_channels=2).float()
    x, t = inputs(batch, *FAST[dims])
    expected = network(x, t)
    orders: list[bool] = []
    network.middle.register_forward_hook(
        lambda _module, _inputs, y: orders.append(y.stride(1) == 1 and not y.is_contiguous())
    )
    with torch.no_grad():
        torch.testing.assert_close(network(x, t), expected, rtol=1e-4, atol=1e-4)
        network.double()(x.double(), t.double())
        with torch.autocast("cpu", torch.bfloat16):
            network.float()(x, t)
        network(*inputs(batch, *FEW[dims]))
        network(*inputs(batch, *MANY[dims]))
    network(x, t)
    assert orders == [dims < 3, False, False, False, False, False]


@pytest.mark.parametrize("dims", [1, 2])
def test_rows_can_be_mapped(dims: int) -> None:
    network = awake(dims=dims, in_channels=4).float()
    x, t = inputs(3, *FAST[dims])
    with torch.no_grad():
        mapped = torch.vmap(network)(x[:, None], t[:, None])[:, 0]
    torch.testing.assert_close(mapped, network(x, t), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("batch", [1, 2])
def test_torch_sees_the_order(batch: int) -> None:
    """Whatever the strides of a batch of one were."""
    x, t = inputs(batch, *FAST[1])
    patches = to_patches(x.flatten(1)[:, None], 4)[:, :, None]
    with torch.no_grad():
        for signal in (x[:, :, None], patches):
            y = _in_order(signal, t)
            assert torch.equal(y, signal)
            assert y.stride() == (8192, 1, 8192, 4)
    assert _in_order(patches, t).stride() == (8192, 2048, 2048, 1)


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("of", ["x", "t"])
def test_forward_derivatives_are_the_backward_ones(dims: int, of: str) -> None:
    network = awake(dims=dims, in_channels=4).float()
    given = dict(zip("xt", inputs(2, *FAST[dims]), strict=True))
    value = given[of]
    direction = torch.randn(value.shape, generator=torch.Generator().manual_seed(4))

    def answer(value: Tensor) -> Tensor:
        return network(**{**given, of: value})

    with torch.no_grad():
        y, forward = torch.func.jvp(answer, (value,), (direction,))
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(5))
    (gradient,) = torch.autograd.grad((answer(value.requires_grad_()) * weights).sum(), value)
    torch.testing.assert_close(
        (forward * weights).sum(), (gradient * direction).sum(), rtol=1e-3, atol=1e-3
    )


def test_compiles_without_gradients() -> None:
    network = awake(dims=1, in_channels=4, channels=(8,)).float()
    x, t = inputs(1, *FAST[1])
    with torch.no_grad():
        y = torch.compile(network, fullgraph=True, backend="aot_eager")(x, t)
        torch.testing.assert_close(y, network(x, t), rtol=1e-4, atol=1e-4)


def test_compiles_into_one_graph() -> None:
    """Traced whole, forward and backward; that needs no C++ compiler."""
    network = awake(channels=(8,), attention=(True,), patch=2, conditions={"label": Class(3)})
    x, t = batch(2, 1, 7, 8)
    label = torch.tensor([1, -1])
    expected = network(x, t, label=label)
    expected.sum().backward()
    gradients = [parameter.grad.clone() for parameter in network.parameters()]  # type: ignore[union-attr]
    network.zero_grad()
    y = torch.compile(network, fullgraph=True, backend="aot_eager")(x, t, label=label)
    y.sum().backward()
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-9)
    for parameter, gradient in zip(network.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-7, atol=1e-9)


def test_what_is_not_said_is_none() -> None:
    network = awake(conditions={"label": Class(3), "genre": Class(2)})
    x, t = batch(2, 1, 8, 8)
    label = torch.tensor([0, 2])
    none = torch.tensor([-1, -1])
    expected = network(x, t, label=label, genre=none)
    assert torch.equal(network(x, t, label=label), expected)
    assert torch.equal(network(x, t, label=label, genre=None), expected)
    assert not torch.allclose(network(x, t), expected)
    assert not torch.allclose(network(x, t, label=label, genre=torch.tensor([0, 0])), expected)


def test_unknown_conditions_are_refused() -> None:
    x, t = batch(1, 1, 8, 8)
    with pytest.raises(ValueError, match="unknown condition 'lable'; this network knows: label"):
        awake(conditions={"label": Class(3)})(x, t, lable=torch.tensor([0]))
    with pytest.raises(ValueError, match="knows: none"):
        awake()(x, t, label=torch.tensor([0]))


@pytest.mark.parametrize("label", [3, 4])
def test_a_class_that_does_not_exist_is_not_taken_for_none(label: int) -> None:
    x, t = batch(1, 1, 8, 8)
    with pytest.raises(IndexError):
        awake(conditions={"label": Class(3)})(x, t, label=torch.tensor([label]))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"dims": 4}, "1 to 3 dimensions, not 4"),
        ({"channels": ()}, "one entry"),
        ({"attention": (True,)}, "one entry"),
        ({"blocks": 0}, "at least one block"),
        ({"patch": 0}, "patch of at least 1"),
        ({"channels": (8, 100), "attention": (False, True)}, "do not divide 100 channels"),
    ],
)
def test_wrong_arguments(wrong: dict[str, Any], message: str) -> None:
    arguments = {"dims": 2, "in_channels": 1, "out_channels": 1, "channels": (8, 16)}
    with pytest.raises(ValueError, match=message):
        UNet(**{**arguments, **wrong})
