"""The transformer's contract: sizes, mixed batches, places, what it is told, precisions."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import mmdiff
from mmdiff.conditions import Class, Condition, Signal, Tokens, Vector
from mmdiff.nn import Transformer
from mmdiff.nn.patcher import Patcher
from mmdiff.nn.rotary import Rotary, turn
from mmdiff.nn.trunk import Trunk

TOLD: dict[str, Condition] = {
    "label": Class(3), "mood": Vector(2), "text": Tokens(5), "source": Signal(1),
}  # fmt: skip


def awake(network: Any) -> Any:
    """In float64, and without the zeros that it starts with, so that all of it counts."""
    generator = torch.Generator().manual_seed(1)
    for parameter in network.double().parameters():
        parameter.detach().normal_(std=0.1, generator=generator)
    return network.eval()


def small(dims: int = 2, **config: Any) -> Any:
    return awake(Transformer(**{**_SMALL, "dims": dims, **config}))


_SMALL: dict[str, Any] = {"in_channels": 2, "out_channels": 3, "width": 64, "depth": 2, "patch": 3}


def normal(*shape: int, seed: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def same(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


each_size = st.integers(1, 3).flatmap(lambda dims: st.tuples(*[st.integers(1, 9)] * dims))


@settings(max_examples=25, deadline=None)
@given(sides=each_size, data=st.data())
def test_any_size_comes_back_and_every_parameter_counts(
    sides: tuple[int, ...], data: st.DataObject
) -> None:
    patch = data.draw(st.integers(1, 4) | st.tuples(*[st.integers(1, 4)] * len(sides)))
    network = small(len(sides), patch=patch, conditions=TOLD)
    x, t = normal(2, 2, *sides).requires_grad_(), torch.tensor([0.2, 0.7], dtype=torch.float64)
    # With nothing in one row, what stands for nothing is in use too.
    told = {
        "label": torch.tensor([0, -1]),
        "mood": torch.stack((normal(2), torch.full((2,), math.nan))),
        "text": normal(2, 4, 5),
        "source": normal(2, 1, *sides),
    }
    y = network(x, t, **told)
    assert y.shape == (2, 3, *sides)
    (y * normal(*y.shape, seed=3)).sum().backward()
    assert x.grad.all()
    for name, parameter in network.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_starts_at_zero(dims: int) -> None:
    network = Transformer(dims, 2, 3, 64, 2, conditions=TOLD)
    x = torch.randn(2, 2, *(7,) * dims)
    assert torch.equal(network(x, torch.rand(2)), torch.zeros(2, 3, *x.shape[2:]))


@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 3).flatmap(
        lambda n: st.lists(st.tuples(*[st.integers(1, 8)] * n), min_size=1, max_size=4)
    )
)
def test_a_batch_of_mixed_sizes_is_each_alone(sizes: list[tuple[int, ...]]) -> None:
    network = small(len(sizes[0]), conditions=TOLD)
    count = len(sizes)
    x = [normal(2, *sides, seed=i) for i, sides in enumerate(sizes)]
    t = torch.rand(count, dtype=torch.float64)
    told = {
        "label": torch.arange(count) % 4 - 1,
        "text": normal(count, 3, 5),
        "source": [normal(1, *sides, seed=9) for sides in sizes],
    }
    together = network(x, t, **told)
    for i in range(count):
        one = {name: value[i][None] for name, value in told.items()}
        same(together[i], network(x[i][None], t[i : i + 1], **one)[0])


def trunk(**config: Any) -> Any:
    return awake(Trunk(**{"width": 64, "depth": 2, "features": 8, "scales": (1.0, 0.5), **config}))


TOKENS, PLACES, EMBEDDING = normal(2, 5, 64), normal(2, 5, 2, seed=3), normal(2, 1, 8, seed=4)


def test_tokens_that_fill_up_change_nothing() -> None:
    network = trunk()
    alone = network(TOKENS, PLACES, EMBEDDING)
    tokens = torch.cat((normal(2, 3, 64, seed=5), TOKENS, normal(2, 1, 64, seed=6)), dim=1)
    places = torch.cat((normal(2, 3, 2, seed=5), PLACES, torch.full((2, 1, 2), math.nan)), dim=1)
    exist = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1, 0]] * 2).bool()
    same(network(tokens, places, EMBEDDING, exist)[:, 3:-1], alone)


def test_the_order_of_tokens_says_nothing_and_their_places_all() -> None:
    network, order = trunk(), torch.tensor([3, 0, 4, 1, 2])
    expected = network(TOKENS, PLACES, EMBEDDING)
    same(network(TOKENS[:, order], PLACES[:, order], EMBEDDING), expected[:, order])
    assert not torch.allclose(network(TOKENS, PLACES[:, order], EMBEDDING), expected)


@given(by=st.tuples(st.floats(-50, 50), st.floats(-50, 50)))
@settings(deadline=None)
def test_places_that_move_together_change_nothing(by: tuple[float, float]) -> None:
    """Those that some tokens do not have are not moved."""
    network, places = trunk(), PLACES.clone()
    places[:, 0], places[:, 1, 1] = math.nan, math.nan
    moved = network(TOKENS, places + torch.tensor(by), EMBEDDING)
    torch.testing.assert_close(moved, network(TOKENS, places, EMBEDDING), rtol=0, atol=1e-6)


def test_axes_that_two_tokens_do_not_share_are_not_between_them() -> None:
    rotary = Rotary(64, (1.0, 1.0)).double()
    query, key = normal(1, 1, 1, 64), normal(1, 1, 1, 64, seed=3)

    def product(p: list[float], q: list[float]) -> float:
        places = (torch.tensor([[place]], dtype=torch.float64) for place in (p, q))
        turned = (
            turn(x, *rotary.angles(place)) for x, place in zip((query, key), places, strict=True)
        )
        a, b = turned
        return float((a * b).sum())

    assert product([1.0, 2.0], [3.0, math.nan]) == pytest.approx(
        product([2.0, 7.0], [4.0, math.nan])
    )
    assert product([math.nan, 2.0], [3.0, math.nan]) == pytest.approx(
        product([math.nan] * 2, [4.0, 1.0])
    )
    assert product([1.0, 2.0], [3.0, 5.0]) != pytest.approx(product([1.0, 2.0], [3.0, math.nan]))


def test_rotary_is_a_rotation_at_all_frequencies() -> None:
    rotary = Rotary(8, (2.0,)).double()
    cos, sin = rotary.angles(torch.tensor([[[3.0]]], dtype=torch.float64))
    angles = torch.tensor([1.5, 1.5 / 256, 0.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(cos.flatten(), angles.cos(), rtol=0, atol=1e-6)
    torch.testing.assert_close(sin.flatten(), angles.sin(), rtol=0, atol=1e-6)
    x = normal(1, 1, 2, 8)
    same(turn(x, cos, sin).norm(), x.norm())


def test_tokens_follow_their_own_embeddings() -> None:
    """As those of two modalities with a time each do; alike, they are one."""
    network, two = trunk(), torch.cat((EMBEDDING, normal(2, 1, 8, seed=7)), dim=1)
    follows = torch.tensor([0, 0, 1, 1, 1])
    alike = EMBEDDING.expand(-1, 2, -1)
    same(network(TOKENS, PLACES, alike, None, follows), network(TOKENS, PLACES, EMBEDDING))
    first = trunk(depth=1).blocks[0].modulation
    parts = first(two, follows)
    for part, apart in zip(parts, first(two[:, 1:], None), strict=True):
        same(part[:, 2:], apart.expand(-1, 3, -1))
    assert not torch.allclose(
        network(TOKENS, PLACES, two, None, follows)[:, 0], network(TOKENS, PLACES, EMBEDDING)[:, 0]
    )


@given(sides=each_size)
@settings(deadline=None)
def test_places_are_centres_of_patches(sides: tuple[int, ...]) -> None:
    dims = len(sides)
    patcher = Patcher(1, 1, 2, (2, 3, 1)[:dims], (0.5, 2.0, 1.0)[:dims])
    _, places, exist = patcher.tokenise(torch.zeros(1, 1, *sides))
    grid = [-(-side // patch) for side, patch in zip(sides, patcher.patch, strict=True)]
    index = torch.cartesian_prod(*(torch.arange(n) for n in grid)).reshape(-1, dims)
    steps = torch.tensor((1.0, 6.0, 1.0)[:dims])
    assert exist is None
    torch.testing.assert_close(places[0], (index + 0.5) * steps)


def test_units_do_not_matter() -> None:
    x, t = normal(2, 2, 9), torch.tensor([0.2, 0.7], dtype=torch.float64)
    seconds = small(1, spacing=(1 / 8000,))
    same(small(1)(x, t), seconds(x, t))
    same(small(1, scale=(6.0,))(x, t), small(1, spacing=(0.5,), scale=(3.0,))(x, t))
    assert not torch.allclose(small(1, scale=(6.0,))(x, t), small(1)(x, t))


def test_words_that_do_not_exist_change_nothing() -> None:
    network = small(conditions={"text": Tokens(5)})
    x, t, text = normal(2, 2, 6, 6), torch.tensor([0.2, 0.7], dtype=torch.float64), normal(2, 3, 5)
    longer = torch.cat((text, torch.full((2, 2, 5), math.nan)), dim=1)
    same(network(x, t, text=longer), network(x, t, text=text))
    same(network(x, t, text=torch.full_like(text, math.nan)), network(x, t))
    assert not torch.allclose(network(x, t, text=text), network(x, t))


def test_what_is_wrong_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown condition 'lable'; this network knows: label"):
        small(conditions={"label": Class(3)})(normal(1, 2, 6, 6), torch.rand(1), lable=None)
    for wrong in ({"dims": 4}, {"width": 96}, {"depth": 0}, {"patch": 0}, {"spacing": (1.0, 0.0)}):
        with pytest.raises(ValueError, match=r"Transformer (is for|needs)|a trunk needs"):
            Transformer(**{**_SMALL, "dims": 2, **wrong})


def test_a_checkpoint_holds_it(tmp_path: Path) -> None:
    network = Transformer(2, 1, 1, 64, 1, (2, 3), (0.5, 1.0), (2.0, 4.0), {"label": Class(3)})
    model = mmdiff.Diffusion(awake(network).float(), mmdiff.Trigonometric(), "x0", "v")
    mmdiff.save(tmp_path / "it", model, mmdiff.Info((1, 8, 9)))
    loaded = mmdiff.load(tmp_path / "it")
    assert loaded.backbone.config == network.config
    how: dict[str, Any] = {"solver": mmdiff.DPMpp2M(2), "label": [0, 2]}
    for sides in ((8, 9), (5, 12)):
        expected = mmdiff.sample(model, (2, 1, *sides), **how)
        assert torch.equal(mmdiff.sample(loaded, (2, 1, *sides), **how), expected)


@pytest.mark.parametrize("dims", [1, 2])
def test_bf16_autocast_is_close_to_float32(dims: int) -> None:
    network = small(dims, conditions={"text": Tokens(5)}).float()
    x, t = normal(2, 2, *(12,) * dims).float(), torch.tensor([0.2, 0.7])
    expected = network(x, t)
    with torch.autocast("cpu", torch.bfloat16):
        y = network(x, t)
        y.float().square().mean().backward()
    assert y.dtype == torch.bfloat16
    assert (y.float() - expected).norm() < 0.03 * expected.norm()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


def test_compiles_into_one_graph() -> None:
    network = small(conditions={"label": Class(3)})
    x, t, label = normal(2, 2, 7, 8), torch.rand(2).double(), torch.tensor([1, -1])
    y = torch.compile(network, fullgraph=True, backend="aot_eager")(x, t, label=label)
    torch.testing.assert_close(y, network(x, t, label=label), rtol=0, atol=1e-9)
